// What the answer says in numbers: bars by region, weights by level, which scan to add next, what lies at the cross-hair.

/** Region -> number of an answer, what it is called, and its largest value: Dice, or cm3 where there is no reference. */
function scores(answer, scene) {
  if (scene.reference) return answer.header.dice;
  return Object.fromEntries(Object.entries(answer.counts).map(([region, n]) => [region, n * scene.voxel_ml]));
}

/** Bars of the present answer, with a mark at the fullest subset's. */
function barsPanel(scene, shown, full, largest) {
  if (!shown) return [];
  const now = scores(shown, scene), best = full && scores(full, scene);
  const alike = !scene.reference && full && full !== shown ? (shown.alike ??= agreement(shown.volumes.label, full.volumes.label, scene.regions)) : null;
  const regions = Object.keys(scene.regions), longest = Math.max(...regions.map((region) => region.length));
  const columns = { "grid-template-columns": `max(44px, ${longest}ch) minmax(0, 1fr) auto` }; // all bars begin at one place
  const rows = regions.map((region) => {
    const value = now[region], most = scene.reference ? 1 : Math.max(largest[region], 1e-9);
    const note = best && full !== shown ? signed(value - best[region], scene.reference ? 2 : 1) : "";
    return make("bar", { style: columns }, make("span", {}, plain(region)),
      make("span.track", {}, make("i.fill", { style: { width: `${(100 * value) / most}%` } }),
        best ? make("b.mark", { style: { left: `${(100 * best[region]) / most}%` } }) : null),
      make("span.value", {}, scene.reference ? value.toFixed(2) : `${value.toFixed(1)} cm³`, " ", make("small", {}, note)),
      alike ? make("small.alike", {}, `${alike[region].toFixed(2)} alike`) : null);
  });
  const words = scene.reference ? "Dice against the reference; the mark: all scans of this study"
    : "Volume; the mark and “alike” (Dice): the answer from all scans. There is no reference.";
  return [make("small", {}, words), ...rows];
}

/** Mean weights of each scan as one stacked bar a level, the full-size level on top. */
function weightsPanel(scene, shown) {
  const levels = shown?.header.mean_weights;
  if (!levels) return [make("small", {}, shown ? "This network has no modality weights." : "")];
  return [make("small", {}, "Mean weight of each scan in the fusion, by level"), ...levels.map((values, level) =>
    make("bar", {}, make("span", {}, level ? `1/${2 ** level}` : "full"),
      make("span.stack", { role: "img", "aria-label": values.map((v, i) => `${scene.modalities[i]} ${v.toFixed(2)}`).join(", ") },
        values.map((v, i) => (v > 0.0005 ? make("i.share", { title: `${scene.modalities[i]} ${v.toFixed(3)}`,
          style: { width: `${100 * v}%`, background: scene.colours[scene.modalities[i]] } }, v >= 0.12 ? v.toFixed(2) : "") : null))))),
  make("legend", {}, scene.modalities.map((name) => make("span", {}, make("i.chip", { style: { background: scene.colours[name] } }), name)))];
}

/** Which scan would raise the mean Dice most: here (with hindsight) and for a new patient (the cohort's table). */
function nextPanel(scene, key, known) {
  const missing = scene.modalities.map((_, i) => i).filter((i) => key[i] === "0");
  if (!missing.length) return [];
  const withIt = (i) => [...key].map((is, j) => (j === i ? "1" : is)).join("");
  const gain = (table, i) => (table[key] && table[withIt(i)]
    ? mean(Object.keys(scene.regions).map((r) => table[withIt(i)][r] - table[key][r])) : null);
  const here = Object.fromEntries([...known].map(([k, answer]) => [k, answer.header.dice]));
  const rows = (table) => missing.map((i) => [i, gain(table, i)]).filter(([, g]) => g !== null).sort((a, b) => b[1] - a[1])
    .map(([i, g]) => make("bar", {}, make("span", {}, scene.modalities[i]), make("span.track", {},
      make("i.fill", { style: { width: `${Math.min(Math.max(g, 0) * 250, 100)}%`, background: scene.colours[scene.modalities[i]] } })),
    make("span.value", {}, signed(g))));
  const blocks = [];
  const own = scene.reference ? rows(here) : [], cohort = scene.cohort ? rows(scene.cohort.table) : [];
  if (own.length) blocks.push(make("small", {}, "In this study (seen with its reference): change of mean Dice"), ...own);
  if (cohort.length) blocks.push(make("small", {}, `For a new patient, on average (${scene.cohort.source}):`), ...cohort);
  return blocks.length ? [make("h3", {}, "Which scan next?"), ...blocks] : [];
}

/** What lies at the cross-hair, in words. */
function readVoxel(scene, scans, reference, shown, voxel) {
  const file = scene.to_file.map((row) => Math.round(row[0] * voxel[0] + row[1] * voxel[1] + row[2] * voxel[2] + row[3]));
  const mm = scene.affine.map((row) => Math.round(row[0] * file[0] + row[1] * file[1] + row[2] * file[2] + row[3]));
  const values = Object.entries(scans).map(([name, scan]) => {
    const byte = valueAt(scan, voxel), [low, high] = scene.ranges[name];
    return `${name} ${byte ? Number((low + ((byte - 1) / 254) * (high - low)).toPrecision(3)) : 0}`;
  });
  const parts = [values.join(", ")];
  if (shown) parts.push(`predicted ${scene.classes[valueAt(shown.volumes.label, voxel)]}`
    + (shown.volumes.confidence ? ` (${Math.round((100 * valueAt(shown.volumes.confidence, voxel)) / 255)} % sure)` : ""));
  if (reference) parts.push(`reference ${scene.classes[valueAt(reference, voxel)]}`);
  return `${parts.join(" · ")} · voxel ${file.slice(0, 3).join(", ")} (at ${mm.slice(0, 3).join(", ")} mm)`;
}
