// Elements, and how numbers and text that may be hostile are shown. Text is never parsed as markup.

/** Make an element: attributes by name, `class`, `on` for listeners; children are nodes or text. */
function el(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

/** Make an element of SVG. */
function svg(tag, attributes = {}, ...children) {
  return built(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function built(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) node.addEventListener(event, listener);
    } else {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Put children in place of what an element holds. */
function fill(node, ...children) {
  node.replaceChildren(...children.flat(2).filter((child) => child !== null && child !== undefined));
  return node;
}

// Characters that would show nothing, or turn the text around them: control characters, and those
// that order text by direction or join it without a width.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** Return text with what cannot be seen in it made visible: ␛ for ESC, ⟨U+202E⟩ for an override. */
function shown(text) {
  return String(text).replace(HIDDEN, (character) => {
    const code = character.codePointAt(0);
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x7f) return "\u2421";
    return `\u27e8U+${code.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
  });
}

// So much of a text stands at once; the rest on request.
const MOST_OF_A_TEXT = 1500;

/** Return text as an element, cut where it is very long, with a button that shows the rest. */
function passage(text, attributes = {}) {
  const whole = shown(text);
  const node = el("span", { dir: "auto", ...attributes, class: `t ${attributes.class ?? ""}` });
  if (whole.length <= MOST_OF_A_TEXT) return fill(node, whole);
  const left = whole.length - MOST_OF_A_TEXT;
  const more = el(
    "button",
    { type: "button", class: "more", on: { click: () => fill(node, whole) } },
    `… ${left.toLocaleString("en")} more characters`,
  );
  return fill(node, whole.slice(0, MOST_OF_A_TEXT), more);
}

/** Return a name of a person's own, short enough for a line. */
function named(text, most = 80) {
  const whole = shown(text);
  return whole.length > most ? `${whole.slice(0, most - 1)}…` : whole;
}

/** Return a number as people write it: 3 significant digits, a true minus, "–" for none. */
function num(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (typeof value !== "number") return shown(value);
  if (value === 0) return "0";
  const size = Math.abs(value);
  let text;
  if (size >= 1e5 || size < 1e-4) text = value.toExponential(digits - 1);
  else if (size >= 10 ** digits) text = String(Math.round(value));
  else {
    const places = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
    text = Number.isInteger(value) ? String(value) : value.toFixed(Math.min(places, 4));
  }
  return text.replaceAll("-", "\u2212");
}

/** Return an interval: [−6.33, −5.72], or "–" where there is none. */
function interval(low, high) {
  if (typeof low !== "number" || typeof high !== "number") return "–";
  return `[${num(low)}, ${num(high)}]`;
}

/** Return a value with its interval behind it. */
function estimate(mean, low, high) {
  return typeof low === "number" ? `${num(mean)} ${interval(low, high)}` : num(mean);
}
