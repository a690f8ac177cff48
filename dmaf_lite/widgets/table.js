// All subsets in a table; click, Enter or Space chooses a row, the arrow keys walk.
const NAMES = ["head", "colours", "rows", "chosen", "caption"];

function render({ model, el }) {
  const table = document.createElement("table");
  table.className = "dmaf-subset-table";
  table.dataset.lmSuppressShortcuts = "true";
  el.append(table);

  function cell(row, kind, text) {
    const made = row.appendChild(document.createElement(kind));
    if (text !== undefined) made.textContent = text;
    return made;
  }
  function draw() {
    const focused = table.contains(document.activeElement) ? document.activeElement.rowIndex : -1;
    table.replaceChildren();
    table.createCaption().textContent = model.get("caption");
    const head = table.createTHead().insertRow(), colours = model.get("colours");
    model.get("head").forEach((name, i) => { cell(head, "th", name).scope = "col"; if (i < colours.length)
      head.lastChild.classList.add("dmaf-there"); });
    const body = table.createTBody();
    model.get("rows").forEach(({ there, values, name }, index) => {
      const row = body.insertRow();
      row.tabIndex = 0;
      row.setAttribute("aria-label", name);
      row.setAttribute("aria-selected", index === model.get("chosen"));
      row.onclick = () => choose(index);
      there.forEach((is, m) => {
        const dot = cell(row, "td").appendChild(document.createElement("span"));
        dot.className = "dmaf-dot";
        dot.style.borderColor = colours[m];
        if (is) dot.style.background = colours[m];
      });
      for (const value of values) {
        const number = cell(row, "td", value === null ? "·" : value.toFixed(2));
        number.className = "dmaf-number";
        if (value !== null) number.style.background = `rgba(0, 114, 178, ${(0.55 * value ** 2).toFixed(3)})`;
      }
    });
    if (focused > 0) table.rows[focused]?.focus({ preventScroll: true });
  }
  function choose(index) {
    model.set("chosen", index);
    model.save_changes();
  }
  table.addEventListener("keydown", (event) => {
    const row = event.target.closest("tbody tr");
    if (!row) return;
    const to = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (to !== undefined) to?.focus();
    else if (event.key === "Enter" || event.key === " ") choose(row.sectionRowIndex);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  for (const name of NAMES) model.on(`change:${name}`, draw);
  draw();
  return () => NAMES.forEach((name) => model.off(`change:${name}`, draw));
}

export default { render };
