// The explorer: its state, and what is known. What is seen never waits for Python; only answers of the network do.
//
// `from`, its host, is where it lives: {network, ask(key), degrade(request) -> bytes, save(key), changed(state), saved}, all optional.
// Returns {receive(buffer), fail(key, words), set(state), state, close()}.

const REST = 250; // ms without a change before the host is told: an address or a message for every slice would cost more than the slice

function createExplorer(root, buffer, from = {}) {
  const { header: scene, volumes } = unpack(buffer);
  const host = scene.answers ? from : { ...from, network: false, degrade: undefined, save: undefined };
  scene.reference = Boolean(volumes.reference);
  const names = scene.modalities.filter((_, i) => scene.given[i]);
  const scans = Object.fromEntries(names.map((name) => [name, volumes[`scan/${name}`]]));
  const keys = host.network ? subsets(scene.given) : [];
  const full = scene.given.map(Number).join("");
  const known = new Map(), waiting = new Map(), largest = {};
  const state = { on: full, scan: "", at: [...scene.start], plane: 0, layout: "planes", windows: structuredClone(scene.windows),
    zoom: 1, pans: [[0, 0], [0, 0], [0, 0]], opacity: 0.5, outlined: false, labels: true, hidden: [], reference: scene.reference && Boolean(host.network),
    compare: "", pinned: "", map: "", tool: "window" };
  adopt(host.saved ?? {});
  let shownKey = "", boxes = [], tick = 0, telling = 0, explained = "", closed = false;
  const colours = scene.class_colours, colourBytes = colours.map(rgb);

  /** Take over what an address or Python says, as far as it fits this study. */
  function adopt({ on, at, scan, ...others }) {
    if (on && keys.includes(on)) state.on = on;
    if (others.pinned && !keys.includes(others.pinned)) delete others.pinned;
    if (at?.length === 3) state.at = at.map((v, a) => Math.min(Math.max(Math.round(v) || 0, 0), scene.shape[a] - 1));
    if (scan !== undefined) state.scan = names.includes(scan) ? scan : "";
    for (const [name, value] of Object.entries(others)) if (name in state && typeof value === typeof state[name]) state[name] = value;
  }

  // -- what is shown --------------------------------------------------------------------------------------------------
  const shown = () => known.get(state.on) ?? known.get(shownKey);
  const stale = () => Boolean(host.network) && state.on !== shownKey;
  const scanShown = (key = state.on) => (state.scan && scans[state.scan] ? state.scan
    : names.find((name) => !host.network || key[scene.modalities.indexOf(name)] === "1") ?? names[0]);
  /** What a picture shows, as paint.js takes it. */
  function look(name = scanShown(), key = state.on) {
    const answer = known.get(key) ?? (key === state.on ? shown() : null), label = host.network ? answer?.volumes.label : volumes.reference;
    const base = { full: known.get(full)?.volumes.label, reference: volumes.reference, pinned: known.get(state.pinned)?.volumes.label }[state.compare];
    const map = state.map && answer?.volumes[state.map];
    return { scene, scan: scans[name], window: state.windows[name], label: state.labels ? label : null, opacity: state.opacity,
      outlined: state.outlined, borders: true, shown: (c) => !state.hidden.includes(c), rgb: colourBytes,
      reference: host.network && state.reference && state.labels ? volumes.reference : null, base: state.labels ? base : null,
      map, mapEnds: map ? mapEnds(answer, state.map) : null };
  }
  const mapEnds = (answer, name) => (name === "confidence" ? [255 / scene.classes.length, 255] : [0, answer.header.largest_weight || 255]);
  const called = (plane) => scene.names?.[scene.planes[plane]] || scene.planes[plane]; // pages of old have no names
  const describe = (plane, name) => `${scene.title}, ${name}, ${called(plane)} slice ${state.at[views.axes[plane]]}`
    + (host.network ? `, segmented from ${nameOf(shownKey || state.on, scene)}` : "") + (scene.banner ? `. ${scene.banner}` : "");

  // -- parts ----------------------------------------------------------------------------------------------------------
  const says = make("p.says", { role: "status", "aria-live": "polite" }), say = (words) => { says.textContent = words; };
  const help = makeHelp();
  const x = { scene, state, names, network: Boolean(host.network), look, scanShown, called, describe, draw, say, help };
  const views = makeViews(x);
  const acts = { ...views, toggle, pin() { const same = state.pinned === state.on;
      Object.assign(state, same ? { pinned: "", compare: state.compare === "pinned" ? "" : state.compare } : { pinned: state.on, compare: "pinned" }); refresh(); },
    resetWindow() { state.windows[scanShown()] = [...scene.windows[scanShown()]]; draw(); }, help: () => help.showModal(),
    savePicture: () => views.save([scene.title, says.textContent, scene.banner].filter(Boolean), `${scene.title.replace(/\W+/g, "_")}_${state.on}.png`),
    save: host.save && (() => host.save(state.on)) };
  const tools = makeTools(x, acts), press = listenToKeys(x, acts);
  const pills = names.map((name) => {
    const i = scene.modalities.indexOf(name);
    return make("button.pill", { type: "button", "aria-pressed": true, title: `${name}: key ${i + 1}`, style: { "--c": scene.colours[name] },
      on: { click: () => toggle(i) } }, make("kbd", { "aria-hidden": "true" }, i + 1), name);
  });
  const absent = scene.modalities.filter((_, i) => !scene.given[i]);
  const tiles = makeTiles(scene, keys, select), guess = makeGuess(scene, known, select);
  const readout = make("p.readout"), bars = make("section.part"), weights = make("section.part"), next = make("section.part");
  const bar = make("progress.progress", { max: 1, value: 0, hidden: true, "aria-label": "computing" });
  const differs = make("span.differs");
  const legend = make("legend", { role: "group", "aria-label": "classes; press to hide" }, scene.classes.slice(1).map((name, i) => {
    const chip = make("button.class", { type: "button", "aria-pressed": true, on: { click: () => hide(i + 1, chip) } }, make("i.chip", { style: { background: colours[i + 1] } }), name);
    return chip;
  }), differs);
  const bad = host.degrade ? makeBadScan(scene, { answer, degrade: async (request) => unpack(await host.degrade(request), scene.shape) }, () => ({ ...look(),
    axis: views.axes[state.plane], index: state.at[views.axes[state.plane]], scans, box: boxes[state.plane] ?? views.boxOf(state.plane) })) : null;
  const badPart = bad && make("details.more", { on: { toggle: () => badPart.open && bad.begin(state.on) } }, make("summary", {}, "A bad scan, or no scan?"), bad.root);
  const solid = makeSolid(scene, () => ({ ...look(), at: state.at, head: scans[scanShown()] }));
  const solidPart = make("details.more", { on: { toggle: () => solid.draw() } }, make("summary", {}, "In three dimensions"), solid.root);
  const main = make("explorer", { role: "group", "aria-label": scene.title, on: { keydown: press } },
    scene.banner ? make("p.banner", { role: "note" }, scene.banner) : null,
    make("header.head", {}, make("h2", {}, scene.title), ...scene.notes.map((note) => make("p.note", { role: "note" }, note))),
    make("row.scans", { role: "group", "aria-label": "scans" }, pills, absent.length ? make("small", {}, `not there: ${absent.join(", ")}`) : null,
      host.network ? guess.check : null),
    guess.row, make("row", {}, says, bar), tools.row,
    make("body", {}, make("left", {}, views.grid, legend, readout), host.network ? make("side", {}, bars, next, weights, solidPart) : solidPart,
      host.network ? make("section.part", {}, make("h3", {}, keys.length > 1 ? `All ${keys.length} subsets, at this slice` : "The only subset"),
        make("small", {}, numbersBelow(scene)), tiles.list) : null),
    badPart, help);
  root.append(main);

  // -- drawing --------------------------------------------------------------------------------------------------------
  function draw() {
    if (!tick && !closed) tick = requestAnimationFrame(() => { tick = 0; paint(); });
  }
  function paint() {
    views.paint();
    main.classList.toggle("dmaf-x-stale", stale());
    tools.update();
    readout.textContent = readVoxel(scene, scans, volumes.reference, host.network ? shown() : null, state.at);
    explain();
    if (solidPart.open) solid.draw();
    if (host.network) tiles.paintSoon(paintTile);
    clearTimeout(telling);
    telling = setTimeout(() => host.changed?.(state), REST);
  }
  function paintTile({ key, canvas }) {
    if (closed || !known.has(key)) return;
    const axis = views.axes[state.plane];
    const box = boxes[state.plane] ??= tumourBox(scene, [volumes.reference ?? known.get(full)?.volumes.label].filter(Boolean), axis);
    paintSlice(canvas, axis, state.at[axis], box, { ...look(scanShown(key), key), borders: false, outlined: false, map: null, reference: null });
  }
  /** What the colours mean that are no classes. */
  function explain() {
    const to = look().base && { full: "all scans", reference: "the reference", pinned: nameOf(state.pinned, scene) }[state.compare];
    const now = `${to} ${state.compare} ${state.map} ${shownKey}`;
    if (now === explained) return;
    explained = now;
    const patch = (words, style) => make("span", {}, make("i.chip", { style: { background: style } }), words);
    const [lost, gained] = state.compare === "reference" ? ["missed", "too much"] : ["lost", "gained"];
    differs.replaceChildren(...(to ? [`Against ${to}: `, ...[[lost, LOST], [gained, GAINED], ["other class", OTHER]].map(([words, c]) => patch(words, `rgb(${c})`))]
      : state.map ? [mapLegend()] : []));
  }
  function mapLegend() {
    const [low, high] = mapEnds(shown() ?? { header: {} }, state.map);
    return make("span", {}, `${state.map.replace("weight/", "weight of ")} ${(low / 255).toFixed(2)} `,
      make("i.ramp", { style: { background: `linear-gradient(90deg, ${VIRIDIS.map((c) => `rgb(${c})`).join(",")})` } }), ` ${(high / 255).toFixed(2)}`);
  }
  function hide(c, chip) {
    state.hidden = state.hidden.includes(c) ? state.hidden.filter((one) => one !== c) : [...state.hidden, c];
    pressed(chip, !state.hidden.includes(c));
    draw();
  }

  // -- questions and answers ------------------------------------------------------------------------------------------
  function toggle(i) {
    const name = scene.modalities[i];
    if (!scene.given[i]) { say(`This study has no ${name}.`); return; }
    if (!host.network) { state.scan = name; refresh(); return; }
    const key = [...state.on].map((is, j) => (j === i ? String(1 - is) : is)).join("");
    if (!key.includes("1")) { say("At least one scan is needed: nothing can be said about a study without any."); return; }
    if (!guess.asks(key, state.on)) select(key);
  }
  function select(key) {
    state.on = key;
    guess.shown(key);
    if (known.has(key)) shownKey = key; else host.ask?.(key);
    if (badPart?.open) bad.begin(key);
    refresh();
  }
  function refresh() {
    pills.forEach((pill, i) => pressed(pill, host.network ? state.on[scene.modalities.indexOf(names[i])] === "1" : names[i] === scanShown()));
    const answer = known.get(state.on);
    if (host.network) {
      say(`Given: ${nameOf(state.on, scene)}. ` + (answer ? Object.entries(scores(answer, scene)).map(([r, v]) =>
        `${plain(r)} ${scene.reference ? v.toFixed(2) : `${v.toFixed(1)} cm³`}`).join(" · ") + guess.words(state.on) : "Computing …"));
      tiles.words(state.on, state.pinned, known);
      bars.replaceChildren(...barsPanel(scene, shown(), known.get(full), largest));
      weights.replaceChildren(...weightsPanel(scene, shown()));
      next.replaceChildren(...nextPanel(scene, state.on, known));
    } else say(`${scanShown()}. Keys 1 to ${names.length} change the scan; ? lists all keys.`);
    draw();
  }
  /** The answer to a subset, now or when it has come. */
  function answer(key) {
    if (known.has(key)) return Promise.resolve(known.get(key));
    host.ask?.(key);
    return new Promise((done, failed) => waiting.set(key, { done, failed }));
  }
  function receive(bytes) {
    const answer = unpack(bytes, scene.shape), { key } = answer.header;
    answer.counts = countRegions(answer.volumes.label, scene.regions);
    for (const [region, value] of Object.entries(scores(answer, scene))) largest[region] = Math.max(largest[region] ?? 0, value);
    // Without a reference nobody knows where to look before the first answer; who has moved already is left there.
    if (!known.size && !scene.reference && String(state.at) === String(scene.start)) state.at = fullest(answer.volumes.label, views.axes[0]) ?? state.at;
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

  refresh();
  if (host.network && !known.has(state.on)) host.ask?.(state.on);
  return { receive, state, scene, element: main, known, keys, press,
    fail(key, words) { waiting.get(key)?.failed(new Error(words)); waiting.delete(key); if (key === state.on) say(`${nameOf(key, scene)}: no answer. ${words}`); },
    set(changes) { adopt(changes); select(state.on); },
    close() { closed = true; views.close(); cancelAnimationFrame(tick); clearTimeout(telling); known.clear(); main.remove(); } };
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
