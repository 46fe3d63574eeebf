// One head: its scores, its effects pair by pair, the texts it changes, where it looks.

const FIRST_PAIRS = 8;

/** Show the head that is open in its section; `app` says which. */
function startHead(app, section) {
  const draw = async () => {
    const { head } = app;
    const at = app.data.studies[app.study];
    section.hidden = !head;
    if (!head) return fill(section);
    const [study, detail] = await Promise.all([readBlob(at.blob), readBlob(`${at.blob}-${head}`)]);
    // Another was opened while this one was inflated.
    if (app.head !== head || app.data.studies[app.study] !== at) return section;
    return fill(section, headParts(app, at, study, head, detail));
  };
  section.tabIndex = -1;
  section.addEventListener("keydown", (event) => {
    if (event.key === "Escape") app.close();
  });
  return draw;
}

function headParts(app, at, study, head, detail) {
  const [layer, number] = placeOf(head);
  const ranking = at.top ?? [];
  const place = ranking.indexOf(head);
  const step = (to, text) => to ? el("a", { href: linkTo(at, to) }, `${text} ${to}`) : null;
  const parts = [
    el("header", {},
      el("h2", { id: "head-title" }, `${head} of ${named(at.model, 60)}, ${named(at.emotion, 60)}`),
      step(ranking[place - 1], "stronger:"),
      step(place < 0 ? ranking[0] : ranking[place + 1], place < 0 ? "strongest:" : "weaker:"),
      button("Close", () => app.close())),
    el("p", { class: "soft" }, `Layer ${layer}, head ${number}. ${at.n ? `${at.n} pairs of prompts` : ""}${at.templates ? ` in ${at.templates} templates` : ""}${typeof at.gap === "number" ? `; clean gap ${num(at.gap)} logits` : ""}.`),
    el("div", { class: "columns" },
      [scoresOf(app, at, study, head), othersOf(app, study, head)].map((each) => el("div", {}, each)))];
  if (!detail) {
    parts.push(el("p", {}, "Pairs, texts and attention of this head are not in the page: it keeps those of the heads that change most, within its size. The records have them all."));
    return parts;
  }
  if (detail.effects?.length) parts.push(effectsOf(app, at, study, head, detail));
  if (detail.texts?.length) parts.push(textsOf(at, study, head, detail));
  if (detail.attention?.length) {
    parts.push(el("div", {}, attentionParts(`${at.model}_${at.emotion}_${head}_attention`, study, detail)));
  }
  return parts;
}

function scoresOf(app, at, study, head, all = false) {
  const [layer, number] = placeOf(head);
  const found = app.data.scores
    .map((score) => [score, valueOf(study?.maps?.[score.id], layer * at.heads + number)])
    .filter(([, value]) => value);
  // At first one of each kind, the one that its experiment is about.
  const seen = new Set();
  const main = found.filter(([score]) => !seen.has(score.group) && seen.add(score.group));
  const rows = (all ? found : main).map(([score, value]) => [
    el("span", {}, term(`score:${score.id}`, named(score.title, 48)), el("span", { class: "soft" }, ` ${named(score.group, 40)}`)),
    value.mean, { v: value.low ?? "", text: interval(value.low, value.high) }, value.q, value.max_t,
  ]);
  const columns = [
    { name: "score", title: "Score" },
    { name: "value", number: true },
    { name: "interval", title: "95 % CI", number: true },
    { name: "q", number: true, term: "q" },
    { name: "max_t", title: "max-T", number: true, term: "max_t" },
  ];
  const box = el("div", {},
    el("h3", {}, "Its scores"),
    scrolling(tableOf(`Scores of ${head}`, columns, rows), `Scores of ${head}`));
  if (!all && found.length > main.length) {
    box.append(button(`All ${found.length} scores`, () => box.replaceWith(scoresOf(app, at, study, head, true))));
  }
  return box;
}

function othersOf(app, study, head) {
  const parts = [];
  const list = (title, columns, rows, lead = null) => {
    if (rows.length) {
      parts.push(el("h3", {}, title), lead ? el("p", { class: "lead" }, lead) : null,
        scrolling(tableOf(`${title} of ${head}`, columns, rows), title));
    }
  };
  const estimateCell = (of) => of ? { v: of[0], text: estimate(...of) } : null;
  const facts = study?.facts?.[head] ?? [];
  const controls = (study?.controls ?? []).filter((each) => each.head === head);
  const names = [...new Set(controls.flatMap((each) => Object.keys(each.values)))];
  list("Its controls",
    [{ name: "control" }, { name: "effect", title: "effect and 95 % CI", number: true }],
    controls.flatMap((each) => names.filter((name) => each.values[name]).map((name) => [
      el("span", {}, term(name), name === "same_layer" && each.other_head ? ` (${each.other_head})` : ""), estimateCell(each.values[name])])));
  const specific = study?.specific?.heads?.[head];
  list("Its effect on each emotion's words",
    [{ name: "emotion" }, { name: "effect", title: "effect and 95 % CI", number: true }],
    (specific ?? []).map((of, at) => [named(study.specific.emotions[at]), estimateCell(of)]));
  const here = (app.data.paths ?? []).filter((each) => each.study === app.study).flatMap((each) => each.paths)
    .filter((path) => path.sender === head || path.receiver === head)
    .sort((a, b) => Math.abs(b.effect?.[0] ?? 0) - Math.abs(a.effect?.[0] ?? 0)).slice(0, 8);
  list("Its strongest paths",
    [{ name: "path" }, { name: "input" }, { name: "effect", title: "effect and 95 % CI", number: true }],
    here.map((path) => [`${path.sender} → ${path.receiver}`, path.input, estimateCell(path.effect)]));
  list("Together with other heads",
    [{ name: "heads" }, { name: "score" }, { name: "effect", title: "effect and 95 % CI", number: true }],
    (study?.sets ?? []).filter((set) => set.heads.split("+").includes(head)).slice(0, 8)
      .map((set) => [set.heads, set.score, estimateCell(set.effect)]));
  if (facts.length) {
    parts.push(el("h3", {}, "To know of it"),
      el("dl", {}, facts.map(({ label: name, text }) => [el("dt", {}, named(name)), el("dd", {}, passage(text))])));
  }
  return parts;
}

function effectsOf(app, at, study, head, detail) {
  const scores = new Map(app.data.scores.map((score) => [score.id, score]));
  const [layer, number] = placeOf(head);
  const units = new Map();
  for (const effect of detail.effects) {
    const score = scores.get(effect.score);
    if (!score) continue;
    // Values of one unit share an axis.
    const key = `${score.metric}${score.unit ? `, ${score.unit}` : ""}`;
    units.set(key, [...(units.get(key) ?? []), { ...effect, score }]);
  }
  const place = el("div", {});
  let picked = [...units.keys()][0];
  const templates = [...new Set(study.pairs.map((pair) => pair.template))];
  const draw = () => {
    const effects = units.get(picked);
    const rows = effects.map(({ score, values }) => {
      const of = valueOf(study.maps[score.id], layer * at.heads + number);
      return {
        name: named(score.kind || score.title, 18), ...(of ?? {}),
        points: values.map((value, pair) => ({
          value, group: templates.indexOf(study.pairs[pair].template),
          note: `${named(study.pairs[pair].id)}, ${named(study.pairs[pair].template, 40)}: ${num(value)}`,
        })).filter((point) => typeof point.value === "number"),
      };
    });
    const name = `${at.model}_${at.emotion}_${head}_${picked}`;
    fill(place,
      units.size > 1 ? el("div", { class: "pickers" }, picker("Metric",
        [...units.keys()].map((value) => ({ value, text: value })), picked, (value) => {
          picked = value;
          draw();
          place.querySelector("select")?.focus();
        })) : null,
      figure({
        name, caption: `Effects of ${head}, a mark for each pair, in the colours of its template; a diamond and its bar are mean and 95 % CI.`,
        draw: (width) => strips(width, { rows, axis: picked, text: `Effects of ${head} pair by pair: ${named(picked)}` }),
        data: () => [["pair", "template", ...effects.map((effect) => effect.score.title)],
          study.pairs.map((pair, index) => [pair.id, pair.template, ...effects.map((effect) => effect.values[index])])],
      }),
      templates.length <= 32 ? legend(templates) : el("p", { class: "soft" }, `${templates.length} templates: colours and shapes repeat.`),
      movedMost(study, effects));
  };
  draw();
  return el("div", {}, el("h3", {}, "Its effects, pair by pair"), place);
}

function movedMost(study, effects, most = FIRST_PAIRS) {
  const [main] = effects;
  const order = main.values.map((value, pair) => ({ value, pair })).filter(({ value }) => typeof value === "number")
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const columns = [
    { name: "pair" }, { name: "emotion prompt", text: true }, { name: "neutral prompt", text: true },
    ...effects.map(({ score }) => ({
      name: score.title, title: named(score.kind || score.title, 30), number: true, term: `score:${score.id}`,
    })),
  ];
  const text = (side, pair) => marked(study[side]?.[pair], study.differ?.[side]?.[pair]);
  const rows = order.slice(0, most).map(({ pair }) => [
    named(study.pairs[pair].id, 40), text("emotion", pair), text("neutral", pair), ...effects.map((effect) => effect.values[pair]),
  ]);
  const box = el("div", {},
    el("h3", {}, "The prompts it moves most"),
    scrolling(tableOf("The prompts it moves most", columns, rows), "The prompts it moves most"));
  if (order.length > most) {
    box.append(button(`All ${order.length} pairs`, () => box.replaceWith(movedMost(study, effects, Infinity))));
  }
  return box;
}

function textsOf(at, study, head, detail) {
  const place = el("div", {});
  let picked = 0;
  const draw = () => {
    const texts = detail.texts[picked];
    fill(place,
      el("div", { class: "pickers" }, picker("Under", detail.texts.map((each, index) => ({ value: String(index), text: each.title })),
        String(picked), (value) => {
          picked = Number(value);
          draw();
          place.querySelector("select").focus();
        })),
      el("p", { class: "lead" }, `${texts.changed} of ${texts.of} continuations changed${texts.rows.length < texts.changed ? `; ${texts.rows.length} are in the page` : ""}. Most changed first.`),
      beforeAfter({
        rows: texts.rows, prompts: study[texts.side], spans: study.differ?.[texts.side], clean: study.clean?.[texts.side],
        note: (pair) => named(study.pairs[pair]?.id ?? "", 40),
      }));
  };
  draw();
  return el("div", {}, el("h3", {}, "Texts before and after"), place);
}
