// Keys: the list that a reader sees, and what each one does.

const HELP = [["1 to 9", "switch a scan on or off"], ["Up, Down, wheel, swipe", "one slice"], ["Page Up, Page Down", "ten slices"],
  ["Home, End", "first, last slice"], ["a, c, s", "work in the axial, coronal, sagittal plane"], ["click", "move the cross-hair"],
  ["drag", "window: to the right is wider, down is darker"], ["Shift or right drag", "move the picture"],
  ["Ctrl + wheel, + and −, pinch", "zoom; 0 or a double click goes back"], ["w", "reset the window of this scan"],
  ["g", "three planes, or all scans"], ["o", "outlines only"], ["l", "labels on or off"], ["r", "outline of the reference"],
  ["d", "differences to the answer from all scans"], ["p", "pin this subset, to compare others with it"], ["m", "measure a distance"],
  ["i", "save the picture"], ["?", "this list"]];
const STEPS = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };

/** The list of keys, as a dialog. */
function makeHelp() {
  const help = make("dialog.help", { "aria-label": "keys" }, make("h3", {}, "Keys"), make("dl", {}, HELP.flatMap(([key, what]) =>
    [make("dt", {}, key), make("dd", {}, what)])), button("close", "close the list", () => help.close()));
  return help;
}

/** A listener for keys. `x` is as in views.js, with help; `acts` are go(axis, to), toggle(i), zoomBy, reset, resetWindow, pin, savePicture, help, axes. */
function listenToKeys(x, acts) {
  const { scene, state } = x;
  const set = (name, value) => () => { state[name] = value(state[name]); x.draw(); };
  const not = (is) => !is, between = (one, other) => (is) => (is === one ? other : one);
  const plane = (name) => set("plane", () => scene.planes.indexOf(name));
  const axis = () => acts.axes[state.plane];
  const does = { Home: () => acts.go(axis(), 0), End: () => acts.go(axis(), Infinity), a: plane("axial"), c: plane("coronal"), s: plane("sagittal"),
    g: set("layout", between("planes", "scans")), o: set("outlined", not), l: set("labels", not), r: set("reference", not), d: set("compare", (is) => (is ? "" : "full")),
    m: set("tool", between("window", "measure")), w: acts.resetWindow, p: acts.pin, i: acts.savePicture, 0: acts.reset, "?": acts.help,
    "+": () => acts.zoomBy(1.25), "=": () => acts.zoomBy(1.25), "-": () => acts.zoomBy(1 / 1.25) };
  return (event) => {
    const { key, target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey || x.help.open || target.type === "number") return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName) && target.type !== "checkbox" && !/^[1-9?]$/.test(key)) return;
    if (/^[1-9]$/.test(key) && key <= scene.modalities.length) acts.toggle(key - 1);
    else if (STEPS[key] && !target.closest(".dmaf-x-pill, .dmaf-x-tile")) acts.go(axis(), state.at[axis()] + STEPS[key]);
    else if (does[key]) does[key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}
