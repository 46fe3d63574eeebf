"""Damaged and hostile stores: what was written, or one line that names where; never other rows."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections import Counter
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, cycle
from pathlib import Path

import pytest
from campaign import Tally
from mutators import VALUES, at, flipped, of_tree, places, put, to_json
from routes import ROUTES, gone
from stored import Read, ill_said, item, made, older, opened, packed, read, rewrite, sealed, study

from emolib.errors import InputError
from emolib.results.intake import SCHEMA_VERSION
from emolib.results.item_files import write_output
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import segments


@dataclass
class Sound:
    """A store as it is before anything happens to it, and what is read of it."""

    folder: Path
    whole: Read
    index: bytes
    torn: dict[str, Read] = field(default_factory=dict)

    @property
    def index_path(self):
        return self.folder / "records/index.sqlite"

    def files(self):
        return {name: segment.path for name, segment in segments(self.folder).items()}

    def without_last_line(self, path):
        """Give what is read where a segment's last line is torn."""
        if path.name not in self.torn:
            data = path.read_bytes()
            path.write_bytes(data[:-1] + b"x")
            self.index_path.unlink(missing_ok=True)
            self.torn[path.name] = read(self.folder)
            path.write_bytes(data)
        return self.torn[path.name]


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Give stores of each form, and check that what was written is what is read."""
    place = tmp_path_factory.mktemp("stores")
    found = {}
    for name, make in (("plain", made), ("packed", made), ("old", older), ("old packed", older)):
        folder = place / name.replace(" ", "-")
        rows = make(folder)
        if "packed" in name:
            packed(folder)
        whole = read(folder)
        assert not whole.refused and not whole.raised
        assert [row for part in whole.parts["items"].values() for row in part] == rows
        assert all(whole.parts[what] for what in ("rows", "whole True", "runs", "of runs"))
        found[name] = Sound(folder, whole, (folder / "records/index.sqlite").read_bytes())
    return found


def ill_told(found, path, *places):
    """Yield what is wrong with the messages of refusals; each has to name one of some places."""
    for what, message in found.refused.items():
        for problem in ill_said(message, path):
            yield f"{what}: {problem}"
        if not any(place in message for place in places):
            yield f"{what}: names no line: {message:.200}"


def wrong(found, sound, path, *, expected=None):
    """Yield what is wrong with what was read of a damaged store.

    Args:
        found: What was read.
        sound: The store before.
        path: The file that is damaged.
        expected: What else may be read: the store less a torn end.
    """
    yield from found.raised
    yield from ill_told(found, path, ": line ", "member")
    for what, part in found.parts.items():
        if part != sound.whole.parts[what] and (
            expected is None or part != expected.parts.get(what)
        ):
            yield f"{what} changed"


INDEX = ("gone", "older", "same time")
"""What became of the index when the store is read: it is gone, it is older than the damage, or the
damaged file has the size and time that the index knows."""


def damage(sound, path, data, index):
    """Write damaged bytes, and yield what is read then; all is as before afterwards."""
    before, times = path.read_bytes(), path.stat()
    sound.index_path.unlink(missing_ok=True)
    if index != "gone":
        sound.index_path.write_bytes(sound.index)
    rewrite(path, data, times if index == "same time" else None)
    found = read(sound.folder)
    rewrite(path, before, times)
    return found


def spots(data, draw, count):
    """Give places of bits, every third among those that hold a file together."""
    binding = [at for at, byte in enumerate(data) if byte in b'\n{}"' or at > len(data) - 30]
    for number in range(count):
        yield draw.choice(binding) if number % 3 == 0 else draw.randrange(len(data))


@pytest.mark.parametrize("index", INDEX)
@pytest.mark.parametrize("form", ["plain", "packed", "old packed"])
def test_flipped_bits(sound, size, form, index):
    tally = Tally(f"bit flips in a store ({form}, index {index})", size)
    draw, store = random.Random(f"{form}{index}"), sound[form]
    became = Counter()
    files = list(store.files().values())
    per_file = size.of(7, 320) // len(files) + 1
    for path in files:
        data = path.read_bytes()
        for spot in spots(data, draw, per_file):
            bit = 1 << draw.randrange(8)
            damaged = data[:spot] + bytes([data[spot] ^ bit]) + data[spot + 1 :]
            is_end = spot == len(data) - 1 and path.suffix == ".jsonl" and data.endswith(b"\n")
            expected = store.without_last_line(path) if is_end else None
            found = damage(store, path, damaged, index)
            became["refused" if found.refused else "read as torn" if is_end else "as it was"] += 1
            tally.case(
                f"{path.name}, bit {bit} of byte {spot}",
                wrong(found, store, path, expected=expected),
            )
    tally.end(**became)
    assert became["refused"] > tally.tried / 4


@pytest.fixture(scope="module")
def rich(tmp_path_factory):
    """Give results that every table, plot and section takes something from."""
    folder = study(tmp_path_factory.mktemp("rich") / "demo")
    store = Store(folder)
    told = {"command": "pytest x --shard 1/1", "commit": "abc", "settings": {"models": ["one"]}}
    store.open(shard="1/1", about=lambda: told | {"expected": 3})
    for key in list(store)[:2]:
        store.touch(key)
    store.close()
    paths = [segment.path for segment in segments(folder).values()]
    paths[0].write_bytes(b"".join(path.read_bytes() for path in paths))
    for path in paths[1:]:
        path.unlink()
    shutil.rmtree(folder / "alignment")
    return folder


def kinds_of(data):
    """Give a line of each kind, of items one of each experiment, by their numbers."""
    found = {}
    for number, line in enumerate(data):
        told = opened(line)
        what = next(name for name in told if name != "v")
        found.setdefault((what, told.get("experiment"), str(type(told.get("value")))), number)
    return list(found.values())


def test_wrong_types(rich, size, tmp_path):
    """Any value of any line is another, and the checksum fits."""
    tally = Tally("wrong types in lines of a store, checksums made to fit", size)
    draw, became = random.Random(0), Counter()
    (path,) = (segment.path for segment in segments(rich).values())
    before = path.read_bytes()
    data = before.splitlines(keepends=True)
    chosen = kinds_of(data)
    # Plots take a second.
    routes = cycle([name for name in ROUTES if size.is_whole or name != "plots"])
    assert len(chosen) > 20
    for number in range(size.of(25, 3600)):
        at_line = chosen[number % len(chosen)]
        told = opened(data[at_line])
        place = draw.choice(list(places(told))[1:])
        changed = put(told, place, None, draw.choice(VALUES)) if number % 4 else of_tree(told, draw)
        if not isinstance(changed, dict):
            continue
        line = sealed(changed, to_json)
        rewrite(path, b"".join([*data[:at_line], line, *data[at_line + 1 :]]))
        (rich / "records/index.sqlite").unlink(missing_ok=True)
        ways = [next(routes)] if number % 5 == 0 else []
        problems = hostile(rich, path, ways, tmp_path / "out", became)
        new = at(changed, place) if number % 4 else [*places(changed)][-1]
        tally.case(f"line {at_line + 1}, {place} = {new!r:.80}", problems)
    rewrite(path, before)
    tally.end(**became)
    assert became["refused"] > tally.tried / 4 and became["accepted"] > tally.tried / 20


def hostile(folder, path, routes, out, became):
    """Yield what is wrong with what comes of a store that somebody has made up."""
    found = read(folder)
    yield from found.raised
    yield from ill_told(found, path, ": line ", "refers to")
    became["refused" if found.refused else "accepted"] += 1
    for what, part in found.parts.items():
        # As they are written numbers are texts.
        if what != "whole True":
            yield from ill_typed(part)
    for route in routes if not found.raised and not found.refused else ():
        yield from gone(route, folder, out)


def ill_typed(part):
    """Yield what of rows is of another kind than `Row` says."""
    for row in part if isinstance(part, list) else ():
        if isinstance(row, Row):
            columns = [*row.texts.values(), *row.pairs.values(), *row.vectors.values()]
            if not all(isinstance(column, list) for column in columns):
                yield f"no lists: {columns!r:.100}"
                continue
            numbers = [n for vector in row.vectors.values() for n in vector]
            numbers += [mean for mean in map(row.mean, row.values) if mean is not None]
            if not all(isinstance(n, (int, float)) and abs(n) < 1.8e308 for n in numbers):
                yield f"no numbers: {numbers!r:.100}"
            texts = [*chain(*row.texts.values(), *row.pairs.values()), *row.dims.values()]
            if not all(isinstance(text, str) for text in texts):
                yield f"no texts: {texts!r:.100}"


def rows_in(found):
    """Give all rows that were read, by whichever way, as their texts."""
    kept = set()

    def gather(value):
        if isinstance(value, Row):
            kept.add(repr(value))
        elif isinstance(value, dict):
            gather(list(value.values()))
        elif isinstance(value, list):
            for member in value:
                gather(member)

    gather([part for what, part in found.parts.items() if what != "again"])
    return kept


def test_lines_out_of_place(sound, size):
    """Lines that are sound each by itself: gone, twice, elsewhere, cut, joined, of other runs.

    A line that is gone with all of its item, or is there twice, tells no one; no row is another.
    """
    tally = Tally("lines of a store dropped, doubled, swapped, cut, joined", size)
    draw, store, became = random.Random(1), sound["plain"], Counter()
    rows, files = rows_in(store.whole), list(store.files().values())
    foreign = b"".join(path.read_bytes() for path in files).splitlines(keepends=True)
    for number in range(size.of(20, 700)):
        path = files[number % len(files)]
        lines = path.read_bytes().splitlines(keepends=True)
        place, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        what = ("dropped", "doubled", "swapped", "cut", "joined", "foreign", "ended")[number % 7]
        match what:
            case "dropped":
                del lines[place]
            case "doubled":
                lines.insert(other, lines[place])
            case "swapped":
                lines[place], lines[other] = lines[other], lines[place]
            case "cut":
                lines[place] = lines[place][: draw.randrange(len(lines[place]))]
            case "joined":
                lines[place] = lines[place][:-1]
            case "foreign":
                lines.insert(place, draw.choice(foreign))
            case "ended":
                lines = [*lines[:place], lines[place][: draw.randrange(len(lines[place]))]]
        found = damage(store, path, b"".join(lines), "gone")
        became["refused" if found.refused else "read"] += 1
        problems = [*found.raised]
        for message in found.refused.values():
            problems += ill_said(message, path)
        if changed := rows_in(found) - rows:
            problems.append(f"changed {len(changed)} rows: {min(changed):.200}")
        tally.case(f"{path.name}, line {place + 1} {what}", problems)
    tally.end(**became)
    assert became["refused"] > tally.tried / 4


def test_index_of_somebody_else(sound, size, tmp_path):
    """Whatever lies in the place of the index, no row is another than the segments have."""
    tally = Tally("index of a store damaged or replaced", size)
    draw, store, became = random.Random(2), sound["plain"], Counter()
    rows = rows_in(store.whole)
    for number in range(size.of(24, 900)):
        store.index_path.unlink(missing_ok=True)
        what = replaced(store.index_path, store.index, number, draw, tmp_path)
        found = read(store.folder)
        problems = [*found.raised]
        for message in found.refused.values():
            problems += ill_said(message, store.index_path, *store.files().values())
        if changed := rows_in(found) - rows:
            problems.append(f"changed {len(changed)} rows: {min(changed):.200}")
        again = read(store.folder)
        if found.refused and (again.refused or again.parts != store.whole.parts):
            problems.append(f"not made again: {again.refused or 'other parts'!r:.300}")
        same = found.parts == store.whole.parts
        became["refused" if found.refused else "as it was" if same else "others chosen"] += 1
        tally.case(what, problems)
    store.index_path.unlink()
    tally.end(**became)


SCHEMAS = (
    "CREATE TABLE segments(a)",
    "CREATE VIEW segments AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
    "SELECT * FROM n",
    "CREATE TABLE other(x)",
)


def replaced(path, index, number, draw, tmp_path):
    """Put something in the place of an index, and say what."""
    kind = number % 12
    if kind == 0:
        path.write_bytes(draw.randbytes(5000))
        return "no database"
    if kind == 1:
        path.write_bytes(index[: draw.randrange(len(index))])
        return "cut off"
    if kind == 2:
        db, schema = sqlite3.connect(path), draw.choice(SCHEMAS)
        with db:
            db.execute(schema)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.close()
        return schema
    if kind == 3:
        path.write_bytes(index)
        path.with_name(f"{path.name}-wal").write_bytes(draw.randbytes(5000))
        return "a log of something else"
    if kind == 4:
        target = tmp_path / f"mine{number}"
        target.write_text("mine")
        path.symlink_to(target)
        return "a link"
    path.write_bytes(flipped(index, draw))
    return f"a flipped bit, {number}"


def test_flipped_bits_without_checksums(sound, size):
    """In the form before segments there are none: a flip is refused where it can be seen."""
    tally = Tally("bit flips in a store of the form before checksums", size)
    draw, store, became = random.Random(3), sound["old"], Counter()
    path = store.folder / "records.jsonl"
    data = path.read_bytes()
    for _ in range(size.of(6, 200)):
        found = damage(store, path, flipped(data, draw), "gone")
        same = not found.refused and found.parts == store.whole.parts
        became["refused" if found.refused else "as it was" if same else "changed"] += 1
        problems = [*found.raised]
        for message in found.refused.values():
            problems += ill_said(message, path)
        tally.case("a bit", problems)
    tally.end(**became)


PATHS = (
    "../x.json", "../../../x.json", "a/../../x.json", "/x.json", "{base}/outside/x.json", "..",
    ".", "", "/", "a/..", "./../x", "..\\x.json", "C:\\x.json", "a\0b.json", "a/" * 200 + "x",
    "x" * 300, "~/x.json", "$HOME/x.json", "records/x.jsonl", "records/index.sqlite",
    "records/lock", "Records/x.jsonl", "./records/x.jsonl", "records.jsonl", "a/../records/x.jsonl",
    "link/x.json", "link/../x.json", "tables", "file:///x", "\u202ex.json", "a\nb.json",
    "con", "aux.json", " ", "x.json/", "-rf", "*", "|cat",
)  # fmt: skip
"""Paths that somebody would like to have written to."""


def content_of(folder, *less):
    """Give what lies in a folder by path: what is in files, and where links lead."""
    return {
        str(path): path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        for path in sorted(folder.rglob("*"))
        if not any(path.is_relative_to(one) for one in less)
    }


@pytest.mark.parametrize("field", ["path", "experiment"])
def test_hostile_paths(tmp_path, size, field):
    """Nothing outside of the folder is written, nor the store itself, whatever rows name."""
    tally = Tally(f"hostile paths in rows, {field}", size)
    base, became = tmp_path / "a/b/c", Counter()
    outside, folder, out = base / "outside", base / "results/demo", base / "out"
    outside.mkdir(parents=True)
    (outside / "x.json").write_text("mine")
    ways = ["export files", "merge", "export csv", "tables", "report", "page"]
    for number, text in enumerate(PATHS if size.is_whole else PATHS[::6]):
        named = text.replace("{base}", str(base))
        for way in ways[:2] if field == "path" or not size.is_whole else ways:
            shutil.rmtree(folder, ignore_errors=True)
            one = item("L0H0")
            (folder / "records").mkdir(parents=True)
            (folder / "link").symlink_to(outside, target_is_directory=True)
            row = asdict(one[0]) | {"provenance": {"seed": 0}}
            row |= {"output": row["output"] | {"path": named}} if field == "path" else {}
            row |= {"experiment": named} if field == "experiment" else {}
            (folder / "records/20260101T000000000000-h-0.jsonl").write_bytes(
                sealed({"v": 3, "run": {"id": "x"}}, to_json) + sealed({"v": 3} | row, to_json)
            )
            store = content_of(folder / "records")
            before = content_of(tmp_path, folder, out)
            problems = list(gone(way, folder, out))
            (out / "direct").mkdir()
            (out / "direct/link").symlink_to(outside, target_is_directory=True)
            try:
                write_output(out / "direct", [replace(one[0], output=row["output"])], ())
            except InputError as error:
                became["refused where it is written"] += 1
                problems += ill_said(str(error))
            if content_of(tmp_path, folder, out) != before:
                problems.append("something outside is another")
            after = content_of(folder / "records")
            if any(after.get(path) != data for path, data in store.items()):
                problems.append("the store is another")
            tally.case(f"{named!r:.80} by {way}, {number}", problems)
    tally.end(**became)
