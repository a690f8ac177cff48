// One slice into a canvas: grey, colours over it, borders as lines, and where the cross-hair runs.

const LOST = [230, 40, 140], GAINED = [60, 190, 255], OTHER = [255, 176, 0]; // the difference overlay
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
// Ten colours of viridis, between which one interpolates.
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b",
  "#fde725"].map(rgb);
const viridis = (t) => {
  const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  return VIRIDIS[i].map((c, k) => Math.round(c + (VIRIDIS[i + 1][k] - c) * (at - i)));
};

/** A colour and its alpha (0 to 255) as one number, as a picture's memory has it. */
const packed = ([r, g, b], alpha = 255) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

// Sheets on which slices are prepared, one a size: nothing is allocated while one moves through a study.
const sheets = new Map();
function sheet(width, height) {
  const size = `${width} ${height}`;
  if (!sheets.has(size)) {
    if (sheets.size > 12) sheets.clear(); // of studies that have been closed
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [width, height];
    const context = canvas.getContext("2d"), image = context.createImageData(width, height);
    sheets.set(size, { canvas, context, image, pixels: new Uint32Array(image.data.buffer) });
  }
  return sheets.get(size);
}

/** Where a slice lies in a canvas: pixels per voxel, and the corner, for a box of voxels [c0, c1, r0, r1]. */
function fit(canvas, spacing, axis, [c0, c1, r0, r1], { zoom = 1, pan = [0, 0], margin = 0 } = {}) {
  const [su, sv] = [spacing[across(axis)], spacing[down(axis)]];
  const wide = (c1 - c0) * su, tall = (r1 - r0) * sv;
  const scale = Math.min((canvas.width - 2 * margin) / wide, (canvas.height - 2 * margin) / tall) * zoom;
  return { kx: scale * su, ky: scale * sv, scale, // pixels per column, per row, per mm
    x: canvas.width / 2 - (scale * su * (c0 + c1)) / 2 + pan[0] * scale,
    y: canvas.height / 2 - (scale * sv * (r0 + r1)) / 2 + pan[1] * scale };
}

/** Bytes through a window into a grey picture, enlarged smoothly; background stays darker than any tissue. */
function paintGrey(context, { width, height, data }, [low, high], place) {
  const k = 240 / Math.max(high - low, 1), table = new Uint32Array(256);
  for (let v = 0; v < 256; v++) table[v] = packed(Array(3).fill(v ? Math.min(Math.max((v - low) * k + 15, 15), 255) : 0));
  const on = sheet(width, height), { pixels } = on;
  for (let i = 0; i < data.length; i++) pixels[i] = table[data[i]];
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = place.kx < 0.75 ? "medium" : "low"; // the better ones take longer, and are not seen
  lay(context, on, place);
}

/** Colours over a slice: `colour(i)` gives what `packed` gives, or 0; voxels keep their edges. */
function paintOver(context, { width, height }, place, colour) {
  const on = sheet(width, height), { pixels } = on;
  for (let i = 0; i < pixels.length; i++) pixels[i] = colour(i);
  context.imageSmoothingEnabled = false;
  lay(context, on, place);
}

function lay(context, { canvas, context: own, image }, place) {
  own.putImageData(image, 0, 0);
  context.drawImage(canvas, place.x, place.y, canvas.width * place.kx, canvas.height * place.ky);
}

/** The borders of each class as lines, with a dark edge, so that they are seen on any grey and by any eye.
 *  They are set as pixels, and not stroked: a browser without a graphics card would take five times as long. */
function drawBorders({ pixels, canvas: { width, height } }, slice, place, colours, { shown, thick, dash = 0 }) {
  const parts = bordersOf(slice).filter(([label]) => shown(label)).flatMap(([label, x0, y0, x1, y1]) => {
    const [left, right] = [x0, x1].map((x) => Math.round(place.x + x * place.kx)), [top, bottom] = [y0, y1].map((y) => Math.round(place.y + y * place.ky));
    return (dash ? dashes(left, top, right, bottom, dash) : [[left, top, right, bottom]]).map((part) => [label, part]);
  });
  const fill = (wide, value) => { // `value(label)` is packed
    const before = wide >> 1;
    for (const [label, [left, top, right, bottom]] of parts) {
      const [x0, x1] = [Math.max(left - before, 0), Math.min(right - before + wide, width)], y1 = Math.min(bottom - before + wide, height);
      for (let y = Math.max(top - before, 0); y < y1 && x0 < x1; y++) pixels.fill(value(label), y * width + x0, y * width + x1);
    }
  };
  fill(thick + 2, () => packed([0, 0, 0], 166));
  fill(thick, (label) => packed(colours[label]));
}

/** A line along a row or column in dashes; they lie where they lie in the picture, so that those of neighbours meet. */
function dashes(left, top, right, bottom, dash) {
  const across = right > left, [from, to] = across ? [left, right] : [top, bottom], parts = [];
  for (let at = Math.floor(from / (2 * dash)) * 2 * dash; at < to; at += 2 * dash) {
    const [a, b] = [Math.max(at, from), Math.min(at + dash, to)];
    if (b > a) parts.push(across ? [a, top, b, bottom] : [left, a, right, b]);
  }
  return parts;
}

/** Where labels meet, as straight lines [label, x0, y0, x1, y1], as long as they go: the larger of two labels has the border. */
function bordersOf({ width, height, data }) {
  const lines = [];
  const run = (n, at, line) => { // the steps of one row or column of edges; `at(i)` is the label at one
    for (let i = 0, from = 0, last = 0; i <= n; i++) {
      const label = i < n ? at(i) : 0;
      if (label === last) continue;
      if (last) lines.push([last, ...line(from, i)]);
      [from, last] = [i, label];
    }
  };
  const edge = (a, b) => (a === b ? 0 : Math.max(a, b));
  for (let r = 0; r <= height; r++) {
    const [above, here] = [(r - 1) * width, r * width];
    run(width, (c) => edge(r ? data[above + c] : 0, r < height ? data[here + c] : 0), (c0, c1) => [c0, r, c1, r]);
  }
  for (let c = 0; c <= width; c++) {
    run(height, (r) => edge(c ? data[r * width + c - 1] : 0, c < width ? data[r * width + c] : 0), (r0, r1) => [c, r0, c, r1]);
  }
  return lines;
}

/** Everything of one view: `look` says what is shown, see explorer.js. Returns where the slice lies. */
function paintSlice(canvas, axis, index, box, look, frame = {}) {
  const context = canvas.getContext("2d"), { scene } = look;
  context.fillStyle = "#000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const place = fit(canvas, scene.spacing, axis, box, frame);
  const grey = cut(look.scan, axis, index);
  paintGrey(context, grey, look.window, place);
  const label = look.label && cut(look.label, axis, index).data;
  const alpha = Math.round(255 * look.opacity);
  if (look.map) {
    const values = cut(look.map, axis, index).data, [low, high] = look.mapEnds;
    const table = Uint32Array.from({ length: 256 }, (_, v) => packed(viridis((v - low) / (high - low)), 235));
    paintOver(context, grey, place, (i) => (grey.data[i] ? table[values[i]] : 0));
  } else if (look.base && label) {
    const base = cut(look.base, axis, index).data, [lost, gained, other] = [LOST, GAINED, OTHER].map((c) => packed(c, Math.max(alpha, 150)));
    paintOver(context, grey, place, (i) => (label[i] === base[i] ? 0 : !label[i] ? lost : !base[i] ? gained : other));
  } else if (label && alpha && !look.outlined) {
    const table = look.rgb.map((colour, c) => (c && look.shown(c) ? packed(colour, alpha) : 0));
    paintOver(context, grey, place, (i) => table[label[i]]);
  }
  const line = Math.round(canvas.ratio ?? 1), own = label && !look.base && look.borders;
  if (own || look.reference) {
    const ink = sheet(canvas.width, canvas.height), { shown } = look;
    ink.pixels.fill(0);
    if (own) drawBorders(ink, { ...grey, data: label }, place, look.rgb, { shown, thick: look.outlined ? 2 * line : line });
    if (look.reference) {
      const white = look.rgb.map(() => [255, 255, 255]);
      drawBorders(ink, { ...grey, data: cut(look.reference, axis, index).data }, place, white, { shown, thick: line, dash: 4 * line });
    }
    context.imageSmoothingEnabled = false;
    lay(context, ink, { x: 0, y: 0, kx: 1, ky: 1 });
  }
  return place;
}
