"""A folder whose runs are struck, and what has to hold of it whatever happened."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from folders import CROSSED, INI, pairs, recorded
from forks import Ended, Forks

from emolib.files import sweep

EXPERIMENTS = """
import os, time
import numpy as np, pytest


@pytest.fixture(autouse=True)
def paused():
    yield
    time.sleep(float(os.environ.get("PAUSE", "0")))


@pytest.mark.results("own/{model}_{emotion}_{heads}.json")
def exp_own(emotion, heads, record):
    values = np.arange(len(emotion.pairs)) / 7 + len(str(heads))
    record(words=values, text=[f"é {heads} {pair.template}" for pair in emotion.pairs])


@pytest.mark.results("shared/{model}.json", shape="scores")
def exp_shared(head, emotion, record):
    record(atp_ig=[head.index + 1.0, head.index + 3.0], delta_out=2.0)


def exp_several(heads, emotion, record):
    for at in range(3):
        record(at=str(at), words=len(emotion.lexicon.words) + at / 3)
"""
MANY = ("--head-spec", "layer:1", "--head-spec", "layer:3")
"""What to run for 96 items."""
FEW = ("--head-spec", "1:0", "--model", "tiny-neo")
"""What to run for 6."""
_OF_ITS_RUN = ("run", "time", "commit")


@dataclass
class Place:
    """A folder of experiments, and what they record when nothing happens.

    Attributes:
        path: The folder.
        forks: Starts runs.
        args: What is typed for a run.
        seconds: How long a run takes.
        whole: By item its rows.
        files: By path what else is among the results.
    """

    path: Path
    forks: Forks
    args: tuple[str, ...]
    seconds: float
    whole: dict[str, list[Any]]
    files: dict[str, str]

    @classmethod
    def made(cls, path: Path, forks: Forks, args: tuple[str, ...]) -> Place:
        """Make the folder, and run everything in it once."""
        for name, text in {
            "pytest.ini": INI,
            "data/profiles/small.toml": CROSSED,
            "exp_effect.py": EXPERIMENTS,
            **{f"data/pairs/{e}.json": json.dumps(pairs(e)) for e in ("gratitude", "anger")},
        }.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text, "utf-8")
        place = cls(path, forks, ("--profile", "small", *args), 0, {}, {})
        done = place.run()
        assert done.code == 0, done.out
        place.seconds, place.whole, place.files = done.seconds, place.rows(), place.others()
        assert place.whole and place.files
        place.empty()
        return place

    @property
    def results(self) -> Path:
        """The results folder."""
        return self.path / "results/small"

    def run(self, *args: str, **how: Any) -> Ended:
        """Run all experiments."""
        return self.forks.run(self.path, *self.args, *args, **how)

    def empty(self) -> None:
        """Take everything away that runs have left."""
        shutil.rmtree(self.path / "results", ignore_errors=True)

    def rows(self) -> dict[str, list[Any]]:
        """Return the rows of each item, as often as it was recorded."""
        found: dict[str, list[Any]] = {}
        for row in recorded(self.results):
            found.setdefault(row["item"], []).append(_less(row))
        return found

    def others(self) -> dict[str, str]:
        """Return the files beside the store, without what tells runs apart."""
        return {
            path.relative_to(self.results).as_posix(): _content(path)
            for path in sorted(self.results.rglob("*"))
            if path.is_file() and path.parent != self.results / "records"
        }

    def problems(self, before: dict[str, list[Any]]) -> Iterator[str]:
        """Yield what is wrong with the rows that are there.

        Args:
            before: Those that were there before the run.
        """
        now = self.rows()
        for item in before.keys() - now.keys():
            yield f"lost {item}"
        for item, rows in now.items():
            if len(rows) > len(self.whole.get(item, ())):
                yield f"{item} is there {len(rows)} times"
            elif rows != self.whole[item]:
                yield f"changed {item}"

    def unfinished(self, *args: str) -> Iterator[str]:
        """Run what is missing, and yield what is wrong then."""
        old = time.time() - 7200
        for path in self.results.rglob(".*"):
            os.utime(path, (old, old))
        done = self.run(*args)
        if done.code != 0 or done.ugly or done.hung:
            yield f"the run after it ended with {done.code}: {done.ugly or done.out[-2000:]}"
            return
        yield from self.problems(self.whole)
        others = self.others()
        for name in self.files.keys() | others.keys():
            if self.files.get(name) != others.get(name):
                yield f"{name} is not as it was"
        if hidden := [path for path in self.results.rglob(".*") if path.is_file()]:
            yield f"left behind: {[path.name for path in hidden]}"
        sweep(self.results)


def _less(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: part for name, part in row.items() if name not in _OF_ITS_RUN}
    own = {n: part for n, part in row["provenance"].items() if n not in _OF_ITS_RUN}
    return kept | {"provenance": own}


def _content(path: Path) -> str:
    text = path.read_text("utf-8", "replace")
    if path.suffix == ".json":
        return json.dumps(_timeless(json.loads(text)), sort_keys=True)
    return text


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {n: _timeless(part) for n, part in value.items() if n not in _OF_ITS_RUN}
    return [_timeless(part) for part in value] if isinstance(value, list) else value
