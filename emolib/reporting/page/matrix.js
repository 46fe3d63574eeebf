// Values in rows and columns as a picture, coloured as the map is.

/**
 * Draw a matrix of values.
 *
 * @param {number} width
 * @param {object} of
 * @param {string} of.title What it is.
 * @param {string[]} of.rows
 * @param {string[]} of.columns
 * @param {(row: number, column: number) => ?number} of.value
 * @param {{signed: boolean, limit: number, base: ?number, unit: ?string}} of.score Its scale.
 * @param {(row: number, column: number) => string} [of.note] Told where a cell is pointed at.
 */
function matrix(width, { title, rows, columns, value, score, note = null }) {
  const left = 14 + 7.2 * Math.max(...rows.map((name) => name.length));
  const [top, right] = [48, width - 8];
  const cell = Math.min(64, (right - left) / columns.length);
  const high = Math.max(11, Math.min(30, cell));
  const bottom = top + high * rows.length;
  const thin = Math.ceil(30 / cell);
  const parts = [label(0, 14, title, "start")];
  columns.forEach((name, at) => {
    if (at % thin === 0) parts.push(label(left + cell * (at + 0.5), top - 6, name, "middle", "tick"));
  });
  rows.forEach((name, row) => {
    if (high > 13 || row % 2 === 0) {
      parts.push(label(left - 6, top + high * (row + 0.5) + 4, name, "end", "tick"));
    }
    columns.forEach((_, column) => {
      const found = value(row, column);
      const level = levelOf(found, score);
      const [x, y] = [left + cell * column, top + high * row];
      parts.push(
        svg("rect", { class: `cell ${level}`, x: x + 0.5, y: y + 0.5, width: cell - 1, height: high - 1 },
          note ? svg("title", {}, note(row, column)) : null));
      if (cell >= 34 && typeof found === "number") {
        parts.push(label(x + cell / 2, y + high / 2 + 4, num(found, 2), "middle", `figure ${level}`));
      }
    });
  });
  const height = bottom + 40;
  return built(picture(width, height, title), {}, [...parts, scaleBelow(left, bottom + 12, right - left, score)]);
}

function scaleBelow(left, top, room, score) {
  const [steps, low] = score.signed
    ? [Array.from({ length: 21 }, (_, at) => `c${at - 10}`), -score.limit]
    : [Array.from({ length: 11 }, (_, at) => `u${at}`), score.base ?? 0];
  const unit = `${num(score.limit)} ${shown(score.unit ?? "")}`;
  const size = Math.max(2, Math.min(11, (room - 52 - 7 * unit.length) / steps.length));
  const start = left + 44;
  return svg("g", {},
    label(start - 6, top + 10, num(low), "end", "tick"),
    steps.map((step, at) =>
      svg("rect", { class: `cell ${step}`, x: start + at * size, y: top, width: size, height: 12 })),
    label(start + steps.length * size + 6, top + 10, unit, "start", "tick"));
}
