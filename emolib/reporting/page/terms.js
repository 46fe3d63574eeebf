// What a column means, told where its name stands: on hover, and on focus for the keyboard.

/** Explain every element with `data-term` or `data-tip` in the page, now and later. */
function startTerms(glossary) {
  const tip = el("div", { id: "tip", role: "tooltip", hidden: true });
  document.body.append(tip);
  let about = null;

  const hide = () => {
    if (about) about.removeAttribute("aria-describedby");
    about = null;
    tip.hidden = true;
  };
  const show = (node) => {
    const { term: name, tip: text } = node.dataset;
    const entry = glossary[name];
    if (!(entry || text) || node === about) return;
    hide();
    about = node;
    fill(tip, entry ? entryParts(name, entry) : shown(text));
    tip.hidden = false;
    node.setAttribute("aria-describedby", "tip");
    settle();
  };
  const settle = () => {
    if (!about) return;
    const box = about.getBoundingClientRect();
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const below = box.bottom + 6 + tip.offsetHeight < window.innerHeight;
    tip.style.left = `${Math.max(8, Math.min(box.left, room))}px`;
    tip.style.top = `${Math.max(8, below ? box.bottom + 6 : box.top - tip.offsetHeight - 6)}px`;
  };
  const termOf = (event) => event.target.closest?.("[data-term], [data-tip]");
  document.addEventListener("pointerover", (event) => {
    const node = termOf(event);
    if (node) show(node);
    // The tip itself can be pointed at, and read to its end.
    else if (!tip.contains(event.target)) hide();
  });
  document.addEventListener("focusin", (event) => (termOf(event) ? show(termOf(event)) : hide()));
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || tip.hidden) return;
    hide();
    event.stopPropagation();
  }, true);
  // The focus itself can scroll what it falls on into view.
  document.addEventListener("scroll", settle, { passive: true, capture: true });
}

function entryParts(name, entry) {
  const facts = [
    ["Formula", entry.formula],
    ["Unit", entry.unit],
    ["Sign", entry.sign],
    ["Range", entry.range],
    ["Source", entry.source],
  ].filter(([, value]) => value);
  return [
    el("strong", {}, shown(entry.title || name)),
    el("p", {}, shown(entry.what || "")),
    el("dl", {}, facts.map(([label, value]) => [el("dt", {}, label), el("dd", {}, shown(value))])),
  ];
}

/** Return a name that its entry explains, as something the keyboard reaches. */
function term(name, text = name) {
  return el("span", { class: "term", "data-term": name, tabindex: 0 }, shown(text));
}
