// Volumes in bytes: how they arrive, how a plane is cut through them, and what two label maps have in common.
// Everything is in LPS order, x fastest. A volume may have a grid of its own (the network's): `origin` and `step` say
// where it lies, in voxels of the scene.

const AXES = { axial: 2, coronal: 1, sagittal: 0 };
const across = (axis) => (axis === 0 ? 1 : 0); // the axis that runs to the right of the picture
const down = (axis) => (axis === 2 ? 1 : 2); // the one that runs down it; up where the head is up

/** A buffer from Python -> its header, and its volumes by name. `shape` is the scene's; default the header's own. */
function unpack(buffer, shape) {
  const view = ArrayBuffer.isView(buffer) ? buffer : new Uint8Array(buffer);
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const length = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const volumes = {};
  for (const [name, entry] of Object.entries(header.arrays)) {
    const data = bytes.subarray(4 + length + entry.at, 4 + length + entry.at + entry.shape.reduce((a, b) => a * b));
    volumes[name] = placed(data, entry, shape ?? header.shape);
  }
  return { header, volumes };
}

/** Which voxel of the volume lies at each voxel of the scene, axis by axis; -1 beside it. */
function placed(data, { shape, origin = [0, 0, 0], step = [1, 1, 1] }, scene) {
  const maps = [0, 1, 2].map((a) => Int32Array.from({ length: scene[a] }, (_, i) => {
    const j = Math.floor((i + 0.5 - origin[a]) / step[a]);
    return j >= 0 && j < shape[a] ? j : -1;
  }));
  return { data, shape, maps };
}

/** The value at a voxel of the scene; 0 beside the volume. */
function valueAt({ data, shape: [X, Y], maps }, [x, y, z]) {
  const [i, j, k] = [maps[0][x], maps[1][y], maps[2][z]];
  return i < 0 || j < 0 || k < 0 || i === undefined || j === undefined || k === undefined ? 0 : data[i + X * (j + Y * k)];
}

/** The slice `index` across `axis` at the scene's voxels: {width, height, data}; the head's front or top is up. */
function cut({ data, shape: [X, Y], maps }, axis, index) {
  const [u, v] = [across(axis), down(axis)];
  const strides = [1, X, X * Y], width = maps[u].length, height = maps[v].length;
  const out = new Uint8Array(width * height), fixed = maps[axis][index];
  if (fixed < 0 || fixed === undefined) return { width, height, data: out };
  for (let r = 0, o = 0; r < height; r++) {
    const row = maps[v][axis === 2 ? r : height - 1 - r];
    if (row < 0) { o += width; continue; }
    const base = fixed * strides[axis] + row * strides[v];
    for (let c = 0; c < width; c++, o++) { const k = maps[u][c]; if (k >= 0) out[o] = data[base + k * strides[u]]; }
  }
  return { width, height, data: out };
}

/** The voxel of the scene with a label that is nearest to the middle of the slice across `axis` with the most label; null where there is none. */
function fullest({ data, shape: [X, Y], maps }, axis) {
  const [columns, rows, layers] = maps, each = (act) => {
    for (let z = 0; z < layers.length; z++) for (let y = 0; y < rows.length; y++) {
      const row = X * (rows[y] + Y * layers[z]);
      if (rows[y] >= 0 && layers[z] >= 0) for (let x = 0; x < columns.length; x++) if (columns[x] >= 0 && data[row + columns[x]]) act([x, y, z]);
    }
  };
  const sums = Array.from(maps[axis], () => [0, 0, 0, 0]); // of each slice: along each axis, and how many
  each((at) => [...at, 1].forEach((n, a) => { sums[at[axis]][a] += n; }));
  const most = Math.max(...sums.map((sum) => sum[3])), slice = sums.findIndex((sum) => sum[3] === most), middle = sums[slice].map((n) => n / most);
  let found = null, least = Infinity;
  each((at) => {
    const away = at[axis] === slice ? Math.hypot(...at.map((n, a) => n - middle[a])) : Infinity;
    if (away < least) [found, least] = [at, away];
  });
  return found;
}

/** Voxels of each region in a label map: a table from class to the regions that hold it does the sums. */
function countRegions(label, regions) {
  const classes = new Float64Array(256);
  for (const value of label.data) classes[value]++;
  return Object.fromEntries(Object.entries(regions).map(([name, members]) =>
    [name, members.reduce((sum, c) => sum + classes[c], 0)]));
}

/** Region -> Dice of two label maps on one grid; both empty agree. */
function agreement(one, other, regions) {
  const both = new Float64Array(65536);
  for (let i = 0; i < one.data.length; i++) both[one.data[i] * 256 + other.data[i]]++;
  return Object.fromEntries(Object.entries(regions).map(([name, members]) => {
    const is = new Set(members);
    let shared = 0, a = 0, b = 0;
    for (let i = 0; i < 16; i++) for (let j = 0; j < 16; j++) {
      const n = both[i * 256 + j];
      if (is.has(i)) a += n;
      if (is.has(j)) b += n;
      if (is.has(i) && is.has(j)) shared += n;
    }
    return [name, a + b ? (2 * shared) / (a + b) : 1];
  }));
}
