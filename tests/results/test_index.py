"""The index: made again whenever it is gone, old or damaged; kept elsewhere where it has to be."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from emolib.errors import InputError
from emolib.results import index as index_module
from emolib.results import intake
from emolib.results.index import Index
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import RECORDS


def rows(name, of=1, **changes):
    row = Row(f"exp_x.py::exp_x[{name}]", "x", f"key-{name}", 0, of, {"model": "m", "h": name})
    return [replace(row, row=i, values={"n": float(i)}, **changes) for i in range(of)]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = Store(tmp_path / "demo")
    for name in "abc":
        store.append(rows(name, 2))
    store.close()
    return tmp_path / "demo"


@pytest.fixture
def file(folder):
    return folder / RECORDS / "index.sqlite"


def shown(folder):
    return list(Store(folder).rows())


def tables(file):
    """Return all that an index holds."""
    db = sqlite3.connect(file)
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found = {name: sorted(map(repr, db.execute(f"SELECT * FROM {name}"))) for name in names}
    db.close()
    return found


EXPECTED = [row for name in "abc" for row in rows(name, 2)]


def test_made_while_writing_it_is_what_is_made_by_reading(folder, file):
    written = tables(file)
    assert written["items"] and written["metrics"] and written["outlines"]
    file.unlink()
    assert shown(folder) == EXPECTED
    assert tables(file) == written


def test_a_metric_has_a_row_with_its_numbers(folder, file):
    store = Store(folder)
    summary = {"mean": 0.5, "ci": [0.25, 0.75], "n": 8, "sd": 1.0, "d_z": 2.0, "g_z": 1.9}
    values = {"kl": summary, "rank": 3, "gap": None, "alone": summary | {"ci": None, "d_z": None}}
    store.append([replace(rows("d")[0], values=values)])
    store.close()
    db = sqlite3.connect(file)
    found = db.execute(
        "SELECT name, mean, low, high, n, d_z FROM metrics m JOIN items i ON i.id = m.item "
        "WHERE i.key = 'key-d'"
    )
    assert sorted(found) == [
        ("alone", 0.5, None, None, 8, None), ("gap", None, None, None, None, None),
        ("kl", 0.5, 0.25, 0.75, 8, 2.0), ("rank", 3.0, None, None, None, None),
    ]  # fmt: skip
    db.close()


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"x" * 5000])
def test_a_file_that_is_none_is_replaced(folder, file, content):
    file.write_bytes(content)
    assert shown(folder) == EXPECTED
    assert tables(file)["items"]


def test_one_that_is_damaged_inside_is_replaced(folder, file):
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)
    assert shown(folder) == EXPECTED


def test_one_of_another_version_is_replaced(folder, file):
    db = sqlite3.connect(file)
    db.execute("PRAGMA user_version = 99")
    db.execute("DROP TABLE items")
    db.close()
    assert shown(folder) == EXPECTED


def test_a_start_reads_no_more_than_what_came_since(folder, monkeypatch):
    store = Store(folder)
    store.append(rows("d"))
    read = []
    through = index_module.Walk.through
    monkeypatch.setattr(
        index_module.Walk, "through", lambda walk, lines: through(walk, _noted(lines, read))
    )
    assert [row.item[-2] for row in shown(folder)] == list("aabbccd")
    assert len(read) == 2, "the first line of the new segment and its row"
    assert len(shown(folder)) == 7 and len(read) == 2
    store.close()


def _noted(lines, read):
    for line in lines:
        read.append(line)
        yield line


def test_what_is_replaced_by_another_file_is_read_anew(folder):
    (path,) = (folder / RECORDS).glob("*.jsonl")
    other = Store(folder.parent / "other")
    other.append(rows("z", 40))
    other.close()
    (found,) = (folder.parent / "other" / RECORDS).glob("*.jsonl")
    path.write_bytes(found.read_bytes())
    assert shown(folder) == rows("z", 40)
    path.unlink()
    assert shown(folder) == [] and Store(folder).runs() == []


def test_many_items_are_taken_in_bit_by_bit(folder, file, monkeypatch):
    monkeypatch.setattr(index_module, "_BATCH", 2)
    before = tables(file)
    file.unlink()
    assert shown(folder) == EXPECTED and tables(file) == before


def test_damage_is_found_however_far_it_was_read(folder, file, monkeypatch):
    monkeypatch.setattr(index_module, "_BATCH", 2)
    (path,) = (folder / RECORDS).glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], b"x\n", *lines[6:]]))
    file.unlink()
    for _ in range(2):
        with pytest.raises(InputError, match="line 6: not JSON"):
            Store(folder)


# Where it lies


def elsewhere(folder, monkeypatch):
    monkeypatch.setattr(index_module, "is_local", lambda path: False)
    (folder / RECORDS / "index.sqlite").unlink()


def test_on_a_network_s_disk_it_lies_in_the_cache(folder, file, monkeypatch, tmp_path):
    elsewhere(folder, monkeypatch)
    assert shown(folder) == EXPECTED and not file.exists()
    (cached,) = (tmp_path / "cache/emolib").rglob("index.sqlite")
    state = cached.stat().st_mtime_ns
    assert shown(folder) == EXPECTED and cached.stat().st_mtime_ns == state


def test_where_nothing_can_be_written_it_is_temporary(folder, monkeypatch, tmp_path):
    elsewhere(folder, monkeypatch)
    (tmp_path / "cache").write_text("in the way")
    before = sorted(tmp_path.rglob("*"))
    assert shown(folder) == EXPECTED
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_written_is_read(folder, file, monkeypatch, tmp_path):
    """Permissions do not hold for root, who tests may run as; a folder in the way does."""
    file.unlink()
    file.mkdir()
    assert shown(folder) == EXPECTED
    assert list((tmp_path / "cache/emolib").rglob("index.sqlite"))


# Several at once


READ = """
import sys
from pathlib import Path
from emolib.results.records import Store
for _ in range(15):
    rows = list(Store(Path(sys.argv[1])).rows())
    assert len(rows) % 2 == 0 and len(rows) >= int(sys.argv[2]), len(rows)
"""


def test_some_read_while_one_writes(folder, file):
    file.unlink()
    readers = [
        subprocess.Popen([sys.executable, "-c", READ, str(folder), "6"], stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    store = Store(folder)
    added = 0
    while any(reader.poll() is None for reader in readers):
        store.append(rows(f"d{added}", 2))
        added += 1
        if added % 5 == 0:
            assert len(list(store.rows())) == 2 * (3 + added)
    assert [(r.returncode, r.communicate()[1]) for r in readers] == [(0, b"")] * 2
    store.close()
    assert len(shown(folder)) == 2 * (3 + added)
    before = {name: rows for name, rows in tables(file).items() if name == "metrics"}
    file.unlink()
    shown(folder)
    assert {"metrics": tables(file)["metrics"]} == before


def test_one_that_is_held_too_long_is_done_without(folder, file, monkeypatch):
    monkeypatch.setattr(index_module, "_WAIT", 0.1)
    threads = threading.active_count()
    holder = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    try:
        store = Store(folder)
        store.append(rows("d"))
        assert len(list(store.rows())) == 7
        store.close()
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    assert len(shown(folder)) == 7
    assert threading.active_count() == threads


def test_tables_are_what_the_schema_says(folder, file):
    assert set(tables(file)) == {
        line.split("(")[0].removeprefix("CREATE TABLE ").strip()
        for line in intake.SCHEMA.splitlines()
        if line.startswith("CREATE TABLE")
    }
    index = Index(folder)
    assert list(index.segments) == [state.name for state in index.ask.states()]
    index.close()


def test_where_there_is_no_room_to_note_what_was_made_nothing_else_is_lost(folder):
    index = Index(folder)
    index._db.execute(
        f"PRAGMA max_page_count = {index._db.execute('PRAGMA page_count').fetchone()[0]}"
    )
    with pytest.raises(sqlite3.OperationalError, match="full"):
        index._db.execute("INSERT INTO made VALUES ('y', ?)", ("s" * 100_000,))
    index.note_made("x", "s" * 100_000)
    assert index.ask.made("x") is None and not index._db.in_transaction
    index.close()
    assert shown(folder) == EXPECTED


@pytest.mark.parametrize("what", ["outline", "place", "trigger", "view"])
def test_an_index_that_says_other_things_is_never_believed(tmp_path, what):
    """A flipped digit, a place that is not there, tables of somebody else's."""
    store = Store(tmp_path)
    for name in "ab":
        store.append([replace(row, values={"n": 1.5}) for row in rows(name)])
    store.close()
    before = list(Store(tmp_path).rows())
    db = sqlite3.connect(tmp_path / "records/index.sqlite")
    with db:
        if what == "outline":
            (blob,) = db.execute("SELECT outline FROM outlines WHERE item = 1").fetchone()
            changed = blob.replace(b'"n": 1.5', b'"n": 9.5')
            db.execute("UPDATE outlines SET outline = ? WHERE item = 1", (changed,))
        elif what == "place":
            db.execute("UPDATE items SET offset = offset + 1 WHERE id = 1")
        elif what == "trigger":
            db.execute("CREATE TRIGGER t AFTER INSERT ON items BEGIN DELETE FROM items; END")
        else:
            db.execute("ALTER TABLE outlines RENAME TO other")
            db.execute("CREATE VIEW outlines AS SELECT item, outline, crc FROM other")
    db.close()
    if what in ("outline", "place"):
        broken = Store(tmp_path)
        with pytest.raises(InputError, match=r"index\.sqlite: the index is damaged .*taken away"):
            list(broken.whole_rows("x") if what == "place" else broken.rows())
    assert list(Store(tmp_path).rows()) == before


@pytest.mark.parametrize("change", [
    "UPDATE shared SET offset = offset + 1", "UPDATE shared SET hash = 'x' || hash",
    "DELETE FROM shared",
])  # fmt: skip
def test_an_index_at_fault_is_told_from_a_segment(tmp_path, change):
    """What rows refer to stands elsewhere by it, or nowhere: no segment is blamed."""
    store = Store(tmp_path)
    told = {"model": {"id": "m" * 200}, "seed": 0}
    store.append(rows("a", provenance=told, pairs={"ids": ["p" * 200]}))
    store.close()
    before = list(Store(tmp_path).whole_rows("x"))
    del store
    db = sqlite3.connect(tmp_path / "records/index.sqlite")
    with db:
        db.execute(change)
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    for ask in (Store.rows, lambda store: store.whole_rows("x")):
        index = (tmp_path / "records/index.sqlite").read_bytes()
        with pytest.raises(InputError, match=r"index\.sqlite: the index is damaged"):
            list(ask(Store(tmp_path)))
        assert not (tmp_path / "records/index.sqlite").exists()
        (tmp_path / "records/index.sqlite").write_bytes(index)
    (tmp_path / "records/index.sqlite").unlink()
    assert list(Store(tmp_path).whole_rows("x")) == before
