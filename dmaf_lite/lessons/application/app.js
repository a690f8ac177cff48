// The application: which study is open, what is asked of the server, and what is said when something goes wrong.

const TOGETHER = 3; // subsets in one question: a question of the reader's own waits for no more
const PATIENCE = 400; // ms before progress is shown

async function openApplication() {
  const address = new URLSearchParams(location.hash.slice(1));
  let explorer = null, open = null, queue = [], busy = false, asking = 0, timer = 0, generation = 0, cancelled = false, sources = [];
  const list = make("select.select", { "aria-label": "study", on: { change: () => show(list.value) } });
  const files = make("input", { type: "file", multiple: true, accept: ".nii,.gz", hidden: true, on: { change: () => drop([...files.files]) } });
  const folder = make("input", { type: "file", webkitdirectory: true, hidden: true, on: { change: () => drop([...folder.files]) } });
  const words = make("span", { role: "status", "aria-live": "polite" }), bar = make("progress.progress", { max: 1, "aria-label": "progress" });
  const wait = make("row.wait", { hidden: true }, bar, words, button("cancel", "stop what is being computed", cancel));
  const card = make("card", { role: "alert", hidden: true });
  const place = make("place");
  const about = make("details.more", {}, make("summary", {}, "What is this?"), make("p", {}, "A study in three planes, and what a network makes of it when "
    + "scans are switched off. The coloured buttons (keys 1 to 4) switch scans; the small pictures are all subsets at once. For research and teaching, "
    + "not a medical device: the weights that come with the kit know synthetic phantoms only."), make("p", {}, "Your own study: drop its NIfTI files here "
    + "(up to four scans and a segmentation; their names must say which is which, such as case_flair.nii.gz), or start with a folder: "
    + "python -m dmaf_lite explore FOLDER. Files stay on this machine."));
  const root = document.getElementById("dmaf-x");
  root.append(make("app", {}, make("row.top", {}, make("b.brand", {}, "DMAF-lite"), make("label.check", {}, "study ", list),
    button("open files", "open the NIfTI files of one study", () => files.click()), button("open folder", "open the folder of one study", () => folder.click()),
    files, folder, wait), card, place, about));

  // -- the server -----------------------------------------------------------------------------------------------------
  async function send(path, body, binary = false) {
    cancelled = path === "/cancel";
    asking += 1;
    timer ||= setTimeout(watch, PATIENCE);
    try {
      const answer = await fetch(path, { method: "POST", headers: { "X-Explore": "1" }, body: body instanceof Blob ? body : JSON.stringify(body) })
        .catch(() => { throw new Error("the application has been closed in the terminal: start it again there, then reload this page"); });
      if (!answer.ok) { const told = await answer.json(); throw new Error(told.stopped && cancelled ? "stopped" : told.words); }
      return binary ? await answer.arrayBuffer() : await answer.json();
    } finally {
      asking -= 1;
      if (!asking) { clearTimeout(timer); timer = 0; wait.hidden = true; }
    }
  }
  async function watch() {
    if (!asking) return;
    const told = await fetch("/progress").then((answer) => answer.json()).catch(() => ({ words: "" }));
    if (!asking) return;
    wait.hidden = false;
    words.textContent = told.words || "starting to compute …";
    if (told.share === null || told.share === undefined) bar.removeAttribute("value"); else bar.value = told.share;
    timer = setTimeout(watch, PATIENCE);
  }
  async function cancel() {
    queue = [];
    await send("/cancel", {});
  }
  /** What went wrong, in one sentence, and what to do; `again` where trying once more may help. */
  function problem(error, again) {
    card.replaceChildren(make("p", {}, error.message[0].toUpperCase() + error.message.slice(1) + (/[.!]$/.test(error.message) ? "" : ".")),
      again ? button("start again", "try once more", () => { card.hidden = true; again(); }) : "", button("close", "close this message", () => { card.hidden = true; }));
    card.hidden = false;
  }

  // -- studies --------------------------------------------------------------------------------------------------------
  async function fill() {
    sources = await fetch("/sources").then((answer) => answer.json());
    list.replaceChildren(...sources.map(({ name, title, kind }) => make("option", { value: name }, kind === "problem" ? `! ${title}` : title)));
  }
  async function show(name, saved = {}) {
    const started = (generation += 1), entry = sources.find((one) => one.name === name) ?? sources[0];
    list.value = entry.name;
    card.hidden = true;
    queue = [];
    explorer?.close();
    explorer = null;
    place.replaceChildren();
    document.documentElement.dataset.ready = "false";
    open = entry.name;
    try {
      if (entry.kind === "problem") { problem(new Error(entry.words)); return; } // the files are looked for once
      if (entry.kind === "training") { await training(entry, started); return; }
      const kept = entry.kind === "shipped" ? await fetch("/shipped").then((answer) => answer.json()) : null;
      const scene = kept ? await inflate(kept.scene) : await send("/open", { name: open }, true);
      if (started !== generation) return; // another one was chosen meanwhile
      explorer = createExplorer(place, scene, { network: true, saved, ask: (key) => { if (explorer) ask(key); }, save, changed: (state) => toAddress(state, { s: open }),
        degrade: (request) => send("/degrade", { name: open, ...request }, true) });
      if (kept) for (const key of byFullness(Object.keys(kept.answers))) explorer.receive(await inflate(kept.answers[key]));
      if (explorer.scene.answers) {
        if (!explorer.known.has(explorer.state.on)) queue.push(explorer.state.on);
        for (const key of byFullness(explorer.keys)) if (!queue.includes(key) && !explorer.known.has(key)) queue.push(key);
        work();
      }
      document.documentElement.dataset.ready = "true";
    } catch (error) { if (started === generation) problem(error, () => show(entry.name, saved)); }
  }
  const byFullness = (keys) => [...keys].sort((a, b) => b.split("1").length - a.split("1").length);
  /** The reader's question goes before the rest. */
  function ask(key) {
    queue = [key, ...queue.filter((other) => other !== key)];
    queue.own = key;
    work();
  }
  async function work() {
    if (busy) return;
    busy = true;
    while (queue.length) {
      const started = generation, own = queue.own === queue[0] || explorer?.known.size === 0, keys = queue.splice(0, own ? 1 : TOGETHER);
      queue.own = undefined;
      try {
        const buffer = await send("/answers", { name: open, keys }, true);
        if (started !== generation || !explorer) continue;
        for (let at = 0; at < buffer.byteLength;) {
          const length = new DataView(buffer, at, 4).getUint32(0, true);
          explorer.receive(new Uint8Array(buffer, at + 4, length));
          at += 4 + length;
        }
      } catch (error) {
        const left = [...keys, ...queue];
        queue = [];
        for (const key of keys) explorer?.fail(key, error.message);
        if (started === generation) problem(error, () => { queue = left; work(); });
      }
    }
    busy = false;
  }
  async function save(key) {
    try {
      const bytes = await send("/save", { name: open, key }, true);
      download(new Blob([bytes], { type: "application/gzip" }), `${explorer.scene.title.replace(/\W+/g, "_")}_${nameOf(key, explorer.scene).replace(/ \+ /g, "-")}_seg.nii.gz`);
    } catch (error) { problem(error, () => save(key)); }
  }
  async function training(entry, started) {
    const image = make("img.training", { alt: `curves of ${entry.title}` });
    place.replaceChildren(image);
    while (started === generation) { // it may still be running
      const bytes = await send("/training", { name: entry.name }, true), old = image.src;
      image.src = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
      if (old) URL.revokeObjectURL(old);
      document.documentElement.dataset.ready = "true";
      await new Promise((rest) => setTimeout(rest, 3000));
    }
  }

  // -- dropping -------------------------------------------------------------------------------------------------------
  async function drop(all) {
    const chosen = all.filter((file) => /\.nii(\.gz)?$/i.test(file.name) && !file.name.startsWith("."));
    const batch = crypto.randomUUID().replaceAll("-", "");
    try {
      if (!chosen.length) throw new Error(`${all.length ? all[0].name : "nothing"}: found no NIfTI file; expected .nii or .nii.gz; drop the files of one study`);
      for (const file of chosen) await send(`/upload?${new URLSearchParams({ batch, name: file.name })}`, file);
      const { name } = await send("/dropped", { batch });
      await fill();
      await show(name);
    } catch (error) { problem(error, () => drop(all)); }
    files.value = folder.value = "";
  }
  /** The files that are dropped, also those in a folder. */
  async function dropped(items) {
    const found = [], walk = async (entry) => {
      if (entry.isFile) found.push(await new Promise((done, failed) => entry.file(done, failed)));
      else for (const inner of await new Promise((done, failed) => entry.createReader().readEntries(done, failed))) await walk(inner);
    };
    for (const entry of [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean)) await walk(entry);
    return found;
  }
  addEventListener("dragover", (event) => { event.preventDefault(); root.classList.add("dmaf-x-over"); });
  addEventListener("dragleave", () => root.classList.remove("dmaf-x-over"));
  addEventListener("drop", async (event) => {
    event.preventDefault();
    root.classList.remove("dmaf-x-over");
    drop(await dropped(event.dataTransfer.items));
  });
  document.addEventListener("keydown", (event) => { // keys work without a click first
    if (explorer && event.target === document.body) explorer.press(event);
  });

  await fill();
  const saved = fromAddress(), wanted = address.get("s");
  await show(wanted && sources.some((one) => one.name === wanted) ? wanted : sources[0].name, saved);
  fetch("/warm", { method: "POST", headers: { "X-Explore": "1" }, body: "{}" });
}
