// A notebook as an application: run it when it opens, show what its cells show, and no code.
// Written by hand, so there is nothing to build; `dmaf_lite/lessons/application` alone tells JupyterLab where it lies.

const style = `
  .jp-CodeCell .jp-Cell-inputWrapper, .jp-InputPrompt, .jp-OutputPrompt, .jp-OutputArea-promptOverlay,
  .jp-NotebookPanel-toolbar, .jp-Notebook-footer, .jp-cell-toolbar, .jp-Collapser { display: none !important }
  .jp-Notebook .jp-Cell { padding-top: 0; padding-bottom: 0; outline: none !important }
  .jp-Notebook .jp-Cell, .jp-Notebook .jp-MarkdownOutput { border-color: transparent !important }
  .jp-WindowedPanel-inner { max-width: 76rem; margin: 0 auto }`

async function start(app) {
  document.head.append(Object.assign(document.createElement('style'), {textContent: style}))
  await app.restored
  for (const side of ['left', 'right'])
    if (app.shell.isSideTabBarVisible(side)) app.shell.toggleSideTabBarVisibility(side)
  let panel = app.shell.currentWidget
  while (!panel?.context?.sessionContext) {
    await new Promise(wait => setTimeout(wait, 100))
    panel = app.shell.currentWidget
  }
  await panel.context.ready
  await panel.context.sessionContext.ready
  app.commands.execute('notebook:run-all-cells')  // goes to the last cell while they run; we start at the top
  setTimeout(() => { panel.content.activeCellIndex = 0; panel.content.scrollToItem(0) }, 300)
}

const plugin = {id: 'dmaf-explore:plugin', autoStart: true, activate: app => { start(app) }}

// The two functions by which JupyterLab takes in an extension (webpack's module federation).
window._JUPYTERLAB = window._JUPYTERLAB || {}
window._JUPYTERLAB['dmaf-explore'] = {init: () => {}, get: async () => () => ({__esModule: true, default: plugin})}
