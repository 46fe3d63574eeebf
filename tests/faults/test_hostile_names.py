"""Names and texts that would be obeyed, and results of hostile sizes, on every route out."""

from __future__ import annotations

import csv
import json
import random
import re
from contextlib import suppress
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from campaign import Tally
from hostile import HOSTILE
from made import resamples
from markdown_it import MarkdownIt
from routes import ROUTES, gone
from stored import ill_said, study

from emolib.errors import InputError
from emolib.reporting.findings import findings
from emolib.reporting.run_pairs import diff, side_of
from emolib.reporting.run_pairs_told import lines
from emolib.reporting.short_table import short_table
from emolib.reporting.tables import summary_table
from emolib.results.records import Store
from emolib.results.rows import Row

TEXTS = [text for text in HOSTILE if text.isprintable() or text.encode("utf-8", "ignore") != b""]
"""Those that a store can hold; half of a character it cannot."""
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
FORMULA = re.compile(r"\s*[=+\-@]")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|-?inf|nan", re.IGNORECASE)
COMMAND = re.compile(r"\\([A-Za-z]+|.)", re.DOTALL)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
ESCAPED = set("&%$#_{}\\^~\n") | {"textbackslash", "textasciitilde", "ensuremath", "Delta", "alpha",
                                  "Sigma", "emptyset"}  # fmt: skip


class Elements(HTMLParser):
    """The elements of a page, each with the names of its attributes."""

    def __init__(self, text):
        super().__init__()
        self.seen, self.comments = set(), 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.seen |= {(tag, name) for name, _ in attrs} | {(tag, "")}
        self.seen |= {(tag, f"{name}=script") for name, value in attrs
                      if name in ("href", "src", "action") and ":" in (value or "").split("#")[0]
                      and not re.match(r"https://|data:image/", value or "")}  # fmt: skip

    def handle_comment(self, data):
        self.comments += 1


def kinds(path, text):
    """Return what of a file somebody's program would obey, as far as that can be counted."""
    match path.suffix:
        case ".html":
            return Elements(text).seen
        case ".md":
            return Elements(MARKDOWN.render(text)).seen
        case ".tex":
            return set(COMMAND.findall(text))
    return set()


def ill_written(folder, known):
    """Yield what is wrong with files: controls, formulas, elements or commands not of ours."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.is_relative_to(folder / "records"):
            continue
        if OBEYED.search(path.name) or len(path.name.encode()) > 255:
            yield f"a file called {path.name!r:.100}"
        if path.suffix not in (".html", ".md", ".csv", ".tex", ".json", ".svg", ".bib"):
            continue
        if "other" in path.parts or "records" in path.parts:
            continue
        text = path.read_text("utf-8")
        # A line break of its own in a cell, as spreadsheets write it; white space in a page.
        shown = text.replace("\x85", "") if path.suffix in (".csv", ".html") else text
        if (found := OBEYED.search(shown)) and path.suffix != ".json":
            yield f"{path.name} has {found[0]!r}"
        if extra := kinds(path, text) - known.get(path.suffix, set()):
            yield f"{path.name} has {sorted(extra)[:5]}"
        if path.suffix == ".csv":
            with path.open(encoding="utf-8", newline="") as file:
                cells = {cell for line in csv.reader(file) for cell in line}
            if bad := [c for c in cells if FORMULA.match(c) and not NUMBER.fullmatch(c)]:
                yield f"{path.name} has a formula {bad[0]!r:.80}"
        if path.suffix == ".json":
            json.loads(text)


def ill_shown(folder, other):
    """Yield what is wrong with what a terminal is shown."""
    store = Store(folder)
    for name in store.experiments():
        rows = list(store.rows(name))
        for fmt in ("simple", "github"):
            yield from _obeyed(f"table of {name}", summary_table(rows, fmt=fmt, width=90))
    with resamples(20):
        told = findings(store)
        if told.in_short:
            yield from _obeyed("short table", short_table(told.in_short, width=90))
        sides = (side_of(str(one), one, "demo") for one in (folder, other))
        # Of other models they have nothing in common.
        with suppress(InputError):
            yield from _obeyed("diff", "\n".join(lines(diff(*sides), 90)))


def _obeyed(what, text):
    if found := OBEYED.search(text):
        yield f"{what} has {found[0]!r} in {text[max(0, found.start() - 30) :][:80]!r}"


SLOTS = ("model", "emotion", "label", "text", "metric", "heads", "everywhere")


def renamed(row: Row, slot: str, text: str) -> Row:
    """Return a row that has a text in one place of it, or in all."""
    every = slot == "everywhere"
    if every or slot in ("model", "emotion"):
        dims = {n: text if n in (("model", "emotion") if every else (slot,)) else value
                for n, value in row.dims.items()}  # fmt: skip
        row = replace(row, dims=dims)
    if slot == "heads" and row.experiment == "own":
        row = replace(row, dims=row.dims | {"heads": text})
    if every or slot == "label":
        free = {name: text for name in row.labels if name in ("by", "note", "why_no_recovery")}
        row = replace(row, labels=row.labels | free | {"said": text})
    if every or slot == "text":
        texts = {name: [f"{text} {i}" for i in range(len(column))]
                 for name, column in row.texts.items()}  # fmt: skip
        pairs = {name: [f"{text}{one}" for one in column] for name, column in row.pairs.items()}
        lists = {name: [[text if isinstance(one, str) else one for one in part] for part in column]
                 for name, column in row.lists.items()}  # fmt: skip
        row = replace(row, texts=texts, pairs=pairs, lists=lists)
    if every or slot == "metric":
        values, vectors = dict(row.values), dict(row.vectors)
        values[text], vectors[text] = 1.5, [0.5, 1.0]
        row = replace(row, values=values, vectors=vectors)
    return row


def written(folder, rows):
    """Write rows into a store, item by item."""
    store, items = Store(folder), {}
    for row in rows:
        items.setdefault((row.item, row.key), []).append(row)
    for one in items.values():
        store.append([replace(row, row=n, of=len(one)) for n, row in enumerate(one)])
    store.close()
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Give rows of every experiment, and what files made of them have that programs obey."""
    place = tmp_path_factory.mktemp("base")
    folder = study(place / "demo")
    store, known = Store(folder), {}
    rows = [row for name in store.experiments() for row in store.whole_rows(name)]
    for name in ROUTES:
        if name in ("report", "page", "tables", "diff", "export latex"):
            assert not list(gone(name, folder, place / "out"))
            for path in [*(place / "out").rglob("*"), *folder.rglob("*")]:
                if path.suffix in (".html", ".md", ".tex"):
                    known.setdefault(path.suffix, set()).update(
                        kinds(path, path.read_text("utf-8"))
                    )
    known[".tex"] |= ESCAPED
    return rows, known, place


WAYS = [name for name in ROUTES if name != "pack"]


def routed(rows, base, place, ways):
    """Yield, of each way, what goes wrong where rows are made into something by it."""
    _, known, sound = base
    folder, out = written(place / "demo", rows), place / "out"
    before = {path.name for path in place.parent.iterdir()}
    for way in ways:
        problems = list(gone(way, folder, out))
        problems += ill_written(out, known)
        problems += ill_written(folder, known)
        yield way, problems
    try:
        problems = list(ill_shown(folder, sound / "demo")) if rows else []
    except InputError as error:
        problems = list(ill_said(str(error)))
    if {path.name for path in place.parent.iterdir()} != before:
        problems.append("files beside the folder")
    yield "terminal", problems


def test_hostile_texts(base, size, tmp_path):
    tally = Tally("hostile names and texts by every route", size)
    draw = random.Random(0)
    for number, text in enumerate(HOSTILE):
        for slot in SLOTS:
            if not size.is_whole and slot != SLOTS[number % len(SLOTS)]:
                continue
            if not size.is_whole and number % 3:
                continue
            text = text.replace("\ud800", "\ufffd")
            rows = [renamed(row, slot, text) for row in base[0]]
            place = tmp_path / f"{number}-{slot}"
            place.mkdir()
            ways = [w for w in WAYS if w != "plots" or slot in ("everywhere", "model")]
            chosen = ways if size.is_whole else [draw.choice(["report", "page", "tables", "diff"])]
            try:
                for way, problems in routed(rows, base, place, chosen):
                    tally.case(f"{text!r:.40} as {slot}, {way}", problems)
            except Exception as error:
                tally.case(f"{text!r:.40} as {slot}", [f"{error!r:.300}"])
    tally.end()


def scaled(row, factor):
    """Return a row whose numbers are so many times what they were."""

    def many(value):
        if isinstance(value, dict):
            return {name: many(one) for name, one in value.items() if name != "n"} | {
                "n": value["n"]
            }
        if isinstance(value, list):
            return [many(one) for one in value]
        return value * factor if isinstance(value, float) else value

    values = {name: many(value) for name, value in row.values.items()}
    vectors = {name: [one * factor for one in vector] for name, vector in row.vectors.items()}
    return replace(row, values=values, vectors=vectors)


def fewer(row, count):
    """Return a row of so many prompts."""
    cut = {name: {n: column[:count] for n, column in getattr(row, name).items()}
           for name in ("vectors", "texts", "lists", "pairs")}  # fmt: skip
    values = {n: v | {"n": count, "ci": None, "d_z": None} if isinstance(v, dict) else v
              for n, v in row.values.items()}  # fmt: skip
    return replace(row, values=values, **cut)


def unknown(row):
    """Return a row of which no metric has a number."""
    return replace(row, values=dict.fromkeys(row.values), vectors={})


def many_heads(rows):
    """Return the rows of ablation again under 200 names."""
    ablated = next(row for row in rows if row.experiment == "head_ablation")
    shaped = ablated.provenance | {"shape": {"layers": 20, "heads": 10}}
    return [
        replace(ablated, item=f"{ablated.item}{n}", key=f"{n}", provenance=shaped,
                dims=ablated.dims | {"heads": f"L{n // 10}H{n % 10}"})
        for n in range(200)
    ]  # fmt: skip


SIZES = {
    "no rows": lambda rows: [],
    "one row": lambda rows: rows[:1],
    "one row of each": lambda rows: list({row.experiment: row for row in rows}.values()),
    "one prompt": lambda rows: [fewer(row, 1) for row in rows],
    "two prompts": lambda rows: [fewer(row, 2) for row in rows],
    "no prompts": lambda rows: [replace(row, vectors={}, texts={}, lists={}, pairs={})
                                for row in rows],
    "no numbers": lambda rows: [unknown(row) for row in rows],
    "no values": lambda rows: [replace(row, values={}, vectors={}) for row in rows],
    "all 0": lambda rows: [scaled(row, 0.0) for row in rows],
    "1e-300": lambda rows: [scaled(row, 1e-300) for row in rows],
    "1e100": lambda rows: [scaled(row, 1e100) for row in rows],
    "1e300": lambda rows: [scaled(row, 1e300) for row in rows],
    "200 heads": many_heads,
    "long names": lambda rows: [renamed(row, "everywhere", "n" * 5000) for row in rows],
    "no labels": lambda rows: [replace(row, labels={}) for row in rows],
    "no provenance": lambda rows: [replace(row, provenance={}) for row in rows],
    "no dims": lambda rows: [replace(row, dims={}) for row in rows],
    "heads that are not there": lambda rows: [
        replace(row, dims=row.dims | {"heads": "L999999999H999999999"}) for row in rows
    ],
}  # fmt: skip
"""Results as nobody would expect them, made of those that somebody does."""


def test_hostile_sizes(base, size, tmp_path):
    tally = Tally("results of hostile sizes by every route", size)
    draw = random.Random(1)
    for number, (name, make) in enumerate(SIZES.items()):
        if not size.is_whole and number % 3:
            continue
        place = tmp_path / f"{number}"
        place.mkdir()
        chosen = WAYS if size.is_whole else draw.sample(["report", "page", "tables", "diff"], 1)
        try:
            for way, problems in routed(make(base[0]), base, place, chosen):
                tally.case(f"{name}, {way}", problems)
        except Exception as error:
            tally.case(name, [f"{error!r:.300}"])
    tally.end()
