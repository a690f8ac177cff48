// Paper cannot be unfolded: open everything before printing, and fold it again after.
(() => {
  let opened = []
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('details:not([open])')]
    opened.forEach(part => { part.open = true })
  })
  addEventListener('afterprint', () => { opened.forEach(part => { part.open = false }) })
})()
