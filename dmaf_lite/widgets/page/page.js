// The page that needs no Python: scene, answers and curves lie in the page itself, zipped and in base64.

const inflate = async (text) => new Uint8Array(await new Response(new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))])
  .stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());

/** What the address says after #, and keeping it there: a reload shows the same. */
const KEPT = ["on", "scan", "at", "plane", "layout", "opacity", "outlined", "reference", "compare", "pinned", "map"];
function fromAddress() {
  const saved = {};
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (KEPT.includes(name)) { try { saved[name] = JSON.parse(value); } catch { /* an address typed by hand */ } }
  }
  return saved;
}
function toAddress(state, more = {}) {
  const words = new URLSearchParams({ ...more, ...Object.fromEntries(KEPT.map((name) => [name, JSON.stringify(state[name])])) });
  history.replaceState(null, "", `#${words}`);
}

async function openPage({ scene, answers }) {
  const root = document.getElementById("dmaf-x");
  root.classList.add("dmaf-x-standalone");
  const explorer = createExplorer(root, await inflate(scene), { network: Object.keys(answers).length > 0, saved: fromAddress(),
    changed: (state) => toAddress(state) });
  const order = Object.keys(answers).sort((a, b) => b.split("1").length - a.split("1").length);
  for (const key of order) explorer.receive(await inflate(answers[key])); // the fullest first: it is on the page at once
  document.addEventListener("keydown", (event) => { if (event.target === document.body) explorer.press(event); }); // without a click first
  document.documentElement.dataset.ready = "true";
}
