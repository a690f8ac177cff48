// Before a scan is switched off, a reader may guess which region will lose most; then the answer says who was right.

/** `known` are the answers so far, `show(key)` shows a subset. */
function makeGuess(scene, known, show) {
  let guess = null;
  const wanted = make("input", { type: "checkbox" });
  const row = make("guess", { role: "group", "aria-label": "your guess", hidden: true });

  /** Ask before `key` is shown in place of `from`; false where nobody wants to be asked, or a scan comes back. */
  function asks(key, from) {
    if (!wanted.checked || key.split("1").length >= from.split("1").length) return false;
    const lost = nameOf([...from].map((is, i) => (is !== key[i] ? "1" : "0")).join(""), scene);
    const answered = (region) => { guess = region ? { key, from, region } : null; row.hidden = true; show(key); };
    row.hidden = false;
    row.replaceChildren(make("b", {}, `Without ${lost}: which region will lose most?`),
      ...Object.keys(scene.regions).map((region) => button(plain(region), `I guess ${plain(region)}`, () => answered(region))), button("just show", "no guess", () => answered("")));
    row.querySelector("button").focus();
    return true;
  }
  /** Another subset is shown: an open question goes. */
  function shown(key) {
    row.hidden = true;
    if (guess?.key !== key) guess = null;
  }
  /** What came of the guess, in words; nothing before both answers are there. */
  function words(key) {
    if (guess?.key !== key || !known.has(guess.key) || !known.has(guess.from)) return "";
    const [before, after] = [guess.from, guess.key].map((one) => scores(known.get(one), scene));
    const loss = (region) => (scene.reference ? before[region] - after[region] : Math.abs(before[region] - after[region]) / Math.max(before[region], 1e-9));
    const worst = Object.keys(scene.regions).reduce((a, b) => (loss(b) > loss(a) ? b : a));
    return guess.region === worst ? `. You guessed ${plain(worst)}: right.` : `. You guessed ${plain(guess.region)}; ${plain(worst)} lost most.`;
  }
  return { check: make("label.check", {}, wanted, "guess first"), row, asks, shown, words };
}
