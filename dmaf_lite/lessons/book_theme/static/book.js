// Paper cannot be unfolded: open everything before printing, and fold it again after.
(() => {
  let opened = []
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('details:not([open])')]
    opened.forEach(part => { part.open = true })
  })
  addEventListener('afterprint', () => { opened.forEach(part => { part.open = false }) })
})();

// A full stop or comma after a formula stays on its line: alone at the beginning of the next one it looks like a speck.
(() => {
  const join = () => document.querySelectorAll('.bd-article span.math.notranslate').forEach(formula => {
    const after = formula.nextSibling
    const sign = after?.nodeType === Node.TEXT_NODE && after.data.match(/^[.,;:!?)\]’”]+/)
    if (!sign) return
    const line = document.createElement('span')
    line.className = 'unbroken'
    after.data = after.data.slice(sign[0].length)
    formula.before(line)
    line.append(formula, sign[0])
  })
  if (document.readyState === 'loading') addEventListener('DOMContentLoaded', join)
  else join()
})()
