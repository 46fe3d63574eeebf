// What every picture is made of: scales, axes, marks; and the frame with its buttons around it.

// Ways to tell groups apart: eight colours of Okabe and Ito's kind, then other shapes of them.
const HUES = 8;
// Letters of the page, in pixels, beside which pictures are as they are drawn.
const LETTERS = 15;
const SHAPES = ["circle", "square", "triangle", "cross"];

/** Return a linear scale over an interval of values, with round ticks. */
function linear(low, high, from, to, count = 5) {
  if (!(high > low)) [low, high] = [low - 0.5, low + 0.5];
  const raw = (high - low) / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((times) => times * size).find((each) => each >= raw);
  const ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at += 1) {
    ticks.push(Number((at * step).toPrecision(12)));
  }
  return { at: (value) => from + ((value - low) / (high - low)) * (to - from), ticks, low, high };
}

/** Return the least interval that holds numbers, a little air around it. */
function span(values, { zero = false, air = 0.04 } = {}) {
  let [low, high] = zero ? [0, 0] : [Infinity, -Infinity];
  for (const value of values) {
    if (typeof value !== "number" || !Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low > high) return [0, 1];
  const margin = (high - low) * air || Math.abs(high) * air || 0.5;
  return [low - margin, high + margin];
}

/** Return a mark of a group: its number chooses colour and shape. */
function mark(x, y, group, size, note) {
  const look = { class: `g${group % HUES} mark` };
  const shape = SHAPES[Math.floor(group / HUES) % SHAPES.length];
  const title = note ? svg("title", {}, note) : null;
  if (shape === "circle") return svg("circle", { ...look, cx: x, cy: y, r: size }, title);
  const s = size * 0.95;
  const paths = {
    square: `M${x - s} ${y - s}h${2 * s}v${2 * s}h${-2 * s}z`,
    triangle: `M${x} ${y - s * 1.2}l${s * 1.2} ${s * 2.1}h${-s * 2.4}z`,
    cross: `M${x - s} ${y - s}l${2 * s} ${2 * s}m0 ${-2 * s}l${-2 * s} ${2 * s}`,
  };
  return svg("path", { ...look, class: `${look.class} ${shape}`, d: paths[shape] }, title);
}

/** Return a line of text in a picture. */
function label(x, y, text, anchor = "start", kind = "label") {
  return svg("text", { x, y, class: kind, "text-anchor": anchor }, text);
}

/** Return a value with its interval, lying: a bar from end to end and a diamond on it. */
function whisker(scale, y, { mean, low, high }, kind = "") {
  const x = scale.at(mean);
  const parts = [svg("path", { class: "diamond", d: `M${x - 5} ${y}l5 -6l5 6l-5 6z` })];
  if (typeof low === "number") {
    const [a, b] = [scale.at(low), scale.at(high)];
    parts.unshift(svg("path", { class: "ci", d: `M${a} ${y - 4}v8M${a} ${y}H${b}M${b} ${y - 4}v8` }));
  }
  return svg("g", { class: `whisker ${kind}` }, parts, svg("title", {}, estimate(mean, low, high)));
}

/** Return a round number as short as it is. */
function tick(value) {
  return String(Number(value.toPrecision(6))).replace("-", "\u2212");
}

/** Return the axis below, its ticks drawn up through the picture. */
function axisBelow(scale, top, bottom, text) {
  const middle = (scale.at(scale.low) + scale.at(scale.high)) / 2;
  return svg("g", { class: "axis" },
    scale.ticks.map((value) => [
      svg("path", {
        class: value === 0 ? "zero" : "rule",
        d: `M${scale.at(value)} ${top}V${bottom}`,
      }),
      label(scale.at(value), bottom + 15, tick(value), "middle", "tick"),
    ]),
    label(middle, bottom + 33, text, "middle"));
}

/** Return the axis at the left, its ticks drawn through the picture. */
function axisLeft(scale, left, right, text) {
  return svg("g", { class: "axis" },
    scale.ticks.map((value) => [
      svg("path", {
        class: value === 0 ? "zero" : "rule",
        d: `M${left} ${scale.at(value)}H${right}`,
      }),
      label(left - 6, scale.at(value) + 4, tick(value), "end", "tick"),
    ]),
    label(left - 38, scale.at(scale.high) - 8, text, "start"));
}

/** Return an empty picture. */
function picture(width, height, text) {
  return svg("svg", { width, height, role: "img", "aria-label": text, class: "picture" });
}

/**
 * Return a figure: a picture drawn as wide as there is room, its caption, buttons that save it.
 *
 * @param {object} options
 * @param {string} options.name What files of it are named.
 * @param {string} options.caption What is seen, in words.
 * @param {(width: number) => SVGElement} options.draw Draws it.
 * @param {() => [string[], Array<Array>]} options.data Columns and rows of its CSV.
 * @param {number} [options.most] It is drawn no wider.
 */
function figure({ name, caption, draw, data, most = 900 }) {
  const place = el("div", { class: "canvas" });
  const now = () => place.firstElementChild;
  let drawn = 0;
  const redraw = () => {
    // Larger letters of the page, on large screens or by choice, are larger in pictures too.
    const zoom = Math.max(1, parseFloat(getComputedStyle(document.documentElement).fontSize) / LETTERS);
    const width = Math.min(Math.floor(place.clientWidth / zoom), most);
    if (width < 50 || width === drawn) return;
    drawn = width;
    const made = draw(width);
    const [across, down] = sizeOf(made);
    made.setAttribute("viewBox", `0 0 ${across} ${down}`);
    made.setAttribute("width", across * zoom);
    made.setAttribute("height", down * zoom);
    fill(place, made);
  };
  new ResizeObserver(redraw).observe(place);
  return el("figure", {}, place,
    el("figcaption", {}, shown(caption), " ", saves(name, now, data)));
}
