// The row of tools above the pictures: how things are shown. What it sets, keys set too; `update` says it again.

/** The tools. `x` is as in views.js; `acts` are what a tool does that is more than setting a part of the state. */
function makeTools(x, acts) {
  const { scene, state, names, network } = x;
  const set = (name, value) => { state[name] = value; x.draw(); };
  const group = (name, options) => Object.fromEntries(options.map(([value, words, title]) => [value, button(words, title, () => set(name, value))]));
  const flipper = (name, title) => button(name === "outlined" ? "outline" : name, title, () => set(name, !state[name]));
  const tool = group("tool", [["window", "window", "drag changes the window"], ["go", "cross-hair", "drag moves the cross-hair"],
    ["measure", "measure", "drag measures a distance (m)"]]);
  const layout = group("layout", [["planes", "planes", "three planes (g)"], ["scans", "all scans", "all scans in one plane (g)"]]);
  const number = (which) => make("input.number", { type: "number", "aria-label": `${which} of the window`, on: { change: byNumbers } });
  const centre = number("centre"), width = number("width");
  let said = "";
  function byNumbers() {
    const [low, high] = scene.ranges[x.scanShown()], byte = (v) => 1 + ((v - low) / (high - low)) * 254;
    const [c, w] = [Number(centre.value), Math.max(Number(width.value), (high - low) / 254)];
    said = ""; // what was typed may not be what comes of it
    state.windows[x.scanShown()] = [byte(c - w / 2), byte(c + w / 2)];
    x.draw();
  }
  const opacity = make("input.range", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": "opacity of the labels",
    on: { input: () => set("opacity", Number(opacity.value)) } });
  const outlined = flipper("outlined", "outlines only (o)");
  const reference = scene.reference && network ? flipper("reference", "outline of the reference (r)") : null;
  const scan = choice("scan under the labels", [["", network ? "scan: first given" : "scan: first"], ...names.map((name) => [name, name])],
    (name) => set("scan", name));
  const compare = choice("differences", [["", "no differences"], ["full", "against all scans"],
    ...(scene.reference ? [["reference", "against the reference"]] : []), ["pinned", ""]], (value) => set("compare", value));
  const map = choice("map", [["", "colours: classes"], ["confidence", "confidence"], ...names.map((name) => [`weight/${name}`, `weight of ${name}`])],
    (value) => set("map", value));
  const pin = button("pin", "pin this subset, and show what others do differently (p)", acts.pin);
  const zoom = [button("−", "zoom out", () => acts.zoomBy(1 / 1.25)), button("+", "zoom in", () => acts.zoomBy(1.25)), button("fit", "whole picture (0)", acts.reset)];
  const few = button("tools", "show or hide the tools", () => few.setAttribute("aria-expanded", few.ariaExpanded !== "true")); // on a phone
  few.classList.add("dmaf-x-few");
  few.ariaExpanded = "false";
  const row = make("row.tools", { role: "toolbar", "aria-label": "view" }, few,
    make("set", {}, Object.values(layout)), make("set", {}, Object.values(tool)), make("set", {}, zoom),
    make("label.check", {}, "centre ", centre), make("label.check", {}, "width ", width), button("reset", "reset the window (w)", acts.resetWindow),
    make("label.check", {}, "opacity ", opacity), outlined, reference, scan, ...(network ? [map, compare, pin] : []),
    button("PNG", "save the picture (i)", acts.savePicture), acts.save ? button("save NIfTI", "save this segmentation as a NIfTI file", acts.save) : null,
    button("?", "list of keys", acts.help));

  function update() {
    const shown = x.scanShown(), [a, b] = state.windows[shown];
    const now = JSON.stringify([state.tool, state.layout, state.outlined, state.reference, state.opacity, state.scan, state.compare, state.map,
      state.pinned, state.on, shown, a, b]);
    if (now === said) return;
    said = now;
    for (const [name, made] of Object.entries(tool)) pressed(made, state.tool === name);
    for (const [name, made] of Object.entries(layout)) pressed(made, state.layout === name);
    pressed(outlined, state.outlined);
    if (reference) pressed(reference, state.reference);
    pressed(pin, state.pinned === state.on);
    const [low, high] = scene.ranges[shown], value = (v) => low + ((v - 1) / 254) * (high - low), digits = (v) => Number(v.toPrecision(3));
    if (document.activeElement !== centre) centre.value = digits((value(a) + value(b)) / 2);
    if (document.activeElement !== width) width.value = digits(value(b) - value(a));
    centre.step = width.step = digits((high - low) / 50);
    opacity.value = state.opacity;
    Object.assign(compare.options[compare.options.length - 1], { disabled: !state.pinned,
      text: state.pinned ? `against ${nameOf(state.pinned, scene)}` : "against a pinned subset" });
    [scan.value, compare.value, map.value] = [state.scan, state.compare, state.map];
  }
  return { row, update };
}
