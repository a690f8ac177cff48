// All subsets at once: a small picture each, dots for the scans, numbers below. One Tab stop; arrow keys walk, Enter chooses.

const MOST_NUMBERS = 3; // below a tile
const AT_ONCE = 3; // tiles painted in a frame: they hold up nothing that is under the hand

function makeTiles(scene, keys, choose) {
  const tiles = keys.map((key) => {
    const canvas = make("canvas", { width: 150, height: 150, "aria-hidden": "true" });
    const numbers = make("span.numbers");
    const tile = make("button.tile", { type: "button", role: "option", tabindex: "-1", "aria-label": nameOf(key, scene),
      title: nameOf(key, scene), on: { click: () => choose(key) } }, canvas, dots(key, scene), numbers);
    return { key, canvas, numbers, tile };
  });
  const list = make("tiles", { style: { "--tiles": Math.max(keys.length, 10) }, role: "listbox", "aria-label": `All ${keys.length} subsets of the scans`, on: { keydown(event) {
    const at = tiles.findIndex(({ tile }) => tile === document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const to = step ? at + step : { Home: 0, End: tiles.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    tiles[Math.min(Math.max(to, 0), tiles.length - 1)].tile.focus();
  } } }, tiles.map(({ tile }) => tile));

  /** Mark the chosen one, and write what is known below each. */
  function words(key, pinned, known) {
    for (const { key: own, tile, numbers } of tiles) {
      tile.setAttribute("aria-selected", own === key);
      tile.classList.toggle("dmaf-x-pinned", own === pinned);
      tile.tabIndex = own === key ? 0 : -1;
      const answer = known.get(own);
      const values = answer && scores(answer, scene), regions = Object.keys(scene.regions);
      const few = regions.length > MOST_NUMBERS ? [mean(Object.values(values ?? {}))] : Object.values(values ?? {});
      numbers.textContent = answer ? few.map((v) => (scene.reference ? v.toFixed(2).replace(/^0/, "") : v.toFixed(0))).join(" ") : "…";
      tile.setAttribute("aria-label", `${nameOf(own, scene)}${own === pinned ? ", pinned" : ""}${answer ? `: ${regions.map((r) =>
        `${plain(r)} ${scene.reference ? `Dice ${values[r].toFixed(2)}` : `${values[r].toFixed(1)} cm³`}`).join(", ")}` : ", not computed yet"}`);
    }
  }
  let late = [], due = 0, paint = null;
  /** Paint all of them anew, a few a frame; what has waited longest comes first. */
  function paintSoon(how) {
    paint = how;
    late = [...late, ...tiles.filter((tile) => !late.includes(tile))];
    due ||= requestAnimationFrame(paintSome);
  }
  function paintSome() {
    late.splice(0, AT_ONCE).forEach(paint);
    due = late.length ? requestAnimationFrame(paintSome) : 0;
  }
  return { list, tiles, words, paintSoon };
}

/** What stands below each tile, for its heading. */
const numbersBelow = ({ regions, reference }) => { const names = Object.keys(regions).map(plain), of = reference ? "Dice of " : "cm³ of ";
  return `Below each: ${names.length > MOST_NUMBERS ? `the mean ${reference ? "Dice" : "volume in cm³"} of all ${names.length} regions` : of + names.join(", ")}.`; };

/** The square around everything that any answer calls a tumour, in columns and rows of a plane; all of it where nothing is. */
function tumourBox(scene, labels, axis) {
  const [u, v] = [across(axis), down(axis)], { shape, spacing } = scene;
  let [c0, c1, r0, r1] = [Infinity, -1, Infinity, -1];
  for (const { data, shape: [X, Y, Z], maps } of labels) {
    const ends = [0, 1, 2].map(() => [Infinity, -1]);
    for (let k = 0, i = 0; k < Z; k++) for (let j = 0; j < Y; j++) for (let h = 0; h < X; h++, i++) if (data[i]) {
      [h, j, k].forEach((at, a) => { ends[a][0] = Math.min(ends[a][0], at); ends[a][1] = Math.max(ends[a][1], at); });
    }
    if (ends[0][1] < 0) continue;
    const [a0, a1] = [maps[u].indexOf(ends[u][0]), maps[u].lastIndexOf(ends[u][1])];
    const [b0, b1] = [maps[v].indexOf(ends[v][0]), maps[v].lastIndexOf(ends[v][1])];
    [c0, c1, r0, r1] = [Math.min(c0, a0), Math.max(c1, a1), Math.min(r0, b0), Math.max(r1, b1)];
  }
  if (c1 < 0) return [0, shape[u], 0, shape[v]];
  if (axis !== 2) [r0, r1] = [shape[v] - 1 - r1, shape[v] - 1 - r0];
  const half = Math.max((c1 - c0 + 1) * spacing[u], (r1 - r0 + 1) * spacing[v]) / 2 + 8; // mm, with room around it
  const [c, r] = [(c0 + c1 + 1) / 2, (r0 + r1 + 1) / 2];
  return [c - half / spacing[u], c + half / spacing[u], r - half / spacing[v], r + half / spacing[v]];
}
