"""Results made by hand: folders of a store and its files as a run would leave them, and rows."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from emolib.results.item_files import write_output
from emolib.results.records import Store
from emolib.results.rows import Row, sort_values
from emolib.stats import bootstrap
from emolib.stats.summary import summarize

HOSTILE = "a|b `c` <script>x</script> ](y) $z$ \\n *d*\n# e\n1. f & \\frac{}_{}"
PAIRS = 24
TEMPLATES = [f"t{i // 2}" for i in range(PAIRS)]
KINDS = ("zero", "mean", "resample")
FEW = 8
"""Prompts of the rows of `rows_of`, each of a template of its own."""


def make_results(
    folder: Path,
    models: tuple[str, ...] = ("one", "two"),
    emotions: tuple[str, ...] = ("joy", "fear"),
    shape: tuple[int, int] = (2, 2),
    text: str = "some text",
    reliability: float | None = 0.9,
) -> Path:
    """Write screening, ablation, patching and attention of every head; L1H0 matters, by -2.

    What was made before in this process is copied.
    """
    made = _made(models, emotions, shape, text, reliability)
    shutil.copytree(made, folder, dirs_exist_ok=True)
    return folder


@cache
def _made(
    models: tuple[str, ...],
    emotions: tuple[str, ...],
    shape: tuple[int, int],
    text: str,
    reliability: float | None,
) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="emolib-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    rng = np.random.default_rng(0)
    store = Store(folder)
    for model in models:
        for emotion in emotions:
            for layer in range(shape[0]):
                for head in range(shape[1]):
                    matters = -2.0 if (layer, head) == (1, 0) else 0.0
                    study = _Study(store, folder, model, emotion, f"L{layer}H{head}", shape)
                    noise = rng.normal(0, 0.3, PAIRS)
                    study.add_scores(matters + noise, reliability)
                    study.add_ablation(matters + noise, text)
                    study.add_patching(matters + noise, text)
                    study.add_attention(np.abs(noise))
    scores: dict[str, Row] = {}
    for row in store.rows():
        if row.output.get("shape") == "scores":
            scores[row.output["path"]] = row
    for row in scores.values():
        write_output(folder, [row], list(store.rows()))
    store.close()
    return folder


@cache
def _summary(vector: tuple[float, ...]) -> dict[str, Any]:
    # Intervals are what making results takes long for, and nobody looks at their third digit.
    with resamples(1000):
        return summarize(vector, TEMPLATES)


@contextmanager
def resamples(count: int) -> Iterator[None]:
    """Draw so many resamples for intervals; what was drawn before or in here is not kept."""
    kept = bootstrap._drawn, bootstrap._sizes
    for one in kept:
        one.cache_clear()
    with mock.patch.object(bootstrap, "BOOTSTRAPS", count):
        yield
    for one in kept:
        one.cache_clear()


class _Study:
    def __init__(self, store: Store, folder: Path, *named: Any) -> None:
        self.store, self.folder = store, folder
        self.model, self.emotion, self.heads, self.shape = named

    def add_scores(self, values: Any, reliability: float | None) -> None:
        recorded = {"atp_ig": values, "dla": values, "delta_out": 1.0, "reliability": reliability,
                    "rank_correlation": None}  # fmt: skip
        path = f"alignment/head_scores_{self.model}.json"
        self._add("head_screening", {}, [recorded], {"path": path, "shape": "scores"})

    def add_ablation(self, values: Any, text: str) -> None:
        for kind in KINDS:
            effect = values * (0.05 if kind == "mean" else 1)
            recorded = {
                "logit_diff": effect, "sentiment": effect / 10, "keyword_rate": effect,
                "keyword_rate_joy": effect, "changed": np.ones(PAIRS), "prompt": [text] * PAIRS,
                "clean_text": [text] * PAIRS, "ablated_text": [f"{text} {i}" for i in range(PAIRS)],
            }  # fmt: skip
            path = f"patching/head_ablation/{self.model}_{self.emotion}_{self.heads}-{kind}.json"
            output = {"path": path, "shape": "item"}
            self._add("head_ablation", {"ablation": kind}, [recorded], output)

    def add_patching(self, values: Any, text: str) -> None:
        records = []
        for direction, sign in (("denoise", -1), ("noise", 1)):
            for position in ("last", "slot"):
                record = {"direction": direction, "position": position,
                          "logit_diff": sign * values, "recovery": None,
                          "why_no_recovery": "the clean gap is below 0.1"}  # fmt: skip
                if position == "last":
                    record |= {"keyword_rate_joy": values, "keyword_rate_fear": values / 2,
                               "patched_text": [text] * PAIRS}  # fmt: skip
                records.append(record)
        path = f"patching/head_patching/{self.model}_{self.emotion}_{self.heads}.json"
        self._add("head_patching", {}, records, {"path": path, "shape": "item"})

    def add_attention(self, values: Any) -> None:
        tokens = [["<s>", "$x_1$", "a\nb", "end"] for _ in range(PAIRS)]
        recorded: dict[str, Any] = {"delta_slot": values}
        for side in ("emotion", "neutral"):
            recorded |= {f"{side}_{place}": values for place in
                         ("slot", "start", "previous", "self")}  # fmt: skip
            recorded[f"{side}_tokens"] = tokens
            recorded[f"{side}_attention"] = [[0.1, 0.2, 0.3, 0.4]] * PAIRS
        recorded["slot"] = [[1, 3]] * PAIRS
        path = f"attention/{self.model}_{self.emotion}_{self.heads}.json"
        self._add("attention_patterns", {}, [recorded], {"path": path, "shape": "item"})

    def _add(self, experiment: str, dims: Any, records: list[Any], output: Any) -> None:
        dims = {"model": self.model, "emotion": self.emotion, "heads": self.heads} | dims
        item = f"exp_x.py::exp_{experiment}[{'-'.join(dims.values())}]"
        # No file is called what nobody can see.
        seen = "".join(c if c.isprintable() else "-" for c in output["path"])
        output = output | {"path": seen}
        model = {"id": self.model, "type": "gpt2", "weights": "w", "tokenizer": "t"}
        shape = {"layers": self.shape[0], "heads": self.shape[1]}
        rows = []
        for i, recorded in enumerate(records):
            found = sort_values(recorded, lambda vector: _summary(tuple(vector)))
            pairs = {"ids": [f"p{k}" for k in range(PAIRS)], "templates": TEMPLATES}
            rows.append(
                Row(
                    item,
                    experiment,
                    item,
                    i,
                    len(records),
                    dims,
                    context="c",
                    output=output,
                    pairs=pairs,
                    time="2026-01-01T00:00:00",
                    provenance={
                        "model": model,
                        "shape": shape,
                        "position": "last",
                        "seed": 0,
                        "prompts": "h",
                        "versions": {"torch": "2"},
                    },
                    **found,
                )
            )
        self.store.append(rows)
        if output["shape"] == "item":
            write_output(self.folder, rows, ())


def rows_of(experiment: str, *records: dict[str, Any], **dims: str) -> list[Row]:
    """Give the rows of one item as the store would give them; its vectors are `FEW` numbers."""
    dims = {"model": "one", "emotion": "joy"} | dims
    name = f"exp_x.py::exp_{experiment}[{'-'.join(dims.values())}]"
    pairs = {"ids": [f"p{i}" for i in range(FEW)], "templates": [f"t{i}" for i in range(FEW)]}
    return [
        Row(name, experiment, name, i, len(records), dims, pairs=pairs,
            **sort_values(record, summarize))
        for i, record in enumerate(records)
    ]  # fmt: skip


def around(mean: float) -> list[float]:
    """Give `FEW` effects, the least of them `mean`."""
    return [mean + 0.01 * i for i in range(FEW)]


def changed(folder: Path, change: Callable[[Any], Any], **options: Any) -> Path:
    """Give results whose rows, as JSON, went through `change`; None drops a row."""
    source = make_results(folder / "source", **{"models": ("one",), "emotions": ("joy",)} | options)
    store, mine = Store(source), Store(folder / "mine")
    for key in store:
        made = [Row(**row) for row in map(change, map(asdict, store[key])) if row]
        if made:
            mine.append([replace(row, of=len(made), row=i) for i, row in enumerate(made)])
    mine.close()
    return folder / "mine"


def sections(text: str) -> dict[str, str]:
    """Give the sections of a report by their titles."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def told(report: Path) -> dict[str, str]:
    """Give the sections of a report and of its pages, those of pages where both have one."""
    files = [report, *sorted((report.parent / "tables").glob("*.md"))]
    return {name: part for file in files for name, part in sections(_text(file)).items()}


def whole(report: Path) -> str:
    """Give the text of a report and of its pages."""
    return "\n".join(map(_text, [report, *sorted((report.parent / "tables").glob("*.md"))]))


def _text(file: Path) -> str:
    return file.read_text("utf-8")


def lines_of(part: str) -> list[dict[str, str]]:
    """Give the lines of the one table in a text in Markdown, each by column."""
    cells = [
        [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in part.splitlines()
        if line.startswith("|")
    ]
    names, _, *lines = cells
    return [dict(zip(names, line, strict=True)) for line in lines]
