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

const scratch = () => { const c = document.createElement("canvas"); return [c, c.getContext("2d")]; };
const [greyCanvas, greyContext] = scratch(), [overCanvas, overContext] = scratch();

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
function paintGrey(context, slice, [low, high], place) {
  const { width, height, data } = slice, image = greyContext.createImageData(width, height), out = image.data;
  const k = 240 / Math.max(high - low, 1);
  for (let i = 0, o = 0; i < data.length; i++, o += 4) {
    const g = data[i] ? Math.min(Math.max((data[i] - low) * k + 15, 15), 255) : 0;
    out[o] = out[o + 1] = out[o + 2] = g;
    out[o + 3] = 255;
  }
  put(greyCanvas, greyContext, image, width, height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(greyCanvas, place.x, place.y, width * place.kx, height * place.ky);
}

/** Colours over a slice: `colour(i)` gives [r, g, b, alpha 0 to 255] or nothing; voxels keep their edges. */
function paintOver(context, { width, height }, place, colour) {
  const image = overContext.createImageData(width, height), out = image.data;
  for (let i = 0, n = width * height; i < n; i++) {
    const c = colour(i);
    if (c) { out[4 * i] = c[0]; out[4 * i + 1] = c[1]; out[4 * i + 2] = c[2]; out[4 * i + 3] = c[3]; }
  }
  put(overCanvas, overContext, image, width, height);
  context.imageSmoothingEnabled = false;
  context.drawImage(overCanvas, place.x, place.y, width * place.kx, height * place.ky);
}

function put(canvas, context, image, width, height) {
  if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; }
  context.putImageData(image, 0, 0);
}

/** The borders of each class as lines, with a dark edge, so that they are seen on any grey and by any eye. */
function paintBorders(context, { width, height, data }, place, colours, { shown = () => true, thick = 1.5, dash = [] } = {}) {
  const paths = new Map();
  const line = (label, x0, y0, x1, y1) => {
    if (!label || !shown(label)) return;
    if (!paths.has(label)) paths.set(label, new Path2D());
    const path = paths.get(label);
    path.moveTo(place.x + x0 * place.kx, place.y + y0 * place.ky);
    path.lineTo(place.x + x1 * place.kx, place.y + y1 * place.ky);
  };
  for (let r = 0; r <= height; r++) for (let c = 0; c <= width; c++) {
    const here = r < height && c < width ? data[r * width + c] : 0;
    const above = r > 0 && c < width ? data[(r - 1) * width + c] : 0;
    const left = c > 0 && r < height ? data[r * width + c - 1] : 0;
    if (here !== above) line(Math.max(here, above), c, r, c + 1, r);
    if (here !== left) line(Math.max(here, left), c, r, c, r + 1);
  }
  context.save();
  context.lineCap = "round";
  context.setLineDash(dash);
  for (const [label, path] of paths) for (const [style, width] of [["rgba(0,0,0,.65)", thick + 2], [colours[label], thick]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke(path);
  }
  context.restore();
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
  const alpha = Math.round(255 * look.opacity), colours = look.rgb;
  if (look.map) {
    const values = cut(look.map, axis, index).data, table = Array.from({ length: 256 }, (_, v) =>
      [...viridis((v - look.mapEnds[0]) / (look.mapEnds[1] - look.mapEnds[0])), 235]);
    paintOver(context, grey, place, (i) => grey.data[i] && table[values[i]]);
  } else if (look.base && label) {
    const base = cut(look.base, axis, index).data;
    paintOver(context, grey, place, (i) => label[i] === base[i] ? null
      : [...(!label[i] ? LOST : !base[i] ? GAINED : OTHER), Math.max(alpha, 150)]);
  } else if (label && alpha && !look.outlined) {
    paintOver(context, grey, place, (i) => label[i] && look.shown(label[i]) ? [...colours[label[i]], alpha] : null);
  }
  if (label && !look.base && look.borders) {
    paintBorders(context, { ...grey, data: label }, place, look.colours, { shown: look.shown, thick: look.outlined ? 2 : 1.2 });
  }
  if (look.reference) {
    const white = look.colours.map(() => "#ffffff");
    paintBorders(context, { ...grey, data: cut(look.reference, axis, index).data }, place, white,
      { shown: look.shown, thick: 1.2, dash: [4, 3] });
  }
  return place;
}
