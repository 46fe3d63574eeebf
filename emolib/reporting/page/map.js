// The map of every head: pick a model, an emotion and a score; a cell opens its head.

// Maps of more heads have no figures in their cells; tables of more rows are cut at first.
const MOST_FIGURES = 16;
const MOST_ROWS = 40;

/** Show the map in its place; `app` says what is picked and is told of it. */
function startMap(app, place) {
  const { data } = app;
  const pickers = el("div", { class: "pickers" });
  const picture = el("div", { class: "picked" });
  place.append(pickers, picture);

  const draw = async () => {
    const study = data.studies[app.study];
    const blob = await readBlob(study.blob);
    if (data.studies[app.study] !== study) return;
    const there = data.scores.filter((score) => blob?.maps?.[score.id]?.mean);
    const picked = there.find((score) => score.id === app.score);
    const score = picked ?? there.find((each) => each.id === data.default_score) ?? there[0];
    fill(pickers, studyPickers(app), score ? scorePicker(app, there, score) : null);
    if (!score) {
      fill(picture, el("p", {}, "No score of single heads is stored for this model and emotion."));
      return;
    }
    fill(picture, mapParts(app, study, score, blob.maps[score.id]));
  };
  app.watch(keepingFocus(place, draw));
  return draw();
}

/** Return a choice of one from a list: options by group where they have one. */
function picker(title, options, chosen, pick) {
  const select = el("select", { on: { change: () => pick(select.value) } });
  const groups = new Map();
  for (const { value, text, group } of options) {
    const option = el("option", { value, selected: value === chosen }, named(text, 48));
    if (!group) select.append(option);
    else {
      if (!groups.has(group)) {
        groups.set(group, el("optgroup", { label: named(group, 48) }));
        select.append(groups.get(group));
      }
      groups.get(group).append(option);
    }
  }
  return el("label", {}, title, select);
}

/** Return the choice of model and emotion, which all sections of studies follow. */
function studyPickers(app) {
  const { studies } = app.data;
  const now = studies[app.study];
  const unique = (key) => [...new Set(studies.map((study) => study[key]))];
  const options = (names) => names.map((name) => ({ value: name, text: name }));
  const go = (model, emotion) => {
    const at = studies.findIndex((study) => study.model === model && study.emotion === emotion);
    // Not every model has every emotion.
    app.pick(at < 0 ? studies.findIndex((study) => study.model === model) : at);
  };
  return [
    picker("Model", options(unique("model")), now.model, (model) => go(model, now.emotion)),
    picker(
      "Emotion",
      options(studies.filter((each) => each.model === now.model).map((each) => each.emotion)),
      now.emotion,
      (emotion) => go(now.model, emotion),
    ),
  ];
}

function scorePicker(app, there, score) {
  const options = there.map(({ id, title, kind, group }) => ({ value: id, text: kind ? `${title} (${kind})` : title, group }));
  return picker("Score", options, score.id, (id) => app.pickScore(id));
}

function mapParts(app, study, score, map) {
  const readout = el("p", { class: "readout soft" }, "Arrows move, Enter opens a head.");
  const name = `${study.model}_${study.emotion}_${score.id}`;
  const grid = headGrid(app, study, score, map, readout);
  const about = [score.what, score.formula ? `Formula: ${score.formula}.` : "", score.unit ? `Unit: ${score.unit}.` : ""];
  return [
    el("p", { class: "score" },
      el("strong", {}, `${named(score.group)}: ${named(score.title)}`), " ", el("span", { class: "soft" }, shown(about.filter(Boolean).join(" ")))),
    el("div", { class: "beside" },
      el("div", { class: "charted" }, grid, scaleOf(score, map), readout,
        saves(name, () => mapPicture(study, score, map), () => mapRows(study, map))),
      el("div", { class: "ranked" }, headTable(study, score, map, MOST_ROWS))),
  ];
}

function told(head, value) {
  if (!value) return `${head}: no value`;
  const test = value.q === null ? "" : `, q ${num(value.q)}`;
  return `${head}: ${estimate(value.mean, value.low, value.high)}${test}`;
}

/** Return a value as it fits into a cell: what is no more than 1/200 of the scale is about 0. */
function shortest(value, { limit }) {
  return value !== 0 && Math.abs(value) < limit / 200 ? "≈0" : num(value, 2);
}

function headGrid(app, study, score, map, readout) {
  const figures = study.heads <= MOST_FIGURES;
  const cells = [];
  const cellOf = (layer, head) => {
    const index = layer * study.heads + head;
    const value = valueOf(map, index);
    const name = `L${layer}H${head}`;
    const sure = value && value.q !== null && value.q < score.level;
    const cell = el("td", {
      role: "gridcell", tabindex: -1, "data-head": name, "aria-label": told(name, value),
      class: `${levelOf(value?.mean, score)}${sure && figures ? " sure" : ""}`,
      "aria-selected": app.head === name ? "true" : "false",
    }, figures && value ? shortest(value.mean, score) : "");
    cells.push(cell);
    return cell;
  };
  const range = (count) => Array.from({ length: count }, (_, at) => at);
  const every = Math.ceil(study.heads / 24);
  const table = el("table", { class: study.heads > 6 ? "heads many" : "heads", role: "grid", "aria-label": `Heads by layer: ${named(score.title)}` },
    el("thead", {}, el("tr", {}, el("td", { class: "corner" }),
      range(study.heads).map((head) => el("th", { scope: "col" }, head % every ? "" : `H${head}`)))),
    el("tbody", {}, range(study.layers).map((layer) =>
      el("tr", {}, el("th", { scope: "row" }, `L${layer}`), range(study.heads).map((head) => cellOf(layer, head))))));
  const side = study.layers <= 6 ? 3.2 : study.layers <= 16 ? 2.1 : 1.15;
  table.style.setProperty("--side", `${side}rem`);
  table.style.maxWidth = `${study.heads * (study.heads <= 6 ? 6.5 : figures ? 4.6 : 2.2) + 2.4}rem`;
  walkable(app, study, table, cells, readout);
  return table;
}

/** Let the keyboard walk over the cells of a map: one of them is in the order of tabs. */
function walkable(app, study, table, cells, readout) {
  const first = cells.findIndex((cell) => cell.dataset.head === (app.head ?? study.top?.[0]));
  let now = Math.max(0, first);
  if (cells[now]) cells[now].tabIndex = 0;
  const go = (next) => {
    if (next < 0 || next >= cells.length) return;
    cells[now].tabIndex = -1;
    now = next;
    cells[now].tabIndex = 0;
    cells[now].focus();
  };
  const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -study.heads, ArrowDown: study.heads };
  table.addEventListener("keydown", (event) => {
    const at = cells.indexOf(event.target);
    if (at < 0) return;
    const row = at - (at % study.heads);
    const targets = {
      Home: event.ctrlKey ? 0 : row,
      End: event.ctrlKey ? cells.length - 1 : row + study.heads - 1,
    };
    if (event.key === "Enter" || event.key === " ") app.open(event.target.dataset.head);
    else if (event.key in targets) go(targets[event.key]);
    else if (event.key in moves) {
      const next = at + moves[event.key];
      const same = Math.abs(moves[event.key]) !== 1 || next - (next % study.heads) === row;
      if (same) go(next);
    } else return;
    event.preventDefault();
  });
  table.addEventListener("click", (event) => {
    const cell = event.target.closest("td[data-head]");
    if (cell) app.open(cell.dataset.head);
  });
  const tell = (event) => {
    const cell = event.target.closest("td[data-head]");
    if (cell) fill(readout, cell.getAttribute("aria-label"));
  };
  table.addEventListener("pointerover", tell);
  table.addEventListener("focusin", tell);
}

function scaleOf(score, map) {
  const steps = score.signed
    ? Array.from({ length: 21 }, (_, at) => `c${at - 10}`)
    : Array.from({ length: 11 }, (_, at) => `u${at}`);
  const low = score.signed ? -score.limit : score.base ?? 0;
  return el("div", { class: "scale" },
    el("span", {}, num(low)),
    el("ol", { "aria-hidden": "true" }, steps.map((step) => el("li", { class: step }))),
    el("span", {}, `${num(score.limit)} ${shown(score.unit ?? "")}`),
    el("span", {}, "the same for all models and emotions"),
    map.q ? el("span", {}, `• q < ${score.level}`) : null);
}

function ranked(study, map) {
  const heads = [];
  for (let index = 0; index < study.layers * study.heads; index += 1) {
    const value = valueOf(map, index);
    const head = `L${Math.floor(index / study.heads)}H${index % study.heads}`;
    if (value) heads.push({ head, ...value });
  }
  return heads.sort((a, b) => Math.abs(b.mean) - Math.abs(a.mean));
}

function headTable(study, score, map, most) {
  const heads = ranked(study, map);
  const columns = [
    { name: "head", title: "Head" },
    { name: score.id, title: score.title, number: true, term: `score:${score.id}` },
    { name: "interval", title: "95 % CI", number: true },
    ...(map.q ? [{ name: "q", title: "q", number: true, term: "q" }] : []),
    ...(map.max_t ? [{ name: "max_t", title: "max-T", number: true, term: "max_t" }] : []),
  ];
  const rows = heads.slice(0, most).map((each) => [
    el("a", { href: linkTo(study, each.head) }, each.head),
    each.mean,
    { v: each.low ?? "", text: interval(each.low, each.high) },
    ...(map.q ? [each.q] : []),
    ...(map.max_t ? [each.max_t] : []),
  ]);
  const box = el("div", {}, scrolling(tableOf(`Heads by ${score.title}`, columns, rows), "Heads by the size of their score"));
  if (heads.length > most) {
    box.append(button(`All ${heads.length} heads`, () => box.replaceWith(headTable(study, score, map, Infinity))));
  }
  return box;
}

function mapRows(study, map) {
  const keys = ["mean", "low", "high", "q", "max_t"].filter((key) => map[key]);
  const rows = [];
  for (let index = 0; index < study.layers * study.heads; index += 1) {
    rows.push([study.model, study.emotion, Math.floor(index / study.heads), index % study.heads, ...keys.map((key) => map[key][index])]);
  }
  return [["model", "emotion", "layer", "head", ...keys], rows];
}

function mapPicture(study, score, map) {
  const range = (count, letter) => Array.from({ length: count }, (_, at) => `${letter}${at}`);
  return matrix(Math.max(360, Math.min(1100, 60 + study.heads * 46)), {
    title: `${named(study.model, 40)}, ${named(study.emotion, 30)}: ${named(score.title, 40)}`,
    rows: range(study.layers, "L"),
    columns: range(study.heads, "H"),
    value: (row, column) => map.mean[row * study.heads + column],
    score,
  });
}
