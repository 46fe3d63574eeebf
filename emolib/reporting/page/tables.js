// Tables that are already on the page made sortable and savable, and tables made here.

/** Let every table with `data-sort` be sorted by its columns and saved. */
function startTables(root = document) {
  for (const table of root.querySelectorAll("table[data-sort]")) {
    sortable(table);
    const name = table.dataset.sort;
    table.after(
      el("p", { class: "saves" },
        button("CSV", () => saveCsv(name, ...contentOf(table)), `Save the table ${name} as CSV`)),
    );
  }
}

/** Return a small button. */
function button(text, click, label = null) {
  return el("button", { type: "button", class: "quiet", "aria-label": label, on: { click } }, text);
}

/**
 * Return columns and rows of a table as they are saved: numbers as such; where cells have an
 * interval too, what they show stands in a column of its own.
 */
function contentOf(table) {
  const heads = [...[...table.tHead.rows].at(-1).cells];
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells]);
  const value = ({ dataset, textContent }) => dataset.v ? Number(dataset.v) : textContent.trim();
  const columns = heads.flatMap((head, at) => {
    const name = head.dataset.name ?? head.textContent.trim();
    const both = rows.some((row) => row[at].dataset.v && row[at].textContent.includes("["));
    const plain = [{ name, of: (row) => value(row[at]) }];
    return both ? [...plain, { name: `${name}, interval`, of: (row) => row[at].textContent.trim() }] : plain;
  });
  return [columns.map((column) => column.name), rows.map((row) => columns.map((column) => column.of(row)))];
}

/** Give each column's heading a button that sorts by it; pressed again, the other way round. */
function sortable(table) {
  const heads = [...[...table.tHead.rows].at(-1).cells];
  heads.forEach((head, column) => {
    const press = el("button", { type: "button", class: "sort" }, ...head.childNodes);
    if (head.dataset.term) {
      press.dataset.term = head.dataset.term;
      head.removeAttribute("data-term");
    }
    if (head.title) {
      // A title is for the mouse alone.
      press.dataset.tip = head.title;
      head.removeAttribute("title");
    }
    press.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      sortRows(table, column, up);
    });
    fill(head, press);
  });
}

function sortRows(table, column, up) {
  const body = table.tBodies[0];
  const key = (row) => {
    const cell = row.cells[column];
    const value = Number(cell.dataset.v ?? Number.NaN);
    return Number.isNaN(value) ? cell.textContent.trim() : value;
  };
  const none = (value) => value === "" || value === "–";
  const order = (first, second) => {
    const [a, b] = [first.key, second.key];
    // What has no value stands last, whichever way round.
    if (none(a) || none(b)) return none(a) - none(b);
    const found =
      typeof a === "number" && typeof b === "number"
        ? a - b
        : String(a).localeCompare(String(b), "en", { numeric: true });
    return up ? found : -found;
  };
  const keyed = [...body.rows].map((row) => ({ row, key: key(row) }));
  body.append(...keyed.sort(order).map((each) => each.row));
}

/**
 * Make a table.
 *
 * @param {string} caption What it is, for those who do not see where it stands.
 * @param {Array<{name: string, title?: string, term?: string, number?: boolean, text?: boolean}>}
 *   columns
 * @param {Array<Array<string|number|null|Node|{v: number, text: string}>>} rows Cells by column.
 */
function tableOf(caption, columns, rows, attributes = {}) {
  const head = (column) =>
    el("th", {
      scope: "col",
      class: column.number ? "n" : null,
      "data-name": column.name,
      "data-term": column.term,
    }, shown(column.title ?? column.name));
  const cell = (value, column, first) => {
    const kind = first ? "th" : "td";
    const looks = { class: column.number ? "n" : column.text ? "l" : null, scope: first ? "row" : null };
    if (value instanceof Node) return el(kind, looks, value);
    if (value && typeof value === "object") {
      return el(kind, { ...looks, "data-v": value.v }, shown(value.text));
    }
    if (typeof value === "number") return el(kind, { ...looks, "data-v": value }, num(value));
    return el(kind, looks, value === null || value === undefined ? "–" : named(value));
  };
  const table = el("table", attributes,
    el("caption", { class: "unseen" }, shown(caption)),
    el("thead", {}, el("tr", {}, columns.map(head))),
    el("tbody", {}, rows.map((row) =>
      el("tr", {}, row.map((value, at) => cell(value, columns[at], at === 0))))));
  sortable(table);
  return table;
}

/** Put a table where it can scroll sideways, also by keyboard. */
function scrolling(table, label) {
  return el("div", { class: "wide", tabindex: 0, role: "group", "aria-label": label }, table);
}
