// The pictures of sections that follow the picked model and emotion: circuits, paths, specificity.

/** Return what fills the section of circuits for the picked study. */
function circuitParts(app) {
  const at = app.data.studies[app.study];
  const found = (app.data.circuits ?? []).filter((circuit) => circuit.study === app.study);
  return found.map((circuit) => {
    const names = Object.keys(circuit.curves).filter((name) => circuit.curves[name]?.length);
    const titles = { ranking: `by ${circuit.by}`, random: "random heads of the same layers", greedy: "greedy order" };
    const series = names.map((name) => ({
      name: named(titles[name] ?? name),
      points: circuit.curves[name].map((point) => ({
        x: point.k, y: point.f, low: point.low, high: point.high, note: point.head ? `+ ${point.head}` : null,
      })),
    }));
    const outside = named(circuit.outside, 30);
    return el("div", {},
      figure({
        name: `circuit_${at.model}_${at.emotion}_${circuit.outside}`,
        caption: `${named(at.model, 40)}, ${named(at.emotion, 40)}: faithfulness F of the top k heads (all others: ${outside}). Bands are 95 % intervals, those of random heads the range of their draws.`,
        draw: (width) => curves(width, {
          series, x: "heads kept, k", y: "F", steps: true, lines: [{ y: app.data.enough, name: num(app.data.enough) }],
          text: `Faithfulness by number of heads, ${at.model}, ${at.emotion}`,
        }),
        data: () => [["curve", "k", "faithfulness", "low", "high", "head"],
          names.flatMap((name) => circuit.curves[name].map((point) => [name, point.k, point.f, point.low, point.high, point.head]))],
        most: 760,
      }),
      legend(series.map((each) => each.name), "s"),
      circuitSentence(at, circuit));
  });
}

function circuitSentence(at, circuit) {
  const links = circuit.circuit.map((head, index) => [index ? ", " : "", el("a", { href: linkTo(at, head) }, head)]);
  const heldOut = circuit.held_out ? `; on the templates that did not choose it F is ${estimate(...circuit.held_out)}` : "";
  if (!links.length) return el("p", {}, `No circuit: ${shown(circuit.notes.join("; ") || "no reason is stored")}.`);
  return el("p", {}, "Circuit: ", links.flat(), `, ${circuit.k} of ${circuit.n_heads} heads${heldOut}.`);
}

// Paths drawn one by one, strongest first.
const MOST_PATHS = 16;

/** Return what fills the section of paths for the picked study. */
function pathParts(app) {
  const at = app.data.studies[app.study];
  const all = (app.data.paths ?? []).filter((each) => each.study === app.study).flatMap((each) => each.paths);
  const inputs = [...new Set(all.map((path) => path.input))];
  if (!all.length) return [];
  const input = inputs.includes("all") ? "all" : inputs[0];
  const paths = all.filter((path) => path.input === input && path.effect);
  const order = (names) => [...new Set(names)].sort((a, b) => (a === "logits") - (b === "logits") || a.localeCompare(b, "en", { numeric: true }));
  const [senders, receivers] = [order(paths.map((path) => path.sender)), order(paths.map((path) => path.receiver))];
  const effects = new Map(paths.map((path) => [`${path.sender}>${path.receiver}`, path]));
  const of = (row, column) => effects.get(`${senders[row]}>${receivers[column]}`);
  const limit = Math.max(...paths.map((path) => Math.abs(path.effect[0])), 0);
  const strongest = [...paths].sort((a, b) => Math.abs(b.effect[0]) - Math.abs(a.effect[0])).slice(0, MOST_PATHS);
  const name = `paths_${at.model}_${at.emotion}`;
  const data = () => [["sender", "receiver", "input", "effect", "low", "high", "share"],
    all.map((path) => [path.sender, path.receiver, path.input, ...(path.effect ?? [null, null, null]), path.share])];
  return [
    el("div", { class: "columns" },
      figure({
        name, data,
        caption: `${named(at.model, 40)}, ${named(at.emotion, 40)}: the effect that goes from a sender (row) into a receiver (column), ${input === "all" ? "all its inputs" : `its ${input}`}.`,
        draw: (width) => matrix(width, {
          title: "effect of a path", rows: senders, columns: receivers, score: { signed: true, limit, unit: "logits" },
          value: (row, column) => of(row, column)?.effect[0],
          note: (row, column) => of(row, column) ? `${senders[row]} → ${receivers[column]}: ${estimate(...of(row, column).effect)}` : "not measured",
        }),
        most: 700,
      }),
      figure({
        name: `${name}_strongest`, data,
        caption: `The ${strongest.length} strongest paths with their 95 % CI.`,
        draw: (width) => estimates(width, {
          axis: "effect, logits", text: "The strongest paths",
          rows: strongest.map(({ sender, receiver, effect: [mean, low, high] }) => ({ name: `${sender} → ${receiver}`, mean, low, high })),
        }),
        most: 700,
      })),
  ];
}

/** Return what fills the section of units for the picked study. */
function unitParts(app) {
  const at = app.data.studies[app.study];
  const found = (app.data.units ?? []).filter((each) => each.study === app.study);
  return found.flatMap((of, index) => {
    const metrics = [...new Set(of.units.flatMap((unit) => Object.keys(unit.values)))];
    const layered = [...new Set(of.layers.flatMap((layer) => Object.keys(layer.values)))];
    const name = `units_${at.model}_${at.emotion}${index ? `_${index}` : ""}`;
    return el("div", { class: "columns" },
      switched("Metric", metrics, (metric) => figure({
        name: `${name}_${metric}`, most: 700,
        caption: `${named(at.model, 40)}, ${named(at.emotion, 40)}: the ${Math.min(20, of.units.length)} units with the largest |atp|: ${metric}, with 95 % CI where there is one.`,
        draw: (width) => estimates(width, {
          axis: metric, text: `Top units by ${metric}`,
          rows: of.units.slice(0, 20).map((unit) => {
            const [mean, low, high] = unit.values[metric] ?? [];
            return { name: unit.unit, mean, low, high };
          }),
        }),
        data: () => [["unit", "layer", ...metrics.flatMap((each) => [each, `${each}_low`, `${each}_high`])],
          of.units.map((unit) => [unit.unit, unit.layer, ...metrics.flatMap((each) => unit.values[each] ?? [null, null, null])])],
      })),
      switched("By layer", layered, (metric) => figure({
        name: `${name}_layers_${metric}`, most: 700, caption: `Units of a layer together: ${metric}.`,
        draw: (width) => estimates(width, {
          axis: metric, text: `Layers by ${metric}`,
          rows: of.layers.map((layer) => ({ name: `${layer.layer}`, mean: layer.values[metric] })),
        }),
        data: () => [["layer", ...layered], of.layers.map((layer) => [layer.layer, ...layered.map((each) => layer.values[each])])],
      })));
  });
}

/** Return a choice and what is made of what is chosen; nothing where there is nothing to choose. */
function switched(title, options, make, chosen = options[0]) {
  if (!options.length) return null;
  const place = el("div", {}, make(chosen));
  const choices = options.map((value) => ({ value, text: value }));
  return el("div", {},
    el("div", { class: "pickers" }, picker(title, choices, chosen, (value) => fill(place, make(value)))), place);
}
