// The explorer inside a notebook: an anywidget's model is its host.

function render({ model, el }) {
  const root = make("div.widget"), waiting = new Map();
  let number = 0, last = "", explorer = null;
  const host = {
    network: model.get("network"), saved: { ...model.get("view"), at: model.get("at"), on: model.get("on") },
    ask: (key) => model.send({ kind: "ask", key }),
    degrade: ({ kind, ...request }) => new Promise((done, failed) => {
      waiting.set(++number, { done, failed });
      model.send({ kind: "degrade", id: number, kind_of: kind, ...request });
    }),
    changed: () => tell(), // once for many moves, when one rests: nothing here waits for Python
  };
  if (!host.network) delete host.degrade;
  function tell() {
    const { on, at, windows, pans, ...view } = explorer.state, now = JSON.stringify([on, at, view]);
    if (now === last) return;
    last = now;
    model.set(structuredClone({ on, at, view })); // copies: the model would see no change in what it holds itself
    model.save_changes();
  }
  function told() {
    const changes = { ...model.get("view"), at: model.get("at"), on: model.get("on") };
    if (JSON.stringify([changes.on, changes.at, model.get("view")]) !== last) explorer.set(changes);
  }
  function message(content, buffers) {
    if (content.kind === "answer" && !explorer.known.has(content.key)) explorer.receive(buffers[0]);
    if (content.kind === "degraded") { waiting.get(content.id)?.done(buffers[0]); waiting.delete(content.id); }
    if (content.kind === "failed") {
      if (content.id) { waiting.get(content.id)?.failed(new Error(content.words)); waiting.delete(content.id); }
      else explorer.fail(content.key, content.words);
    }
  }
  el.append(root);
  explorer = createExplorer(root, model.get("scene"), host);
  if (model.get("answer").byteLength) explorer.receive(model.get("answer")); // there while the kernel is still busy
  model.on("msg:custom", message);
  for (const name of ["on", "at", "view"]) model.on(`change:${name}`, told);
  if (host.network) model.send({ kind: "hello" });
  return () => {
    model.off("msg:custom", message);
    for (const name of ["on", "at", "view"]) model.off(`change:${name}`, told);
    explorer.close();
  };
}

export default { render };
