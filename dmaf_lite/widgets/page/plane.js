// One view under the hand: a canvas that mouse, wheel, fingers and keys move through. It draws nothing by itself.

const WHEEL = 40; // pixels of wheel for one slice: one notch of a mouse, a short stroke of a touch pad
const SWIPE = 12; // pixels of a finger for one slice
const STILL = 4; // pixels: less is a click, more is a drag

/** Listen to a canvas. `acts`: go(point), slice(steps), window(dx, dy, start), pan(dx, dy), zoom(factor, point), measure(a, b).
 *  Points are in pixels of the canvas. Returns a function that stops listening. */
function listen(canvas, acts, tool) {
  const fingers = new Map();
  let drag = null, rest = 0, pinch = null, swiped = 0;
  const ratio = () => canvas.width / canvas.getBoundingClientRect().width;
  const point = (event) => {
    const box = canvas.getBoundingClientRect();
    return [(event.clientX - box.left) * ratio(), (event.clientY - box.top) * ratio()];
  };
  const two = () => {
    const [a, b] = [...fingers.values()];
    return { apart: Math.hypot(a[0] - b[0], a[1] - b[1]), middle: [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2] };
  };
  const listeners = {
    pointerdown(event) {
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      const at = point(event);
      fingers.set(event.pointerId, at);
      if (fingers.size === 2) { pinch = two(); drag = null; return; }
      const kind = event.pointerType === "touch" && tool() === "window" ? "swipe"
        : event.button === 1 || event.button === 2 || event.shiftKey ? "pan" : tool();
      drag = { kind, from: at, last: at, start: acts.begin?.(kind), moved: false };
      swiped = 0;
    },
    pointermove(event) {
      if (!fingers.has(event.pointerId)) return;
      const at = point(event);
      fingers.set(event.pointerId, at);
      if (pinch && fingers.size === 2) {
        const now = two();
        acts.zoom(now.apart / Math.max(pinch.apart, 1), pinch.middle);
        acts.pan(now.middle[0] - pinch.middle[0], now.middle[1] - pinch.middle[1]);
        pinch = now;
        return;
      }
      if (!drag) return;
      const [dx, dy] = [at[0] - drag.from[0], at[1] - drag.from[1]];
      if (!drag.moved && Math.hypot(dx, dy) < STILL * ratio()) return;
      drag.moved = true;
      if (drag.kind === "window") acts.window(dx / ratio(), dy / ratio(), drag.start);
      if (drag.kind === "pan") acts.pan(at[0] - drag.last[0], at[1] - drag.last[1]);
      if (drag.kind === "measure") acts.measure(drag.from, at);
      if (drag.kind === "go") acts.go(at);
      if (drag.kind === "swipe") {
        const steps = Math.trunc(-dy / ratio() / SWIPE);
        if (steps !== swiped) acts.slice(steps - swiped);
        swiped = steps;
      }
      drag.last = at;
    },
    pointerup(event) {
      if (drag && !drag.moved && fingers.size === 1 && drag.kind !== "pan") acts.go(point(event));
      fingers.delete(event.pointerId);
      pinch = drag = null;
    },
    pointercancel(event) { fingers.delete(event.pointerId); pinch = drag = null; },
    contextmenu(event) { event.preventDefault(); },
    dblclick() { acts.reset?.(); },
    wheel(event) {
      event.preventDefault();
      if (event.ctrlKey || event.metaKey) { acts.zoom(Math.exp(-event.deltaY / 300), point(event)); return; }
      rest -= event.deltaMode === 1 ? event.deltaY * WHEEL : event.deltaY;
      const steps = Math.trunc(rest / WHEEL);
      rest -= steps * WHEEL;
      if (steps) acts.slice(steps);
    },
  };
  for (const [name, act] of Object.entries(listeners)) canvas.addEventListener(name, act, { passive: false });
  return () => { for (const [name, act] of Object.entries(listeners)) canvas.removeEventListener(name, act); };
}

/** The voxel of the scene under a point of the canvas, within the scene. */
function voxelUnder([px, py], place, axis, index, shape) {
  const [u, v] = [across(axis), down(axis)];
  const inside = (i, n) => Math.min(Math.max(Math.floor(i), 0), n - 1);
  const voxel = [0, 0, 0], row = inside((py - place.y) / place.ky, shape[v]);
  voxel[axis] = index;
  voxel[u] = inside((px - place.x) / place.kx, shape[u]);
  voxel[v] = axis === 2 ? row : shape[v] - 1 - row;
  return voxel;
}

/** The middle of a voxel in the canvas, the way back. */
function pointOf(voxel, place, axis, shape) {
  const [u, v] = [across(axis), down(axis)], row = axis === 2 ? voxel[v] : shape[v] - 1 - voxel[v];
  return [place.x + (voxel[u] + 0.5) * place.kx, place.y + (row + 0.5) * place.ky];
}

/** Cross-hair, letters of the sides, a scale bar and a measured distance over a painted slice. */
function paintMarks(canvas, place, axis, voxel, shape, letters, { cross = true, ruler = null, title = "" } = {}) {
  const context = canvas.getContext("2d"), { width: W, height: H } = canvas, ratio = canvas.ratio ?? 1;
  context.save();
  if (cross) {
    const [x, y] = pointOf(voxel, place, axis, shape).map((p) => Math.round(p) + 0.5), gap = 9 * ratio;
    context.strokeStyle = "rgba(140, 210, 255, .8)";
    context.lineWidth = ratio;
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, W, y], [x, 0, x, y - gap], [x, y + gap, x, H]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
  }
  context.font = `600 ${14 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.textAlign = "center";
  const edge = 11 * ratio;
  [[edge, H / 2], [W - edge, H / 2], [W / 2, edge], [W / 2, H - edge]].forEach(([x, y], i) => word(context, letters[i], x, y, ratio));
  if (title) { context.textAlign = "left"; word(context, title, 7 * ratio, edge, ratio); }
  const mm = [50, 20, 10, 5, 2, 1].find((length) => length * place.scale < W / 3) ?? 1; // a bar that fits
  context.fillStyle = "#fff";
  context.fillRect(8 * ratio, H - 7 * ratio, mm * place.scale, 2 * ratio);
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  context.textAlign = "left";
  word(context, `${mm} mm`, 8 * ratio, H - 15 * ratio, ratio);
  if (ruler) {
    const [[ax, ay], [bx, by]] = ruler.map((at) => pointAt(at, place));
    context.strokeStyle = "#ffe066";
    context.lineWidth = 2 * ratio;
    context.beginPath();
    context.moveTo(ax, ay);
    context.lineTo(bx, by);
    context.stroke();
    context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    const words = `${distance(ruler, place).toFixed(1)} mm`, room = W - context.measureText(words).width - 4 * ratio;
    word(context, words, Math.min(bx + 8 * ratio, room), Math.max(by - 8 * ratio, 12 * ratio), ratio);
  }
  context.restore();
}

function word(context, text, x, y, ratio) {
  context.strokeStyle = "rgba(0, 0, 0, .8)";
  context.lineWidth = 3 * ratio;
  context.lineJoin = "round";
  context.strokeText(text, x, y);
  context.fillStyle = "#fff";
  context.fillText(text, x, y);
}

// A ruler keeps columns and rows (not pixels), so that it stays where it is when one zooms.
const pointAt = ([c, r], place) => [place.x + c * place.kx, place.y + r * place.ky];
const columnRow = ([x, y], place) => [(x - place.x) / place.kx, (y - place.y) / place.ky];
/** Millimetres between the two ends of a ruler. */
const distance = ([[c0, r0], [c1, r1]], { kx, ky, scale }) => Math.hypot(((c1 - c0) * kx) / scale, ((r1 - r0) * ky) / scale);
