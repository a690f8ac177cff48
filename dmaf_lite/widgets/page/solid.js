// The head and the labels in three dimensions: rays through a coarse copy of the volume, without WebGL.

/** `view()` is how slices are shown; a drag turns, and the present cross-hair is drawn through the head. */
function makeSolid(scene, view) {
  const SIDE = 300, N = 72; // pixels of the picture; voxels of the longest side of the coarse copy
  const canvas = make("canvas.canvas", { width: SIDE, height: SIDE, tabindex: 0, role: "img", "aria-label": "head and labels in three dimensions; drag or arrow keys turn it" });
  const context = canvas.getContext("2d"), image = context.createImageData(SIDE, SIDE);
  let turn = 0.5, tilt = 0.25, coarse = null, source = [];
  const mm = scene.shape.map((n, a) => n * scene.spacing[a]), cell = Math.max(...mm) / N, size = mm.map((m) => Math.max(1, Math.ceil(m / cell)));

  /** The nearest voxel of a volume at each cell: uint8 [size], x fastest. */
  function sample(volume) {
    const out = new Uint8Array(size[0] * size[1] * size[2]), at = size.map((n, a) => Int32Array.from({ length: n }, (_, i) =>
      volume.maps[a][Math.min(Math.floor(((i + 0.5) * cell) / scene.spacing[a]), scene.shape[a] - 1)]));
    const [X, Y] = volume.shape;
    for (let k = 0, o = 0; k < size[2]; k++) for (let j = 0; j < size[1]; j++) for (let i = 0; i < size[0]; i++, o++) {
      const [a, b, c] = [at[0][i], at[1][j], at[2][k]];
      if (a >= 0 && b >= 0 && c >= 0) out[o] = volume.data[a + X * (b + Y * c)];
    }
    return out;
  }
  function draw() {
    const look = view();
    if (source[0] !== look.head || source[1] !== look.label) {
      source = [look.head, look.label];
      coarse = { head: sample(look.head), label: look.label ? sample(look.label) : null };
    }
    const [ct, st, cf, sf] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)];
    // The screen's right, down and depth, in LPS; from the front at first.
    const right = [ct, st, 0], deep = [-st * cf, ct * cf, -sf], below = [st * sf, -ct * sf, -cf];
    const middle = size.map((n) => n / 2), reach = Math.hypot(...size) / 2, scale = (1.8 * reach) / SIDE; // a head does not fill the corners of its box
    const [X, Y, Z] = size, { head, label } = coarse, out = image.data;
    const at = (volume, x, y, z) => (x < 0 || y < 0 || z < 0 || x >= X || y >= Y || z >= Z ? 0 : volume[(x | 0) + X * ((y | 0) + Y * (z | 0))]);
    for (let r = 0, o = 0; r < SIDE; r++) for (let c = 0; c < SIDE; c++, o += 4) {
      const [u, v] = [(c - SIDE / 2) * scale, (r - SIDE / 2) * scale];
      let skin = 0, hit = 0, depth = 0;
      const p = [0, 1, 2].map((a) => middle[a] + u * right[a] + v * below[a] - reach * deep[a]);
      for (let s = 0; s < 2 * reach; s++, p[0] += deep[0], p[1] += deep[1], p[2] += deep[2]) {
        if (!skin && at(head, p[0], p[1], p[2])) { // shade by how much of the head lies around
          let gx = 0, gy = 0, gz = 0;
          for (const d of [-2, 2]) { const w = Math.sign(d); gx += w * (at(head, p[0] + d, p[1], p[2]) > 0); gy += w * (at(head, p[0], p[1] + d, p[2]) > 0); gz += w * (at(head, p[0], p[1], p[2] + d) > 0); }
          skin = 70 + (90 * Math.max(0, gx * deep[0] + gy * deep[1] + gz * deep[2])) / Math.max(Math.hypot(gx, gy, gz), 1);
        }
        const l = label && at(label, p[0], p[1], p[2]);
        if (l && look.shown(l)) { hit = l; depth = s / (2 * reach); break; }
      }
      const back = skin ? [skin * 0.9, skin * 0.92, skin] : [14, 16, 20];
      const colour = hit ? look.rgb[hit].map((x, k) => x * (1.15 - 0.6 * depth) * 0.75 + back[k] * 0.25) : back;
      out[o] = colour[0]; out[o + 1] = colour[1]; out[o + 2] = colour[2]; out[o + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    const project = (voxel) => { const d = voxel.map((n, a) => ((n + 0.5) * scene.spacing[a]) / cell - middle[a]);
      return [SIDE / 2 + d.reduce((s, x, a) => s + x * right[a], 0) / scale, SIDE / 2 + d.reduce((s, x, a) => s + x * below[a], 0) / scale]; };
    context.strokeStyle = "rgba(140, 210, 255, .9)";
    for (const axis of [0, 1, 2]) { // the cross-hair, from face to face
      const ends = [0, scene.shape[axis] - 1].map((e) => project(look.at.map((n, a) => (a === axis ? e : n))));
      context.beginPath();
      context.moveTo(...ends[0]);
      context.lineTo(...ends[1]);
      context.stroke();
    }
    context.fillStyle = "#fff";
    context.font = "600 13px system-ui, sans-serif";
    const ends = [[0, "R"], [0, "L"], [1, "A"], [1, "P"], [2, "I"], [2, "S"]], known = scene.letters.axial[0] !== "?";
    ends.forEach(([axis, letter], i) => { const e = scene.shape.map((n, a) => (a === axis ? (i % 2 ? n + 2 : -2) : n / 2)); context.fillText(known ? letter : "?", ...project(e)); });
  }
  let drag = null, waiting = 0;
  const soon = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); }); };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); drag = [event.clientX, event.clientY, turn, tilt]; });
  canvas.addEventListener("pointermove", (event) => { if (!drag) return; turn = drag[2] + (event.clientX - drag[0]) / 90;
    tilt = Math.min(Math.max(drag[3] + (event.clientY - drag[1]) / 90, -1.5), 1.5); soon(); });
  canvas.addEventListener("pointerup", () => { drag = null; });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    turn += step[0];
    tilt = Math.min(Math.max(tilt + step[1], -1.5), 1.5);
    soon();
  });
  return { root: make("solid", {}, canvas, make("small", {}, "Drag or arrow keys turn. The lines are the cross-hair of the slices.")), draw };
}
