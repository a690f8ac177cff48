// One picture: arrow keys and wheel move `index`, a click sets `clicked`. Python draws, this only shows.
const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
const WHEEL = 40; // pixels of wheel for one step: one notch of a mouse, a short stroke of a touch pad
const PAUSE = 250; // ms: a scroll that began elsewhere on the page goes on, even when a picture comes under the mouse

let scrolledElsewhere = 0;
window.addEventListener("wheel", (event) => {
  if (!event.target.closest?.(".dmaf-picture")) scrolledElsewhere = Date.now();
}, { capture: true, passive: true });

function render({ model, el }) {
  const root = document.createElement("div");
  root.className = "dmaf-picture";
  root.tabIndex = 0;
  root.setAttribute("role", "slider");
  root.dataset.lmSuppressShortcuts = "true"; // else JupyterLab takes the arrow keys to move between cells
  root.innerHTML = `<div class="dmaf-caption"></div><div class="dmaf-frame"><img draggable="false" alt="">
    <div class="dmaf-marks"></div></div>`;
  el.append(root);
  const [caption, frame] = root.children;
  const [image, marks] = frame.children;
  let address = null;

  function picture() {
    const bytes = model.get("png");
    if (!bytes || !bytes.byteLength) return;
    const old = address;
    address = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    image.onload = () => old && URL.revokeObjectURL(old);
    image.src = address;
  }
  function words() {
    frame.style.width = `${model.get("width")}px`;
    caption.textContent = model.get("caption");
    caption.hidden = !model.get("caption");
    image.alt = model.get("alt");
    const values = { label: model.get("caption") || model.get("unit"), valuemin: model.get("first"),
      valuemax: model.get("last"), valuenow: model.get("index"), valuetext: model.get("alt") };
    for (const [name, value] of Object.entries(values)) root.setAttribute(`aria-${name}`, value);
  }
  function overlay() {
    marks.replaceChildren();
    for (const [at, top, bottom] of model.get("lines")) {
      const line = marks.appendChild(document.createElement("div"));
      line.className = "dmaf-line";
      Object.assign(line.style, { left: `${100 * at}%`, top: `${100 * top}%`, height: `${100 * (bottom - top)}%` });
    }
  }
  function move(to) {
    const index = Math.min(Math.max(to, model.get("first")), model.get("last"));
    if (index === model.get("index")) return false;
    model.set("index", index);
    model.save_changes(); // what comes while the kernel draws is sent as one change
    return true;
  }

  root.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const ends = { Home: model.get("first"), End: model.get("last") };
    const to = event.key in STEPS ? model.get("index") + STEPS[event.key] : ends[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move(to);
  });
  let rest = 0;
  frame.addEventListener("wheel", (event) => {
    if (event.ctrlKey || event.shiftKey) return; // zooming the page, scrolling sideways
    if (Date.now() - scrolledElsewhere < PAUSE) { scrolledElsewhere = Date.now(); return; }
    rest -= event.deltaMode === 1 ? event.deltaY * WHEEL : event.deltaY;
    const steps = Math.trunc(rest / WHEEL);
    rest -= steps * WHEEL;
    if (model.get("first") < model.get("last")) event.preventDefault();
    if (steps) move(model.get("index") + steps);
  }, { passive: false });
  frame.addEventListener("click", (event) => {
    const box = image.getBoundingClientRect();
    const at = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    if (at.some((part) => part < 0 || part >= 1)) return;
    root.focus({ preventScroll: true });
    model.set("clicked", [...at, (model.get("clicked")[2] ?? 0) + 1]);
    model.save_changes();
  });
  model.on("change:png", picture);
  for (const name of ["index", "first", "last", "width", "caption", "alt"]) model.on(`change:${name}`, words);
  model.on("change:lines", overlay);
  picture(); words(); overlay();
  return () => {
    model.off("change:png", picture);
    for (const name of ["index", "first", "last", "width", "caption", "alt"]) model.off(`change:${name}`, words);
    model.off("change:lines", overlay);
    if (address) URL.revokeObjectURL(address);
  };
}

export default { render };
