// Texts before and after an edit, word by word.

// Longer texts are shown whole, without a comparison, which takes time by the square of their words.
const MOST_WORDS = 600;
const FIRST_TEXTS = 6;

/** Return the longest list of words that two lists have in common, as pairs of places. */
function common(first, second) {
  const width = second.length + 1;
  const best = new Uint16Array((first.length + 1) * width);
  for (let a = first.length - 1; a >= 0; a -= 1) {
    for (let b = second.length - 1; b >= 0; b -= 1) {
      best[a * width + b] =
        first[a] === second[b]
          ? best[(a + 1) * width + b + 1] + 1
          : Math.max(best[(a + 1) * width + b], best[a * width + b + 1]);
    }
  }
  const pairs = [];
  for (let a = 0, b = 0; a < first.length && b < second.length; ) {
    if (first[a] === second[b]) pairs.push([a++, b++]);
    else if (best[(a + 1) * width + b] >= best[a * width + b + 1]) a += 1;
    else b += 1;
  }
  return pairs;
}

/** Return two texts with the words that differ marked: what is gone, what is new. */
function compared(before, after) {
  const [first, second] = [before, after].map((text) => text.match(/\S+\s*/g) ?? []);
  if (first.length > MOST_WORDS || second.length > MOST_WORDS || before.length + after.length > 20000) {
    return [passage(before), passage(after)];
  }
  const plain = (words) => words.map((word) => word.trim());
  const pairs = common(plain(first), plain(second));
  const side = (words, kept, tag) => {
    const parts = [];
    for (let at = 0; at < words.length; ) {
      const same = kept.has(at);
      const from = at;
      while (at < words.length && kept.has(at) === same) at += 1;
      const run = words.slice(from, at).join("");
      // The space behind the last word is no part of the change.
      const word = run.trimEnd();
      parts.push(same ? shown(run) : [el(tag, {}, shown(word)), run.slice(word.length)]);
    }
    return el("span", { class: "t", dir: "auto" }, parts);
  };
  return [
    side(first, new Set(pairs.map(([a]) => a)), "del"),
    side(second, new Set(pairs.map(([, b]) => b)), "ins"),
  ];
}

/** Return a prompt with what tells it from its partner marked, from one place to another. */
function marked(text, span) {
  if (typeof text !== "string") return el("span", { class: "soft" }, "not stored");
  if (!span || text.length > MOST_OF_A_TEXT) return passage(text);
  const [from, to] = span;
  return el("span", { class: "t", dir: "auto" },
    shown(text.slice(0, from)), el("mark", {}, shown(text.slice(from, to))), shown(text.slice(to)));
}

/** Return a list of prompts with their continuation before and after an edit. */
function beforeAfter(of, most = FIRST_TEXTS) {
  const { rows, prompts, spans, clean, note } = of;
  const list = el("ol", { class: "texts" }, rows.slice(0, most).map(([at, after, own]) => {
    const before = own ?? clean?.[at];
    const [was, is] = typeof before === "string" ? compared(before, after) : ["not stored", passage(after)];
    return el("li", {},
      el("p", { class: "prompt" }, marked(prompts?.[at], spans?.[at]), note ? ` (${note(at)})` : null),
      el("dl", {}, el("dt", {}, "before"), el("dd", {}, was), el("dt", {}, "after"), el("dd", {}, is)));
  }));
  const box = el("div", {}, list);
  if (rows.length > most) {
    box.append(button(`All ${rows.length} texts`, () => box.replaceWith(beforeAfter(of, Infinity))));
  }
  return box;
}
