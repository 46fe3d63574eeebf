// What is on the page as files: pictures as SVG and PNG, numbers as CSV.

// What the look of an element of a picture is made of; saved with it, as files have no style sheet.
const LOOKS = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray",
  "opacity", "font-family", "font-size", "font-weight", "text-anchor", "dominant-baseline",
  "display",
];
// Pixels of a PNG per pixel of the page: fit for print.
const SHARPNESS = 3;

/** Offer bytes as a file of a name. */
function save(name, content, type) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  const link = el("a", { href: url, download: fileName(name) });
  document.body.append(link);
  link.click();
  link.remove();
  // Not at once: the browser still has to read it.
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** Return a name that is safe for a file, whatever stands in it. */
function fileName(name) {
  return String(name).replace(/[^A-Za-z0-9._-]+/g, "_").slice(0, 120);
}

/** Return width and height of a picture as it was drawn, whatever it is on the screen. */
function sizeOf(picture) {
  const box = picture.getAttribute("viewBox")?.split(" ").slice(2);
  return (box ?? ["width", "height"].map((side) => picture.getAttribute(side))).map(Number);
}

/** Return a picture as the text of a file of its own, in the light colours, on white. */
function standalone(picture) {
  const place = el("div", { class: "light offstage", "aria-hidden": "true" });
  const copy = picture.cloneNode(true);
  place.append(copy);
  document.body.append(place);
  try {
    for (const node of [copy, ...copy.querySelectorAll("*")]) {
      const look = getComputedStyle(node);
      for (const name of LOOKS) node.setAttribute(name, look.getPropertyValue(name));
      node.removeAttribute("class");
      node.removeAttribute("tabindex");
    }
    const [width, height] = sizeOf(copy);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    built(copy, { width, height, viewBox: `0 0 ${width} ${height}` }, []);
    copy.prepend(svg("rect", { width, height, fill: "#ffffff" }));
    return new XMLSerializer().serializeToString(copy);
  } finally {
    place.remove();
  }
}

/** Save a picture as SVG. */
function saveSvg(picture, name) {
  save(`${name}.svg`, standalone(picture), "image/svg+xml");
}

/** Save a picture as PNG. */
async function savePng(picture, name) {
  const [width, height] = sizeOf(picture);
  const image = new Image();
  // A data URL: the page's policy lets no other kind of image in.
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(standalone(picture))}`;
  await image.decode();
  const canvas = el("canvas", { width: width * SHARPNESS, height: height * SHARPNESS });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  save(`${name}.png`, blob, "image/png");
}

/** Return rows as CSV; a cell that a spreadsheet would run as a formula is made text. */
function csv(columns, rows) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

/** Save rows as CSV. */
function saveCsv(name, columns, rows) {
  save(`${name}.csv`, csv(columns, rows), "text/csv;charset=utf-8");
}

/** Return the buttons that save a picture and its data. */
function saves(name, picture, data) {
  return el("span", { class: "saves" },
    button("SVG", () => saveSvg(picture(), name), `Save as SVG: ${shown(name)}`),
    button("PNG", () => savePng(picture(), name), `Save as PNG: ${shown(name)}`),
    button("CSV", () => saveCsv(name, ...data()), `Save the data as CSV: ${shown(name)}`));
}
