"""Stores to be damaged, and all that there is to read of one."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock
from zlib import crc32

from made import rows_of

from emolib.errors import InputError
from emolib.results import packing
from emolib.results.lines import OUTLINE
from emolib.results.packing import pack
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.segments import segments

Parts = dict[str, Any]
LONGEST = 1600
"""Characters that a message may have, less the paths in it."""


def item(name: str, *, of: int = 1, effect: float = 1.0, context: str = "c") -> list[Row]:
    """Return the rows of an item that has a bit of everything."""
    shared = [f"the same text in every item {i}, long enough to be written once" for i in range(8)]
    recorded = {
        "logit_diff": [effect + i / 7 for i in range(8)], "rank": 3, "undefined": None,
        "why": 'é "\\ \u2028 {"', "prompt": shared, "said": [f"{name} é {i}\n" for i in range(8)],
        "tokens": [["a", 1.5, f"{i}"] for i in range(8)],
    }  # fmt: skip
    told = {
        "model": {"id": "one", "type": "gpt2", "weights": "w" * 64, "tokenizer": "t", "config": ""},
        "shape": {"layers": 2, "heads": 2}, "heads": [name], "prompts": "h" * 16, "seed": 0,
        "versions": {"torch": "2"}, "position": "last",
    }  # fmt: skip
    made = rows_of("head_ablation", *[recorded] * of, heads=name, ablation="zero")
    return [
        replace(row, key=f"key-{name}-{context}", context=context, provenance=told,
                output={"path": f"effects/{name}.json", "shape": "item"}, time="2026-01-01")
        for row in made
    ]  # fmt: skip


def number(name: str) -> list[Row]:
    """Return the row of an item that has a number and a text alone."""
    found = rows_of("own", {"words": len(name) / 3, "note": name}, heads=name)
    return [replace(row, key=f"own-{name}", pairs={}, provenance={"seed": 1}) for row in found]


def made(folder: Path) -> list[Row]:
    """Write a store of five runs, of which one was killed; return the rows that are in it."""
    told = {"command": "pytest experiments", "settings": {"seed": 0, "models": ["one"]}}
    runs: list[tuple[str | None, list[list[Row]], list[str]]] = [
        (None, [item("L0H0"), item("L0H1", of=3), number("L0H0"), number("L1H1")], []),
        (None, [item("L1H0", context="d"), number("L0H1")], ["key-L0H0-c", "own-L1H1"]),
        ("1/2", [item("L1H1", context="d")], []),
        ("2/2", [], []),
        (None, [item("L0H0", effect=1.0), number("L1H0"), item("L9H9", of=2)], []),
    ]
    rows: dict[str, list[Row]] = {}
    for shard, items, replayed in runs:
        store = Store(folder)
        store.open(shard=shard, about=lambda: told)
        for one in items:
            store.append(one)
            rows[one[0].key] = one
        for key in replayed:
            store.touch(key)
        store.close()
    last = list(segments(folder).values())[-1].path
    lines = last.read_bytes().splitlines(keepends=True)
    last.write_bytes(b"".join(lines[:-2]) + lines[-2][:100])
    del rows["key-L9H9-c"]
    return [row for one in rows.values() for row in one]


def older(folder: Path) -> list[Row]:
    """Write a store of the form before segments, and a run after it; return its rows."""
    rows = [*item("L0H0"), *item("L0H1", of=3), *number("L0H0")]
    folder.mkdir(parents=True)
    lines = [json.dumps({"v": 2} | asdict(row), ensure_ascii=False) + "\n" for row in rows]
    (folder / "records.jsonl").write_text("".join(lines), "utf-8")
    store = Store(folder)
    store.append(number("L1H0"))
    store.touch("key-L0H0-c")
    store.close()
    return [*rows, *number("L1H0")]


def packed(folder: Path) -> None:
    """Pack a store into members of a few items."""
    with mock.patch.object(packing, "_MEMBER", 6000):
        assert all(not one.why_not for one in pack(folder))


@dataclass(frozen=True)
class Read:
    """What came of reading all of a store.

    Attributes:
        parts: By what was asked the answer.
        refused: By what was asked the message of the `InputError`.
        raised: What else was raised, a line each.
    """

    parts: Parts
    refused: dict[str, str]
    raised: list[str]


def _asked(store: Store) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "under", store.under
    yield "rows", lambda: list(store.rows())
    yield "outlines", lambda: {key: store.outline(key) for key in store}
    yield "items", lambda: {key: store[key] for key in store}
    for written in (False, True):
        yield (
            f"whole {written}",
            lambda written=written: [
                row
                for name in store.experiments()
                for row in store.whole_rows(name, as_written=written)
            ],
        )
    yield "again", lambda: list(store.recorded_again())
    yield "runs", store.runs
    yield "of runs", lambda: [list(store.rows(run=run.id)) for run in store.runs()]
    yield "repaired", lambda: store.repaired


def read(folder: Path) -> Read:
    """Read all of a store in every way that there is."""
    found = Read({}, {}, [])
    try:
        store = Store(folder)
    except InputError as error:
        found.refused["open"] = str(error)
        return found
    except Exception as error:
        found.raised.append(f"opening it: {error!r:.300}")
        return found
    for what, ask in _asked(store):
        try:
            found.parts[what] = ask()
        except InputError as error:
            found.refused[what] = str(error)
        except Exception as error:
            found.raised.append(f"{what}: {error!r:.300}")
    return found


def ill_said(message: str, *named: Path | str) -> Iterator[str]:
    """Yield what is wrong with a message: more than a line, too long, or it names no file."""
    rest = message
    for name in named:
        rest = rest.replace(str(name), "")
    if len(message.splitlines()) != 1 or not message.isprintable():
        yield f"more than a line, or controls: {message!r:.300}"
    if len(rest) > LONGEST:
        yield f"a message of {len(rest)} characters: {message!r:.200}"
    if named and not any(str(name) in message for name in named):
        yield f"names no file: {message!r:.300}"


def sealed(data: dict[str, Any], encode: Callable[[Any], bytes]) -> bytes:
    """Return a line with a checksum that fits, whatever it holds.

    Args:
        data: What it holds beside its checksum.
        encode: Makes JSON of that.
    """
    body = encode(data)[:-1]
    if "item" in data:
        head = encode({n: part for n, part in data.items() if n in ("v", *OUTLINE)})[:-1]
        rest = encode({n: part for n, part in data.items() if n not in ("v", *OUTLINE, "outline")})
        body = b'%b, %b, "outline": %d' % (head, rest[1:-1], len(head))
    return body + b', "crc": "%08x"}\n' % crc32(body)


def opened(line: bytes) -> dict[str, Any]:
    """Return what a line holds beside its checksum."""
    data: dict[str, Any] = json.loads(line)
    del data["crc"]
    return data


def rewrite(path: Path, data: bytes, times: os.stat_result | None = None) -> None:
    """Write a file anew in its place.

    Args:
        path: The file.
        data: What is to be in it.
        times: When it was written, as far as its time tells.
    """
    with path.open("r+b") as file:
        file.truncate(len(data))
        file.write(data)
    if times is not None:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def study(folder: Path, **named: Any) -> Path:
    """Write results that every table, plot and section takes something from."""
    # What makes them lies beside the tests of the page.
    for place in ("reporting", "reporting/page"):
        if (path := str(Path(__file__).parents[1] / place)) not in sys.path:
            sys.path.append(path)
    from page_results import page_results

    return page_results(
        folder, **{"models": ("one",), "emotions": ("joy",), "shape": (1, 2)} | named
    )
