// Small helpers to make elements.

const TAGS = new Set(("a b button canvas details dd dialog div dl dt figcaption figure h2 h3 header i img input kbd label li option "
  + "output p progress section select small span summary ul").split(" "));

// What can have the focus. JupyterLab looks at this very element, and not around it, whether it may take a key for itself:
// without the mark, x on a picture cuts the cell with the explorer.
const FOCUSED = new Set(["a", "button", "canvas", "input", "select", "summary"]);

/** make("button.name", {attributes, on: {event: act}}, ...children); what is no tag is the class of a div. */
function make(kind, attributes = {}, ...children) {
  const classes = kind.split("."), tag = TAGS.has(classes[0]) ? classes.shift() : "div";
  const made = document.createElement(tag);
  made.classList.add(...classes.map((name) => `dmaf-x-${name}`));
  if (FOCUSED.has(tag)) made.dataset.lmSuppressShortcuts = "true";
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (name === "style") for (const [key, v] of Object.entries(value)) made.style.setProperty(key, v);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const button = (words, title, act, more = {}) =>
  make("button.button", { type: "button", title, "aria-label": more.label ?? title, on: { click: act }, ...more.attributes }, words);
const pressed = (element, is) => element.setAttribute("aria-pressed", Boolean(is));
const choice = (label, options, act) => {
  const select = make("select.select", { "aria-label": label, on: { change: () => act(select.value) } },
    options.map(([value, words]) => make("option", { value }, words)));
  return select;
};
const signed = (x, digits = 2) => { const size = Math.abs(x).toFixed(digits); return `${Number(size) ? (x > 0 ? "+" : "−") : ""}${size}`; };
const plain = (name) => name.replaceAll("_", " "); // of a region
const mean = (values) => values.reduce((a, b) => a + b, 0) / Math.max(values.length, 1);

/** One dot a scan, full where it is given. */
const dots = (key, scene) => make("span.dots", { "aria-hidden": "true" }, [...key].map((is, i) =>
  make("i.dot", { style: { "--c": scene.colours[scene.modalities[i]], background: is === "1" ? "var(--seen)" : "transparent" } })));
const nameOf = (key, scene) => scene.modalities.filter((_, i) => key[i] === "1").join(" + ");

function download(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
