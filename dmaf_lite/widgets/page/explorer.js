// The explorer: state, parts, keys. What is seen never waits for Python; only answers of the network do.
//
// `from`, its host, is where it lives: {network, ask(key), degrade(request) -> bytes, save(key), changed(state), saved}, all optional.
// Returns {receive(buffer), fail(key, words), progress(words, share), set(state), state, close()}.

const HELP = [["1 to 9", "switch a scan on or off"], ["Up, Down, wheel, swipe", "one slice"], ["Page Up, Page Down", "ten slices"],
  ["Home, End", "first, last slice"], ["a, c, s", "work in the axial, coronal, sagittal plane"], ["click", "move the cross-hair"],
  ["drag", "window: to the right is wider, down is darker"], ["Shift or right drag", "move the picture"],
  ["Ctrl + wheel, + and −, pinch", "zoom; 0 or a double click goes back"], ["w", "reset the window of this scan"],
  ["g", "three planes, or all scans"], ["o", "outlines only"], ["l", "labels on or off"], ["r", "outline of the reference"],
  ["d", "differences to the answer from all scans"], ["p", "pin this subset to compare with"], ["m", "measure a distance"],
  ["i", "save the picture"], ["?", "this list"]];

function createExplorer(root, buffer, from = {}) {
  const { header: scene, volumes } = unpack(buffer);
  const host = scene.answers ? from : { ...from, network: false, degrade: undefined, save: undefined };
  scene.reference = Boolean(volumes.reference);
  const names = scene.modalities.filter((_, i) => scene.given[i]);
  const scans = Object.fromEntries(names.map((name) => [name, volumes[`scan/${name}`]]));
  const planes = scene.planes, axes = planes.map((plane) => AXES[plane]); // the plane with the finest pixels first
  const keys = host.network ? subsets(scene.given) : [];
  const full = scene.given.map(Number).join("");
  const known = new Map(), largest = {};
  const state = { on: full, scan: "", at: [...scene.start], plane: 0, layout: "planes", windows: structuredClone(scene.windows),
    zoom: 1, pans: [[0, 0], [0, 0], [0, 0]], opacity: 0.5, outlined: false, labels: true, hidden: [], reference: scene.reference && Boolean(host.network),
    compare: "", pinned: "", map: "", tool: "window" };
  adopt(host.saved ?? {});
  let shownKey = "", guess = null, ruler = null, boxes = [], tick = 0, tilesDue = 0, closed = false;
  const colours = scene.class_colours, colourBytes = colours.map(rgb);

  /** Take over what an address or Python says, as far as it fits this study. */
  function adopt({ on, at, scan, ...others }) {
    if (on && keys.includes(on)) state.on = on;
    if (at?.length === 3) state.at = at.map((v, a) => Math.min(Math.max(Math.round(v) || 0, 0), scene.shape[a] - 1));
    if (scan !== undefined) state.scan = names.includes(scan) ? scan : "";
    for (const [name, value] of Object.entries(others)) if (name in state && typeof value === typeof state[name]) state[name] = value;
  }

  // -- what is shown --------------------------------------------------------------------------------------------------
  const shown = () => known.get(state.on) ?? known.get(shownKey);
  const stale = () => host.network && state.on !== shownKey;
  const scanShown = (key = state.on) => (state.scan && scans[state.scan] ? state.scan
    : names.find((name) => !host.network || key[scene.modalities.indexOf(name)] === "1") ?? names[0]);
  function look(key = state.on, name = scanShown(key)) {
    const answer = known.get(key) ?? (key === state.on ? shown() : null), label = host.network ? answer?.volumes.label : volumes.reference;
    const base = state.compare === "full" ? known.get(full)?.volumes.label : state.compare === "reference" ? volumes.reference
      : state.compare === "pinned" ? known.get(state.pinned)?.volumes.label : null;
    const map = state.map && answer?.volumes[state.map];
    return { scene, scan: scans[name], window: state.windows[name], label: state.labels ? label : null, opacity: state.opacity,
      outlined: state.outlined, borders: true, shown: (c) => !state.hidden.includes(c), colours, rgb: colourBytes,
      reference: host.network && state.reference && state.labels ? volumes.reference : null, base: state.labels ? base : null,
      map, mapEnds: map ? mapEnds(answer, state.map) : null };
  }
  const mapEnds = (answer, name) => (name === "confidence" ? [255 / scene.classes.length, 255] : [0, answer.header.largest_weight || 255]);

  // -- parts ----------------------------------------------------------------------------------------------------------
  const views = [0, 1, 2, 3].map((i) => {
    const canvas = make("canvas.canvas", { tabindex: 0, role: "img", "data-view": i });
    const slider = make("input.slices", { type: "range", step: 1, on: { input: () => { go(axisOf(i), Number(slider.value)); } } });
    const figure = make("figure.view", {}, canvas, slider);
    return { canvas, slider, figure, place: null };
  });
  const says = make("p.says", { role: "status", "aria-live": "polite" });
  const pills = names.map((name) => {
    const i = scene.modalities.indexOf(name);
    return make("button.pill", { type: "button", "aria-pressed": true, title: `${name}: key ${i + 1}`, style: { "--c": scene.colours[name] },
      on: { click: () => toggle(i) } }, make("kbd", { "aria-hidden": "true" }, i + 1), name);
  });
  const absent = scene.modalities.filter((_, i) => !scene.given[i]);
  const tiles = makeTiles(scene, keys, (key) => select(key));
  const guessing = make("input", { type: "checkbox" });
  const guessRow = make("guess", { role: "group", "aria-label": "your guess", hidden: true });
  const readout = make("p.readout"), bars = make("section.part"), weights = make("section.part"), next = make("section.part");
  const bar = make("progress.progress", { max: 1, value: 0, hidden: true, "aria-label": "computing" });
  const tools = makeTools();
  const legend = make("legend", { role: "group", "aria-label": "classes; press to hide" }, scene.classes.slice(1).map((name, i) =>
    make("button.class", { type: "button", "aria-pressed": true, on: { click: (event) => { flip(state.hidden, i + 1); pressed(event.currentTarget, !state.hidden.includes(i + 1)); draw(); } } },
      make("i.chip", { style: { background: colours[i + 1] } }), name)), make("span.differs"));
  const bad = host.degrade ? makeBadScan(scene, { answer, degrade: async (request) => unpack(await host.degrade(request), scene.shape) }, () => ({ ...look(), axis: axes[state.plane], index: state.at[axes[state.plane]], scans,
    box: boxes[state.plane] ?? boxOf(state.plane) })) : null;
  const badPart = bad && make("details.more", { on: { toggle: () => badPart.open && bad.begin(state.on) } }, make("summary", {}, "A bad scan, or no scan?"), bad.root);
  const solid = makeSolid(scene, () => ({ ...look(), at: state.at, head: scans[scanShown()] }), (at) => { state.at = at; moved(); });
  const solidPart = make("details.more", { on: { toggle: () => solid.draw() } }, make("summary", {}, "In three dimensions"), solid.root);
  const help = make("dialog.help", { "aria-label": "keys" }, make("h3", {}, "Keys"), make("dl", {}, HELP.flatMap(([key, what]) =>
    [make("dt", {}, key), make("dd", {}, what)])), button("close", "close the list", () => help.close()));
  const grid = make("views", {}, views.map((view) => view.figure));
  const main = make("explorer", { role: "group", "aria-label": scene.title, "data-lm-suppress-shortcuts": "true", on: { keydown } },
    scene.banner ? make("p.banner", { role: "note" }, scene.banner) : null,
    make("header.head", {}, make("h2", {}, scene.title), ...scene.notes.map((note) => make("p.note", { role: "note" }, note))),
    make("row.scans", { role: "group", "aria-label": "scans" }, pills, absent.length ? make("small", {}, `not there: ${absent.join(", ")}`) : null,
      host.network ? make("label.check", {}, guessing, "guess first") : null),
    guessRow, make("row", {}, says, bar), tools.row,
    make("body", {}, make("left", {}, grid, legend, readout), host.network ? make("side", {}, bars, next, weights) : null),
    host.network ? make("section.part", {}, make("h3", {}, keys.length > 1 ? `All ${keys.length} subsets, at this slice` : "The only subset"), tiles.list) : null,
    badPart, solidPart, help);
  root.append(main);

  function makeTools() {
    const set = (name, value) => () => { state[name] = value; draw(); };
    const tool = Object.fromEntries([["window", "window", "drag changes the window"], ["go", "cross-hair", "drag moves the cross-hair"],
      ["measure", "measure", "drag measures a distance (m)"]].map(([name, words, title]) => [name, button(words, title, set("tool", name))]));
    const layout = Object.fromEntries([["planes", "planes", "three planes (g)"], ["scans", "all scans", "all scans in one plane (g)"]]
      .map(([name, words, title]) => [name, button(words, title, set("layout", name))]));
    const centre = make("input.number", { type: "number", "aria-label": "centre of the window", on: { change: () => byNumbers() } });
    const width = make("input.number", { type: "number", "aria-label": "width of the window", on: { change: () => byNumbers() } });
    const byNumbers = () => {
      const [low, high] = scene.ranges[scanShown()], byte = (v) => 1 + ((v - low) / (high - low)) * 254;
      const [c, w] = [Number(centre.value), Math.max(Number(width.value), (high - low) / 254)];
      state.windows[scanShown()] = [byte(c - w / 2), byte(c + w / 2)];
      draw();
    };
    const opacity = make("input.range", { type: "range", min: 0, max: 1, step: 0.05, "aria-label": "opacity of the labels",
      on: { input: () => { state.opacity = Number(opacity.value); draw(); } } });
    const outlined = button("outline", "outlines only (o)", () => { state.outlined = !state.outlined; draw(); });
    const reference = scene.reference && host.network ? button("reference", "outline of the reference (r)", () => { state.reference = !state.reference; draw(); }) : null;
    const scan = choice("scan under the labels", [["", host.network ? "scan: first given" : "scan: first"], ...names.map((name) => [name, name])],
      (name) => { state.scan = name; draw(); });
    const compare = choice("differences", [["", "no differences"], ["full", "against all scans"],
      ...(scene.reference ? [["reference", "against the reference"]] : []), ["pinned", "against the pinned one"]], (value) => { state.compare = value; draw(); });
    const map = choice("map", [["", "labels"], ["confidence", "confidence"], ...names.map((name) => [`weight/${name}`, `weight of ${name}`])],
      (value) => { state.map = value; draw(); });
    const pin = button("pin", "compare with this subset (p)", () => pinThis());
    const zoom = [button("−", "zoom out", () => zoomBy(1 / 1.25)), button("+", "zoom in", () => zoomBy(1.25)), button("fit", "whole head (0)", reset)];
    const row = make("row.tools", { role: "toolbar", "aria-label": "view" },
      make("set", {}, Object.values(layout)), make("set", {}, Object.values(tool)), make("set", {}, zoom),
      make("label.check", {}, "centre ", centre), make("label.check", {}, "width ", width), button("reset", "reset the window (w)", () => resetWindow()),
      make("label.check", {}, "labels ", opacity), outlined, reference, scan, ...(host.network ? [map, compare, pin] : []),
      button("PNG", "save the picture (i)", savePicture), host.save ? button("save NIfTI", "save this segmentation as a NIfTI file", () => host.save(state.on)) : null,
      button("?", "list of keys", () => help.showModal()));
    return { row, update() {
      for (const [name, made] of Object.entries(tool)) pressed(made, state.tool === name);
      for (const [name, made] of Object.entries(layout)) pressed(made, state.layout === name);
      pressed(outlined, state.outlined);
      if (reference) pressed(reference, state.reference);
      pressed(pin, state.pinned === state.on);
      const [low, high] = scene.ranges[scanShown()], [a, b] = state.windows[scanShown()], value = (v) => low + ((v - 1) / 254) * (high - low);
      const digits = (v) => Number(v.toPrecision(3));
      if (document.activeElement !== centre) centre.value = digits((value(a) + value(b)) / 2);
      if (document.activeElement !== width) width.value = digits(value(b) - value(a));
      centre.step = width.step = digits((high - low) / 50);
      opacity.value = state.opacity;
      [scan.value, compare.value, map.value] = [state.scan, state.compare, state.map];
    } };
  }

  // -- drawing --------------------------------------------------------------------------------------------------------
  const axisOf = (i) => (state.layout === "planes" ? axes[i] : axes[state.plane]);
  const boxOf = (i) => { const axis = axes[i]; return [0, scene.shape[across(axis)], 0, scene.shape[down(axis)]]; };
  const count = () => (state.layout === "planes" ? 3 : names.length);
  function draw() {
    if (!tick && !closed) tick = requestAnimationFrame(() => { tick = 0; paint(); });
  }
  function paint() {
    grid.dataset.layout = state.layout;
    grid.style.setProperty("--n", count());
    views.forEach((view, i) => {
      view.figure.hidden = i >= count();
      if (!view.figure.hidden) paintView(view, i);
    });
    main.classList.toggle("dmaf-x-stale", Boolean(stale()));
    tools.update();
    readout.textContent = readVoxel(scene, scans, volumes.reference, host.network ? shown() : null, state.at);
    legend.lastChild.replaceChildren(...(state.compare ? [["lost", LOST], ["gained", GAINED], ["other class", OTHER]].map(([words, c]) =>
      make("span", {}, make("i.chip", { style: { background: `rgb(${c})` } }), words)) : state.map ? [mapLegend()] : []));
    solidPart.open && solid.draw();
    if (!tilesDue) tilesDue = setTimeout(() => { tilesDue = 0; paintTiles(); host.changed?.(state); }, 60);
  }
  function paintView(view, i) {
    const { canvas, slider } = view, plane = state.layout === "planes" ? i : state.plane, axis = axes[plane], box = boxOf(plane);
    const [w, h] = [(box[1] - box[0]) * scene.spacing[across(axis)] * 1.1, (box[3] - box[2]) * scene.spacing[down(axis)] * 1.1];
    view.figure.style.setProperty("--ratio", w / h);
    const ratio = (canvas.ratio = Math.min(window.devicePixelRatio || 1, 2));
    const size = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
    if (!size[0] || !size[1]) return;
    if (canvas.width !== size[0] || canvas.height !== size[1]) [canvas.width, canvas.height] = size;
    const name = state.layout === "planes" ? scanShown() : names[i];
    const one = look(state.on, name), frame = { zoom: state.zoom, pan: state.pans[plane], margin: 20 * ratio };
    view.place = paintSlice(canvas, axis, state.at[axis], box, one, frame);
    const letters = scene.letters[planes[plane]];
    paintMarks(canvas, view.place, axis, state.at, scene.shape, letters, { ruler: ruler?.view === i ? ruler.ends : null,
      title: state.layout === "planes" ? `${canvas.clientWidth < 230 ? planes[plane].slice(0, 3) : planes[plane]} ${state.at[axis]}` : name });
    canvas.setAttribute("aria-label", describe(plane, name));
    canvas.classList.toggle("dmaf-x-active", state.layout === "planes" && i === state.plane);
    Object.assign(slider, { min: 0, max: scene.shape[axis] - 1, value: state.at[axis] });
    slider.setAttribute("aria-label", `${planes[plane]} slice`);
  }
  function paintTiles() {
    if (closed || !host.network) return;
    const axis = axes[state.plane], answers = keys.filter((key) => known.has(key));
    const box = boxes[state.plane] ??= tumourBox(scene, [volumes.reference ?? known.get(full)?.volumes.label].filter(Boolean), axis);
    for (const { key, canvas } of tiles.tiles) {
      const one = look(key, scanShown(key));
      if (known.has(key)) paintSlice(canvas, axis, state.at[axis], box, { ...one, borders: false, outlined: false, map: null, reference: null });
    }
    return answers.length;
  }
  const describe = (plane, name) => `${scene.title}, ${name}, ${planes[plane]} slice ${state.at[axes[plane]]}`
    + (host.network ? `, segmented from ${nameOf(shownKey || state.on, scene)}` : "") + (scene.banner ? `. ${scene.banner}` : "");
  function mapLegend() {
    const [low, high] = mapEnds(shown() ?? { header: {} }, state.map);
    return make("span", {}, `${state.map.replace("weight/", "weight of ")} ${(low / 255).toFixed(2)} `,
      make("i.ramp", { style: { background: `linear-gradient(90deg, ${VIRIDIS.map((c) => `rgb(${c})`).join(",")})` } }), ` ${(high / 255).toFixed(2)}`);
  }

  // -- questions and answers ------------------------------------------------------------------------------------------
  function toggle(i) {
    const name = scene.modalities[i];
    if (!host.network) { state.scan = name; refresh(); return; }
    if (!scene.given[i]) { says.textContent = `This study has no ${name}.`; return; }
    const key = [...state.on].map((is, j) => (j === i ? String(1 - is) : is)).join("");
    if (!key.includes("1")) { says.textContent = "At least one scan is needed: nothing can be said about a study without any."; return; }
    if (guessing.checked && key.split("1").length < state.on.split("1").length) askGuess(key); else select(key);
  }
  function askGuess(key) {
    guess = { key, from: state.on };
    guessRow.hidden = false;
    guessRow.replaceChildren(make("b", {}, `Without ${nameOf([...state.on].map((is, i) => (is !== key[i] ? "1" : "0")).join(""), scene)}: which region will lose most?`),
      ...Object.keys(scene.regions).map((region) => button(region, `I guess ${region}`, () => { guess.region = region; guessRow.hidden = true; select(key); })),
      button("just show", "no guess", () => { guess = null; guessRow.hidden = true; select(key); }));
    guessRow.querySelector("button").focus();
  }
  function judged() {
    if (!guess?.region || !known.has(guess.key) || !known.has(guess.from) || state.on !== guess.key) return "";
    const [a, b] = [scores(known.get(guess.from), scene), scores(known.get(guess.key), scene)];
    const loss = Object.fromEntries(Object.keys(scene.regions).map((r) => [r, scene.reference ? a[r] - b[r] : Math.abs(a[r] - b[r]) / Math.max(a[r], 1e-9)]));
    const worst = Object.keys(loss).reduce((x, y) => (loss[y] > loss[x] ? y : x));
    return guess.region === worst ? ` You guessed ${worst}: right.` : ` You guessed ${guess.region}; ${worst} lost most.`;
  }
  function select(key) {
    if (state.on !== key) { state.on = key; if (guess && guess.key !== key) guess = null; }
    if (known.has(key)) shownKey = key; else host.ask?.(key);
    if (badPart?.open) bad.begin(key);
    refresh();
  }
  function refresh() {
    pills.forEach((pill, i) => pressed(pill, host.network ? state.on[scene.modalities.indexOf(names[i])] === "1" : names[i] === scanShown()));
    const answer = known.get(state.on);
    if (host.network) {
      says.textContent = `Given: ${nameOf(state.on, scene)}. ` + (answer ? Object.entries(scores(answer, scene)).map(([r, v]) =>
        `${r} ${scene.reference ? v.toFixed(2) : `${v.toFixed(1)} cm³`}`).join(" · ") + judged() : "computing …");
      tiles.words(state.on, known);
      bars.replaceChildren(...barsPanel(scene, shown(), known.get(full), largest));
      weights.replaceChildren(...weightsPanel(scene, shown()));
      next.replaceChildren(...nextPanel(scene, state.on, known));
    } else says.textContent = `${scanShown()}. Keys 1 to ${names.length} change the scan; ? lists all keys.`;
    draw();
  }
  /** The answer to a subset, now or when it has come. */
  const waiting = new Map();
  function answer(key) {
    if (known.has(key)) return Promise.resolve(known.get(key));
    host.ask?.(key);
    return new Promise((done, failed) => waiting.set(key, { done, failed }));
  }
  function receive(bytes) {
    const answer = unpack(bytes, scene.shape), { key } = answer.header;
    answer.counts = countRegions(answer.volumes.label, scene.regions);
    for (const [region, value] of Object.entries(scores(answer, scene))) largest[region] = Math.max(largest[region] ?? 0, value);
    known.set(key, answer);
    waiting.get(key)?.done(answer);
    waiting.delete(key);
    if (key === full) boxes = [];
    if (key === state.on || !shownKey) shownKey = key;
    const done = known.size / Math.max(keys.length, 1);
    Object.assign(bar, { hidden: done >= 1, value: done });
    refresh();
    return answer;
  }

  // -- the hand -------------------------------------------------------------------------------------------------------
  function go(axis, to) {
    state.at[axis] = Math.min(Math.max(to, 0), scene.shape[axis] - 1);
    draw();
  }
  function moved() { draw(); }
  const zoomBy = (factor) => { state.zoom = Math.min(Math.max(state.zoom * factor, 0.5), 12); if (state.zoom <= 1) state.pans = [[0, 0], [0, 0], [0, 0]]; draw(); };
  function reset() { state.zoom = 1; state.pans = [[0, 0], [0, 0], [0, 0]]; ruler = null; draw(); }
  function resetWindow() { state.windows[scanShown()] = [...scene.windows[scanShown()]]; draw(); }
  function pinThis() { state.pinned = state.on; state.compare = state.compare === "pinned" ? "" : "pinned"; draw(); }
  const flip = (list, value) => { const at = list.indexOf(value); if (at < 0) list.push(value); else list.splice(at, 1); };
  const stops = views.map((view, i) => listen(view.canvas, {
    begin: () => { if (state.layout === "planes") state.plane = i; return [...state.windows[nameIn(i)]]; },
    go(at) { const axis = axisOf(i); state.at = voxelUnder(at, view.place, axis, state.at[axis], scene.shape); moved(); },
    slice(steps) { if (state.layout === "planes") state.plane = i; const axis = axisOf(i); go(axis, state.at[axis] + steps); },
    window(dx, dy, [low, high]) {
      const middle = (low + high) / 2 + dy * 0.6, wide = Math.max((high - low) * Math.exp(dx / 200), 4);
      state.windows[nameIn(i)] = [middle - wide / 2, middle + wide / 2];
      draw();
    },
    pan(dx, dy) { const pan = state.pans[state.layout === "planes" ? i : state.plane]; pan[0] += dx / view.place.scale; pan[1] += dy / view.place.scale; draw(); },
    zoom: zoomBy,
    measure(a, b) { ruler = { view: i, ends: [a, b].map((at) => columnRow(at, view.place)) }; says.textContent = `${distance(ruler.ends, view.place).toFixed(1)} mm`; draw(); },
    reset,
  }, () => state.tool));
  const nameIn = (i) => (state.layout === "planes" ? scanShown() : names[i]);
  views.forEach((view, i) => view.canvas.addEventListener("focus", () => { if (state.layout === "planes") { state.plane = i; draw(); } }));

  function keydown(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || help.open) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox" && !/^[1-9?]$/.test(event.key)) return;
    if (event.target.type === "number") return;
    const axis = axes[state.plane], steps = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 10, PageDown: -10 };
    const acts = { Home: () => go(axis, 0), End: () => go(axis, Infinity), a: () => choosePlane("axial"), c: () => choosePlane("coronal"),
      s: () => choosePlane("sagittal"), g: () => { state.layout = state.layout === "planes" ? "scans" : "planes"; draw(); }, w: resetWindow,
      o: () => { state.outlined = !state.outlined; draw(); }, l: () => { state.labels = !state.labels; draw(); },
      r: () => { state.reference = !state.reference; draw(); }, d: () => { state.compare = state.compare ? "" : "full"; draw(); }, p: pinThis,
      m: () => { state.tool = state.tool === "measure" ? "window" : "measure"; draw(); }, i: savePicture, "+": () => zoomBy(1.25),
      "=": () => zoomBy(1.25), "-": () => zoomBy(1 / 1.25), 0: reset, "?": () => help.showModal() };
    if (/^[1-9]$/.test(event.key) && event.key <= scene.modalities.length) toggle(event.key - 1);
    else if (steps[event.key] && !event.target.closest(".dmaf-x-pill, .dmaf-x-tile")) go(axis, state.at[axis] + steps[event.key]);
    else if (acts[event.key] && steps[event.key] === undefined) acts[event.key]();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
  function choosePlane(name) { state.plane = planes.indexOf(name); boxes = []; draw(); }

  function savePicture() {
    const list = views.slice(0, count()).map((view) => view.canvas), ratio = list[0].ratio ?? 1, line = 24 * ratio, gap = 8 * ratio;
    const lines = [scene.title, says.textContent, scene.banner].filter(Boolean);
    const picture = make("canvas", { width: list.reduce((sum, c) => sum + c.width + gap, gap), height: Math.max(...list.map((c) => c.height)) + line * (lines.length + 1) });
    const context = picture.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, picture.width, picture.height);
    context.fillStyle = "#111";
    context.font = `${14 * ratio}px system-ui, sans-serif`;
    lines.forEach((words, i) => context.fillText(words, gap, line * (i + 0.8), picture.width - 2 * gap));
    list.reduce((x, c) => { context.drawImage(c, x, line * (lines.length + 0.4)); return x + c.width + gap; }, gap);
    picture.toBlob((blob) => download(blob, `${scene.title.replace(/\W+/g, "_")}_${state.on}.png`), "image/png");
  }

  const sizes = new ResizeObserver(draw);
  sizes.observe(grid);
  refresh();
  if (host.network && !known.has(state.on)) host.ask?.(state.on);
  return { receive, state, scene, element: main, known, keys, press: keydown,
    fail(key, words) { waiting.get(key)?.failed(new Error(words)); waiting.delete(key); if (key === state.on) says.textContent = `${nameOf(key, scene)}: no answer. ${words}`; },
    progress(words, share) { Object.assign(bar, { hidden: false }); if (share === null) bar.removeAttribute("value"); else bar.value = share; if (words) says.textContent = words; },
    set(changes) { adopt(changes); select(state.on); },
    close() { closed = true; sizes.disconnect(); stops.forEach((stop) => stop()); cancelAnimationFrame(tick); clearTimeout(tilesDue); known.clear(); main.remove(); } };
}

/** All non-empty subsets of the scans that are there, as keys such as 1011: by size, then in the order of the scans. */
function subsets(given) {
  const n = given.length, all = [];
  for (let bits = 1; bits < 2 ** n; bits++) {
    const key = given.map((_, i) => (bits >> (n - 1 - i)) & 1);
    if (key.every((is, i) => !is || given[i])) all.push(key.join(""));
  }
  const size = (key) => key.split("1").length;
  return all.sort((a, b) => size(a) - size(b) || (a < b ? 1 : -1));
}

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
