// What the last token attends to, over the words of a few pairs of prompts.

const SIDES = ["emotion", "neutral"];

/** Return attention of a head over a few pairs, the emotion's prompt beside the neutral one. */
function attentionParts(name, study, detail) {
  const data = () => [["pair", "side", "token", "text", "attention", "in_slot"], attentionRows(study, detail)];
  const drawn = () => attentionPicture(study, detail);
  return [
    el("h3", {}, "Where it looks from the last token"),
    el("p", { class: "lead" }, "The stronger the colour, the more attention; the words of the slot are outlined."),
    ...detail.attention.map((of) => el("div", { class: "attention" },
      el("p", { class: "soft" }, named(study.pairs[of.pair]?.id ?? `pair ${of.pair}`)),
      el("dl", {}, SIDES.filter((side) => of[side]).map((side) => [
        el("dt", {}, side),
        el("dd", {}, attended(study.tokens?.[side]?.[of.pair], of[side], study.slot?.[of.pair], study[side]?.[of.pair])),
      ])))),
    saves(name, drawn, data),
  ];
}

/** Return the words of a prompt, each as dark as it is attended to. */
function attended(tokens, weights, slot, text) {
  if (!tokens) return passage(text ?? "not stored");
  return el("span", { class: "words", dir: "auto" }, tokens.map((token, at) => {
    const weight = weights[at];
    return el("span", { class: `word ${attentionLevel(weight)}${inSlot(slot, at) ? " slot" : ""}`, title: `attention ${num(weight)}` },
      named(token, 60),
      weight >= 0.05 ? el("span", { class: "unseen" }, ` (attention ${num(weight, 2)}) `) : null);
  }));
}

function attentionLevel(weight) {
  return levelOf(weight, { signed: false, limit: 1 });
}

function inSlot(slot, at) {
  return Boolean(slot) && at >= slot[0] && at < slot[1];
}

function attentionRows(study, detail) {
  return detail.attention.flatMap((of) => SIDES.filter((side) => of[side]).flatMap((side) =>
    of[side].map((weight, at) => [
      study.pairs[of.pair]?.id ?? of.pair, side, at, study.tokens?.[side]?.[of.pair]?.[at] ?? null, weight,
      inSlot(study.slot?.[of.pair], at) ? 1 : 0,
    ])));
}

/** Draw the words of the pairs with their attention, as lines that are broken where they are full. */
function attentionPicture(study, detail) {
  const [left, width, line] = [70, 900, 24];
  const measure = document.createElement("canvas").getContext("2d");
  measure.font = "12.5px system-ui, sans-serif";
  const parts = [];
  let y = 4;
  for (const of of detail.attention) {
    parts.push(label(0, y + 14, named(study.pairs[of.pair]?.id ?? `pair ${of.pair}`), "start", "tick"));
    y += line;
    for (const side of SIDES.filter((each) => of[each] && study.tokens?.[each]?.[of.pair])) {
      parts.push(label(0, y + 15, side));
      let x = left;
      study.tokens[side][of.pair].forEach((token, at) => {
        const text = named(token, 60).trim();
        const room = measure.measureText(text).width + 8;
        if (x + room > width && x > left) {
          x = left;
          y += line;
        }
        const level = attentionLevel(of[side][at]);
        const slot = inSlot(study.slot?.[of.pair], at) ? "outlined" : "";
        parts.push(svg("rect", { class: `cell ${level} ${slot}`, x, y, width: room - 2, height: line - 4 }),
          label(x + (room - 2) / 2, y + 14, text, "middle", `figure ${level}`));
        x += room;
      });
      y += line + 4;
    }
    y += 8;
  }
  return built(picture(width, y, "Attention from the last token"), {}, parts);
}
