// A bad scan, or no scan? One scan is made worse by hand; a curve grows, and a line says what leaving it out would give.

const KINDS = { noise: ["noise", "standard deviations"], bias: ["uneven brightness", "deviations of its logarithm"],
  motion: ["motion", "voxels, as a deviation"] };

/** The ends of the axis for some values between 0 and 1: a tenth or two around them, for differences are small. */
function ends(values) {
  if (!values.length) return [0, 1];
  const low = Math.max(0, Math.floor(Math.min(...values) * 10 - 0.3) / 10), high = Math.min(1, Math.ceil(Math.max(...values) * 10 + 0.3) / 10);
  return [low, Math.max(high, low + 0.2)];
}

/** The panel. `give.degrade({scan, kind, level, key})` and `give.answer(key)` promise answers. `view()` is how slices are shown. */
function makeBadScan(scene, give, view) {
  const given = scene.modalities.filter((_, i) => scene.given[i]);
  let scan = given[0], kind = "noise", level = 0, key = "", asking = null, wanted = null, now = null, without = null, problem = "";
  const curves = new Map(); // "scan/kind" -> Map(level -> header)
  const title = make("p.says", { role: "status" });
  const slider = make("input.range", { type: "range", min: 0, max: 3, step: 0.25, value: 0, "aria-label": "how bad",
    on: { input: () => { level = Number(slider.value); ask(); } } });
  const amount = make("output");
  const scans = choice("which scan is bad", given.map((name) => [name, name]), (name) => { scan = name; begin(); });
  const kinds = choice("what is wrong with it", Object.entries(KINDS).map(([k, [words]]) => [k, words]), (k) => { kind = k; begin(); });
  const [left, right] = ["kept", "left out"].map((words) => make("canvas", { width: 330, height: 330, role: "img", "aria-label": words }));
  const chart = make("div.chart");
  const root = make("bad", {}, make("p", {}, "Make one scan worse, and see whether the network still gains from it. ",
    "Attention does not always notice: watch the weight."),
  make("row", {}, make("label", {}, "scan ", scans), make("label", {}, "with ", kinds), slider, amount),
  make("pair", {}, make("figure", {}, make("figcaption", {}, "kept"), left), make("figure", {}, make("figcaption", {}, "left out"), right), chart), title);

  const curve = () => { const id = `${scan}/${kind}/${key}`; if (!curves.has(id)) curves.set(id, new Map()); return curves.get(id); };
  const index = () => scene.modalities.indexOf(scan);
  const score = (header) => mean(Object.values(scene.reference ? header.dice : header.expected));

  /** Start anew: another scan, another fault, or another subset of good scans. */
  function begin(subset = key) {
    key = [...subset].map((is, i) => (i === index() ? "1" : is)).join("");
    level = Number(slider.value);
    now = without = null;
    ask();
  }
  async function ask() {
    amount.textContent = `${level} ${KINDS[kind][1]}`;
    wanted = { scan, kind, level, key };
    if (asking) return; // the newest is asked when this one has come
    while (wanted) {
      const request = (asking = wanted);
      wanted = null;
      problem = "";
      root.classList.add("dmaf-x-stale");
      try {
        const alone = [...request.key].map((is, i) => (i === scene.modalities.indexOf(request.scan) ? "0" : is)).join("");
        const answer = await give.degrade(request);
        const other = alone.includes("1") ? await give.answer(alone) : null;
        if (request.scan === scan && request.kind === kind && request.key === key) {
          curve().set(request.level, answer.header);
          if (request.level === 0 || !curve().has(0)) { if (request.level) wanted ??= { ...request, level: 0 }; }
          [now, without] = [request.level === level ? answer : now, other];
        }
      } catch (error) { problem = `No answer: ${error.message}.`; wanted = null; }
      if (!wanted && !problem && now && curve().get(level) === undefined) wanted = { scan, kind, level, key };
      draw();
    }
    asking = null;
    root.classList.remove("dmaf-x-stale");
  }
  function draw() {
    const look = view();
    for (const [canvas, answer] of [[left, now], [right, without]]) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      if (!answer) continue;
      const shownScan = canvas === left ? answer.volumes.scan : look.scans[scene.modalities[[...key].findIndex((is, i) => is === "1" && i !== index())]];
      paintSlice(canvas, look.axis, look.index, look.box, { ...look, scan: shownScan ?? look.scan, label: answer.volumes.label,
        window: canvas === left ? answer.header.window : look.window, base: null, map: null });
    }
    drawChart();
    words();
  }
  function drawChart() {
    const points = [...curve()].sort((a, b) => a[0] - b[0]), out = without && score(without.header);
    const [low, high] = ends([...points.map(([, h]) => score(h)), ...(out === null ? [] : [out])]);
    const x = (l) => 34 + (l / 3) * 250, y = (v) => 160 - ((v - low) / (high - low)) * 140;
    const name = scene.reference ? "mean Dice" : "mean expected Dice";
    const text = (px, py, words, more = "") => `<text x="${px}" y="${py}" ${more}>${words}</text>`;
    const colour = scene.colours[scan];
    chart.innerHTML = `<svg viewBox="0 0 300 200" role="img" aria-label="${name} against how bad ${scan} is">
      ${[low, (low + high) / 2, high].map((v) => `<line x1="34" x2="284" y1="${y(v)}" y2="${y(v)}" class="dmaf-x-grid"/>${text(4, y(v) + 4, v.toFixed(2))}`).join("")}
      ${out === null ? "" : `<line x1="34" x2="284" y1="${y(out)}" y2="${y(out)}" class="dmaf-x-out"/>${text(284, y(out) - 5, "left out", 'text-anchor="end"')}`}
      <polyline points="${points.map(([l, h]) => `${x(l)},${y(score(h))}`).join(" ")}" fill="none" stroke="${colour}" stroke-width="2.5"/>
      ${points.map(([l, h]) => `<circle cx="${x(l)}" cy="${y(score(h))}" r="${l === level ? 5 : 3}" fill="${colour}"/>`).join("")}
      ${[0, 1, 2, 3].map((l) => text(x(l), 178, l, 'text-anchor="middle"')).join("")}${text(160, 196, `${kind}: ${KINDS[kind][1]}`, 'text-anchor="middle"')}
      ${text(36, 12, name)}</svg>`;
  }
  function words() {
    const here = curve().get(level), fresh = curve().get(0);
    if (problem) { title.textContent = problem; return; }
    if (!here || !without) { title.textContent = without || !here ? "" : "There is no other scan to go on with."; return; }
    const [kept, out] = [score(here), score(without.header)], sure = (h) => mean(Object.values(h.expected));
    const weight = (h) => h.mean_weights && mean(h.mean_weights.map((row) => row[index()]));
    const moved = level && fresh?.mean_weights ? ` Its mean weight went from ${weight(fresh).toFixed(2)} to ${weight(here).toFixed(2)}.` : "";
    const better = kept >= out ? "keeping it is better" : "leaving it out is better";
    const rule = sure(here) >= sure(without.header) ? "keep it" : "leave it out";
    title.textContent = `Kept ${kept.toFixed(3)}, left out ${out.toFixed(3)}: ${scene.reference ? better : `by its own estimate, ${better}`}.${moved} `
      + `Predicting with and without, and trusting the higher expected Dice (${sure(here).toFixed(3)} against ${sure(without.header).toFixed(3)}), says: ${rule}.`;
  }
  return { root, begin, draw };
}
