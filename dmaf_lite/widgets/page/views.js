// The pictures: up to four canvases with a slider each, and the hand on them. They are painted at most once a frame; how
// large they are is told by the page (and not asked for: that would lay it out once more for every picture).

const FLATTEST = 2; // times as wide as high: a stack of a few slices leaves room for the words in its picture

/** The views of an explorer. `x` is what it shares: scene, state, names (of the scans), look(name), scanShown(), called(plane), describe(plane, name),
 *  draw() to paint soon, and say(words). */
function makeViews(x) {
  const { scene, state, names } = x, { planes } = scene, axes = planes.map((plane) => AXES[plane]);
  let ruler = null;
  const inPlanes = () => state.layout === "planes";
  const planeOf = (i) => (inPlanes() ? i : state.plane), axisOf = (i) => axes[planeOf(i)], nameIn = (i) => (inPlanes() ? x.scanShown() : names[i]);
  const count = () => (inPlanes() ? 3 : names.length);
  const boxOf = (plane) => [0, scene.shape[across(axes[plane])], 0, scene.shape[down(axes[plane])]];

  const views = [0, 1, 2, 3].map((i) => {
    const canvas = make("canvas.canvas", { tabindex: 0, role: "img", "data-view": i });
    const slider = make("input.slices", { type: "range", step: 1, on: { input: () => go(axisOf(i), Number(slider.value)) } });
    return { canvas, slider, figure: make("figure.view", {}, canvas, slider), place: null, wide: 0, tall: 0, ratio: 0 };
  });
  const grid = make("views", {}, views.map((view) => view.figure));
  const sizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) Object.assign(views[target.dataset.view], { wide: contentRect.width, tall: contentRect.height });
    x.draw();
  });
  for (const { canvas } of views) sizes.observe(canvas);

  // -- painting -------------------------------------------------------------------------------------------------------
  function paint() {
    grid.dataset.layout = state.layout;
    const seen = views.slice(0, count());
    views.forEach((view) => { view.figure.hidden = !seen.includes(view); });
    seen.forEach(paintView);
    seen.forEach(tell); // after all pictures: each word in a picture has the page laid out, if anything has changed on it
  }
  function paintView(view, i) {
    const { canvas } = view, plane = planeOf(i), axis = axes[plane], box = boxOf(plane), name = nameIn(i);
    const shape = Math.min((box[1] * scene.spacing[across(axis)]) / (box[3] * scene.spacing[down(axis)]), FLATTEST);
    if (view.ratio !== shape) view.figure.style.setProperty("--ratio", (view.ratio = shape)); // its size follows, and is told
    const ratio = (canvas.ratio = Math.min(window.devicePixelRatio || 1, 2));
    const [width, height] = [Math.round(view.wide * ratio), Math.round(view.tall * ratio)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    view.place = paintSlice(canvas, axis, state.at[axis], box, x.look(name), { zoom: state.zoom, pan: state.pans[plane], margin: 20 * ratio });
    view.mm = state.zoom / view.place.scale; // of a pixel, without zoom
    paintMarks(canvas, view.place, axis, state.at, scene.shape, scene.letters[planes[plane]], { ruler: ruler?.view === i ? ruler.ends : null,
      title: inPlanes() ? `${titleOf(plane, view.wide)} ${state.at[axis]}` : name });
  }
  function titleOf(plane, wide) {
    const name = x.called(plane);
    return name !== planes[plane] ? `${name.split(" (")[0]}:` : wide < 230 ? name.slice(0, 3) : name;
  }
  function tell({ canvas, slider }, i) {
    const plane = planeOf(i), axis = axes[plane];
    canvas.setAttribute("aria-label", x.describe(plane, nameIn(i)));
    canvas.classList.toggle("dmaf-x-active", inPlanes() && i === state.plane);
    Object.assign(slider, { min: 0, max: scene.shape[axis] - 1, value: state.at[axis] });
    slider.setAttribute("aria-label", `${x.called(plane)} slice`);
  }

  // -- the hand -------------------------------------------------------------------------------------------------------
  function go(axis, to) {
    state.at[axis] = Math.min(Math.max(to, 0), scene.shape[axis] - 1);
    x.draw();
  }
  /** `stays(plane)` is what keeps its place in a picture: mm from the middle of the canvas, before and without zoom. */
  function zoomTo(factor, stays) {
    const zoom = Math.min(Math.max(state.zoom * factor, 0.5), 12), change = 1 / zoom - 1 / state.zoom;
    state.pans = state.pans.map((pan, plane) => (zoom <= 1 ? [0, 0] : pan.map((p, k) => p + stays(plane)[k] * change)));
    state.zoom = zoom;
    x.draw();
  }
  /** Zoom about the cross-hair. */
  function zoomBy(factor) {
    zoomTo(factor, (plane) => { const axis = axes[plane], v = down(axis); return [across(axis), v].map((a, k) => {
      const at = a === v && axis !== 2 ? scene.shape[a] - 1 - state.at[a] : state.at[a];
      return ((at + 0.5 - scene.shape[a] / 2) * scene.spacing[a] + state.pans[plane][k]) * state.zoom; }); });
  }
  /** Zoom about a point of a picture; in the others, about the middle. */
  function zoomAt(i, factor, [px, py]) {
    const { canvas, mm } = views[i];
    zoomTo(factor, (plane) => (plane === planeOf(i) ? [(px - canvas.width / 2) * mm, (py - canvas.height / 2) * mm] : [0, 0]));
  }
  function reset() { state.zoom = 1; state.pans = state.pans.map(() => [0, 0]); ruler = null; x.draw(); }
  function choosePlane(plane) { if (inPlanes()) state.plane = plane; }
  const stops = views.map((view, i) => listen(view.canvas, {
    begin: () => { choosePlane(i); return [...state.windows[nameIn(i)]]; },
    go(at) { const axis = axisOf(i); state.at = voxelUnder(at, view.place, axis, state.at[axis], scene.shape); x.draw(); },
    slice(steps) { choosePlane(i); go(axisOf(i), state.at[axisOf(i)] + steps); },
    window(dx, dy, [low, high]) {
      const centre = (low + high) / 2 + dy * 0.6, wide = Math.max((high - low) * Math.exp(dx / 200), 4);
      state.windows[nameIn(i)] = [centre - wide / 2, centre + wide / 2];
      x.draw();
    },
    pan(dx, dy) { const pan = state.pans[planeOf(i)], mm = view.mm / state.zoom; pan[0] += dx * mm; pan[1] += dy * mm; x.draw(); }, // zoom may be newer than the picture
    zoom: (factor, at) => zoomAt(i, factor, at),
    measure(a, b) { ruler = { view: i, ends: [a, b].map((at) => columnRow(at, view.place)) }; x.say(`${distance(ruler.ends, view.place).toFixed(1)} mm`); x.draw(); },
    reset,
  }, () => state.tool));
  views.forEach((view, i) => view.canvas.addEventListener("focus", () => { choosePlane(i); x.draw(); }));

  /** The visible pictures side by side below some lines of text, as a file. */
  function save(lines, name) {
    const list = views.slice(0, count()).map((view) => view.canvas), ratio = list[0].ratio ?? 1, line = 24 * ratio, gap = 8 * ratio;
    const picture = make("canvas", { width: list.reduce((sum, c) => sum + c.width + gap, gap), height: Math.max(...list.map((c) => c.height)) + line * (lines.length + 1) });
    const context = picture.getContext("2d");
    context.fillStyle = "#fff";
    context.fillRect(0, 0, picture.width, picture.height);
    context.fillStyle = "#111";
    context.font = `${14 * ratio}px system-ui, sans-serif`;
    lines.forEach((words, i) => context.fillText(words, gap, line * (i + 0.8), picture.width - 2 * gap));
    list.reduce((left, c) => { context.drawImage(c, left, line * (lines.length + 0.4)); return left + c.width + gap; }, gap);
    picture.toBlob((blob) => download(blob, name), "image/png");
  }
  return { grid, axes, boxOf, paint, go, zoomBy, reset, save, close() { sizes.disconnect(); stops.forEach((stop) => stop()); } };
}
