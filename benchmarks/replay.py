"""Plugin of `scale.py`: keeps what items record, and records it for items of other heads.

``--keep-rows FILE`` writes what the items of a run record, ``--replay-rows FILE`` puts it in the
place of running them, with other numbers for every item. All else goes the way of any run: keys,
provenance, the store, results files and tables.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pytest_emolib.items import case_of, experiment_of
from pytest_emolib.reports import RECORDED, STORED, carried, records

_PARTS = ("labels", "values", "vectors", "texts", "lists", "pairs")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the two options."""
    parser.addoption("--keep-rows", type=Path, metavar="FILE")
    parser.addoption("--replay-rows", type=Path, metavar="FILE")


def pytest_configure(config: pytest.Config) -> None:
    """Put in what the options ask for."""
    if path := config.getoption("--keep-rows"):
        config.pluginmanager.register(Keeping(path))
    if path := config.getoption("--replay-rows"):
        config.pluginmanager.register(Replaying(path))


class Keeping:
    """Writes what items record to a file, a line an item."""

    def __init__(self, path: Path) -> None:
        """Begin the file."""
        self._path = path
        path.write_text("", encoding="utf-8")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write an item's rows, before they are taken off its report."""
        if rows := carried(report).get("rows"):
            dims = rows[0]["dims"]
            name = _name(rows[0]["experiment"], dims.get("emotion"), dims.get("ablation"))
            kept = [{part: row[part] for part in _PARTS} for row in rows]
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"name": name, "rows": kept}) + "\n")


class Replaying:
    """Has items record what was kept of one of their kind, with other numbers."""

    def __init__(self, path: Path) -> None:
        """Read what was kept."""
        with path.open(encoding="utf-8") as file:
            kept = [json.loads(line) for line in file]
        self._rows: dict[str, list[dict[str, Any]]] = {one["name"]: one["rows"] for one in kept}

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Let an item that is not in the store pass without running."""
        if not records(item) or STORED in item.stash:
            return
        item.setup = item.runtest = lambda: None  # type: ignore[method-assign]
        case = case_of(item)
        # crc32: hash() of a text differs from one process to the next.
        rng = np.random.default_rng(zlib.crc32(item.nodeid.encode()))
        kept = self._rows[_name(experiment_of(item), case.emotion, case.ablation)]
        item.stash[RECORDED] = [varied(row, rng) for row in kept]


def _name(experiment: str, emotion: str | None, ablation: str | None) -> str:
    return f"{experiment} {emotion} {ablation}"


def varied(row: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return a row with other numbers, as long as those it has; texts and pairs stay."""
    changed = dict(_changed(row, rng))
    vectors = {name: vector for name, (vector, _) in changed.items()}
    values = {name: value for name, (_, value) in changed.items()}
    for name in row["values"].keys() - changed.keys():
        value = row["values"][name]
        values[name] = value * rng.uniform(0.5, 1.5) if isinstance(value, float) else value
    return row | {"vectors": vectors, "values": {name: values[name] for name in row["values"]}}


def _changed(
    row: dict[str, Any], rng: np.random.Generator
) -> Iterator[tuple[str, tuple[list[float], Any]]]:
    for name, kept in row["vectors"].items():
        old, factor = np.array(kept), rng.uniform(-1.5, 1.5)
        vector = factor * old * rng.uniform(0.8, 1.2, len(old))
        yield name, (vector.tolist(), _summary(row["values"][name], vector, abs(factor)))


def _summary(old: Any, vector: Any, factor: float) -> Any:
    """Return the summary of changed values; its CI is the old one's, as wide as they are now."""
    if old is None or not isinstance(old, dict):
        return old
    mean, sd = float(vector.mean()), float(vector.std(ddof=1))
    new = old | {"mean": mean, "sd": sd}
    if old["ci"]:
        new["ci"] = [mean + factor * (end - old["mean"]) for end in old["ci"]]
    if old["d_z"] and sd:
        new |= {"d_z": mean / sd, "g_z": mean / sd * old["g_z"] / old["d_z"]}
    return new
