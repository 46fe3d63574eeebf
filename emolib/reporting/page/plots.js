// Pictures of several kinds: strips of pairs, curves with bands, estimates in rows.

// Rows of a strip, and of estimates, in pixels.
const STRIP = 64;
const ROW = 24;

/** Return where points of a strip stand across it, so that few cover each other: the same always. */
function spread(values, scale, size) {
  const taken = new Map();
  return values.map((value) => {
    const slot = Math.round(scale.at(value) / size);
    const count = taken.get(slot) ?? 0;
    taken.set(slot, count + 1);
    return (count % 2 ? 1 : -1) * Math.ceil(count / 2);
  });
}

/**
 * Draw effects of pairs in strips, one below another, each with its mean and interval.
 *
 * @param {number} width
 * @param {object} of
 * @param {Array<{name: string, points: Array<{value: number, group: number, note: string}>,
 *   mean: number, low: number, high: number}>} of.rows
 * @param {string} of.axis What the values are.
 * @param {string} of.text The picture in words.
 */
function strips(width, { rows, axis, text }) {
  const longest = Math.max(...rows.map((row) => row.name.length));
  const left = Math.min(width * 0.4, Math.max(50, longest * 7 + 12));
  const [top, right] = [6, width - 14];
  const bottom = top + rows.length * STRIP;
  const values = rows.flatMap((row) => [...row.points.map((p) => p.value), row.low, row.high]);
  const scale = linear(...span(values, { zero: true }), left, right, width < 480 ? 4 : 8);
  const drawn = rows.map((row, at) => {
    const middle = top + STRIP * (at + 0.5);
    const lanes = spread(row.points.map((point) => point.value), scale, 5);
    const most = Math.max(1, ...lanes.map(Math.abs));
    // Crowded, they move together; the mean keeps its own place below them.
    const gap = Math.min(6, (STRIP / 2 - 12) / most);
    return svg("g", {},
      label(left - 8, middle + 4, row.name, "end"),
      row.points.map((point, index) =>
        mark(scale.at(point.value), middle - 6 + lanes[index] * gap, point.group, 3, point.note)),
      typeof row.mean === "number" ? whisker(scale, middle + STRIP / 2 - 10, row) : null);
  });
  return built(picture(width, bottom + 40, text), {},
    [axisBelow(scale, top, bottom, axis), ...drawn]);
}

/**
 * Draw curves with bands over an axis of numbers.
 *
 * @param {number} width
 * @param {object} of
 * @param {Array<{name: string, points: Array<{x: number, y: number, low: ?number, high: ?number,
 *   note: ?string}>}>} of.series In colours by their order.
 * @param {string} of.x What lies below.
 * @param {string} of.y What stands at the left.
 * @param {number[]} [of.ticks] Values of x that have ticks.
 * @param {Array<{y: number, name: string}>} [of.lines] Lines across.
 * @param {boolean} [of.steps] Whether x are places in an order, equally far apart.
 */
function curves(width, { series, x, y, text, ticks = null, lines = [], steps = false }) {
  const [left, top, right] = [54, 26, width - 16];
  const height = Math.max(190, Math.min(320, width * 0.5));
  const bottom = height - 44;
  const points = series.flatMap((each) => each.points);
  const places = [...new Set(points.map((point) => point.x))].sort((a, b) => a - b);
  const raw = steps ? (value) => places.indexOf(value) : (value) => value;
  const across = linear(...span(places.map(raw), { air: 0.02 }), left, right);
  const below = { ...across, at: (value) => across.at(raw(value)), ticks: ticks ?? (steps ? places : across.ticks) };
  below.low = places[0];
  below.high = places.at(-1);
  const thin = Math.ceil(below.ticks.length / Math.max(2, (right - left) / 34));
  below.ticks = below.ticks.filter((_, at) => at % thin === 0);
  const up = linear(
    ...span([...points.flatMap((p) => [p.y, p.low, p.high]), ...lines.map((line) => line.y)], { zero: true }),
    bottom, top, 5);
  const drawn = series.map((each, at) => {
    const sure = each.points.filter((point) => typeof point.y === "number");
    const banded = sure.filter((point) => typeof point.low === "number");
    const path = (list, side) => list.map((p) => `${below.at(p.x)} ${up.at(p[side])}`).join("L");
    return svg("g", { class: `s${at % HUES} curve` },
      banded.length > 1
        ? svg("path", {
          class: "band",
          d: `M${path(banded, "low")}L${path([...banded].reverse(), "high")}z`,
        })
        : null,
      sure.length ? svg("path", { class: "line", d: `M${path(sure, "y")}` }) : null,
      sure.map((p) =>
        mark(below.at(p.x), up.at(p.y), at, 3,
          `${each.name}, ${x} ${num(p.x)}: ${estimate(p.y, p.low, p.high)}${p.note ? `, ${p.note}` : ""}`)));
  });
  const across2 = lines.map((line) => svg("g", {},
    svg("path", { class: "target", d: `M${left} ${up.at(line.y)}H${right}` }),
    label(right, up.at(line.y) - 4, line.name, "end", "tick")));
  return built(picture(width, height, text), {},
    [axisBelow(below, top, bottom, x), axisLeft(up, left, right, y), ...across2, ...drawn]);
}

/**
 * Draw estimates in rows: each a mean and its interval on one axis.
 *
 * @param {number} width
 * @param {object} of
 * @param {Array<{name: string, mean: ?number, low: ?number, high: ?number, kind: ?string}>} of.rows
 * @param {string} of.axis What the values are.
 * @param {number[]} [of.lines] Values that have lines of their own.
 */
function estimates(width, { rows, axis, text, lines = [] }) {
  const longest = Math.max(...rows.map((row) => row.name.length));
  const wanted = Math.max(60, longest * 7.2 + 12);
  // Names that would take half of the room stand above their rows.
  const above = wanted > width * 0.5;
  const left = above ? 10 : wanted;
  const high = above ? ROW * 1.6 : ROW;
  const [top, right] = [6, width - 14];
  const bottom = top + rows.length * high;
  const values = [...rows.flatMap((row) => [row.mean, row.low, row.high]), ...lines];
  const scale = linear(...span(values, { zero: true }), left, right, width < 480 ? 4 : 7);
  const drawn = rows.map((row, at) => {
    const y = top + high * (at + (above ? 0.75 : 0.5));
    return [
      above ? label(0, y - 11, row.name) : label(left - 8, y + 4, row.name, "end"),
      typeof row.mean === "number"
        ? whisker(scale, y, row, row.kind ?? "")
        : label(scale.at(0) + 6, y + 4, "none", "start", "tick"),
    ];
  });
  return built(picture(width, bottom + 40, text), {},
    [axisBelow(scale, top, bottom, axis),
      ...lines.map((x) => svg("path", { class: "target", d: `M${scale.at(x)} ${top}V${bottom}` })),
      ...drawn.flat()]);
}

/** Return what marks and colours stand for, as a list that is read in order. */
function legend(names, kind = "g") {
  return el("ul", { class: "legend" },
    names.map((name, at) =>
      el("li", {},
        built(svg("svg", { width: 12, height: 12, "aria-hidden": "true" }), {},
          [kind === "g" ? mark(6, 6, at, 4) : svg("g", { class: `s${at % HUES} curve` }, mark(6, 6, at, 4))]),
        named(name, 70))));
}
