"""Sections of the report on the study as a whole: in short, setup, models, significance, texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emolib.reporting.cells import number
from emolib.reporting.comparison import compare, overlap
from emolib.reporting.experiments import (
    ABLATED,
    CIRCUIT,
    CIRCUITS,
    PROBED,
    SCREENED,
    STEERED,
)
from emolib.reporting.markdown import escape, table
from emolib.reporting.notes import clusters_of, notes, out_of_reach
from emolib.reporting.report_parts import heading, missing, named, title
from emolib.results.chances import chances
from emolib.results.frames import Lines
from emolib.results.glossary import setting
from emolib.results.item_files import scores_file
from emolib.results.rows import Row, group
from emolib.results.selection import (
    StudyKey,
    chosen_by_rank,
    clean_gap,
    is_joint,
    kinds,
    strongest,
    strongest_subjects,
    studies,
    study_of,
    subject,
)
from emolib.stats.significance import LEVEL

# Texts shown of a study, and rows named of those that are significant.
_SAMPLES, _NAMED = 3, 6
_FIGURES = ("plots/heads/*.png", "plots/attention/*.png", "plots/steering/*.png")
# What provenance has that is told elsewhere than among the settings.
_NO_SETTINGS = (
    "model", "shape", "heads", "units", "left_out", "in_pieces", "versions", "ablation", "prompts",
    "clean_gap",
)  # fmt: skip
# Settings that these experiments alone read, by how their names begin.
_READ_BY = {
    "circuit_": (CIRCUIT, CIRCUITS),
    "probe_": (PROBED,),
    "steering_": (STEERED,),
    "verify": (SCREENED,),
}


def in_short(ablated: Sequence[Row], patched: Sequence[Row]) -> Iterator[str]:
    """Yield what the strongest head of each study does, under every intervention."""
    yield "## In short"
    single = [row for row in ablated if "logit_diff" in row.vectors and not is_joint(row)]
    moved_of = studies(patched)
    lines: Lines = []
    for study, members in studies(single).items():
        best = strongest_subjects(members, "logit_diff", 1)[0]
        moved = moved_of.get(study, [])
        line: dict[str, Any] = named(study) | {"clean gap": clean_gap(moved), "head": best}
        for i, ((kind, *_), alike) in enumerate(kinds(members).items()):
            found = {subject(row): row for row in alike}.get(best)
            if found:
                line[title("Δ logit_diff", kind)] = found.values["logit_diff"]
                if i == 0:
                    line[title("texts changed", kind)] = found.mean("changed")
        for (_, direction, position), alike in kinds(moved).items():
            found = {subject(row): row for row in alike}.get(best)
            if found and position == found.provenance.get("position"):
                line[f"R, {direction}"] = found.mean("recovery")
        lines.append(line)
    if not lines:
        yield missing(ABLATED)
        return
    yield (
        "The head whose ablation moves logit_diff the most. logit_diff: mean logit of the "
        "emotion's words less that of neutral words at the last token, under the intervention "
        "less clean, with its 95 % CI; R: the share of the clean gap that patching the head moves."
    )
    yield table(lines)


class Setup:
    """What was run on what: models, prompts, settings and what was left out.

    Rows are seen one by one and none is kept.

    Attributes:
        models: By name what each model is.
        sizes: Of each study how many prompts it has, and how far its sides are apart.
        settings: By name the values of each, as texts; of what is off or empty throughout, none.
        versions: By library the versions.
        ablations: Kinds of ablation.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.models: dict[str, dict[str, Any]] = {}
        self.sizes: dict[StudyKey, dict[str, Any]] = {}
        self.settings: dict[str, set[str]] = {}
        self.versions: dict[str, set[str]] = {}
        self.ablations: set[str] = set()
        self._experiments: set[str] = set()
        self._left_out: dict[StudyKey, dict[str, Any]] = {}
        self._noted: list[Row] = []

    def see(self, row: Row) -> None:
        """Take note of a whole row."""
        told, model = row.provenance, row.dims.get("model", "")
        self._experiments.add(row.experiment)
        self.ablations |= {row.dims["ablation"]} if "ablation" in row.dims else set()
        if "model" in told:
            shape = told.get("shape", {})
            self.models[model] = {
                "model": model,
                "id": told["model"].get("id"),
                "type": told["model"].get("type"),
                "layers × heads": f"{shape.get('layers')} × {shape.get('heads')}",
                "weights": told["model"].get("weights"),
                "tokenizer": told["model"].get("tokenizer"),
            }
        if "prompts" in told:
            self.sizes[study_of(row)] = self._size(row)
        for name, value in told.items():
            if name not in _NO_SETTINGS and _is_on(value):
                self.settings.setdefault(name, set()).add(_shown(value))
        for name, version in told.get("versions", {}).items():
            self.versions.setdefault(name, set()).add(str(version))
        left_out = {name: told[name] for name in ("left_out", "in_pieces") if told.get(name)}
        if left_out and self._left_out.get(study_of(row)) != left_out:
            self._left_out[study_of(row)] = left_out
            self._noted.append(replace(row, provenance=left_out, vectors={}, texts={}, lists={}))

    def _size(self, row: Row) -> dict[str, Any]:
        study, told = study_of(row), row.provenance
        last = self.sizes.get(study, {})
        lengths = [len(values) for values in [*row.vectors.values(), *row.texts.values()]]
        gap = told.get("clean_gap")
        return named(study) | {
            "prompts": max(lengths, default=None) or last.get("prompts"),
            "templates": len(set(row.pairs.get("templates", ()))) or last.get("templates"),
            "left out": len(told.get("left_out", ())),
            "clean gap": round(gap, 2) if isinstance(gap, float) else last.get("clean gap"),
            "hash": told["prompts"],
        }

    def section(self) -> Iterator[str]:
        """Yield the section on what was seen."""
        yield "## Setup"
        if self.models:
            yield table(list(self.models.values()))
        if self.sizes:
            yield table([self.sizes[study] for study in sorted(self.sizes)])
        if lines := list(self._lines()):
            yield table(lines)
        if told_of := sorted(notes(self._noted)):
            yield "\n".join(f"- {escape(note)}" for note in told_of)

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield a line a setting, of those that anything that was run reads."""
        for name, values in sorted(self.settings.items()):
            readers = next((of for begin, of in _READ_BY.items() if name.startswith(begin)), ())
            if not readers or self._experiments.intersection(readers):
                yield {
                    "setting": name,
                    "value": ", ".join(sorted(values)),
                    "what it is": _meaning(name),
                }
        if self.versions:
            said = (f"{name} {', '.join(sorted(of))}" for name, of in sorted(self.versions.items()))
            yield {"setting": "versions", "value": ", ".join(said)}


def _is_on(value: Any) -> bool:
    # Of 0, which is a seed, False has to be told apart.
    return value is not None and value is not False and value not in ("", [], {})


def _shown(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_shown, value))
    return number(value) if isinstance(value, float) else str(value)


def _meaning(name: str) -> str:
    found = setting(name)
    return found.what if found else ""


def models(
    ablated: Sequence[Row], patched: Sequence[Row], screened: Sequence[Row]
) -> Iterator[str]:
    """Yield the comparison of models, and how far their rankings agree."""
    yield "## Models side by side"
    if lines := compare(ablated, patched):
        yield (
            "By logit_diff (logits). depth: 0 the first layer, 1 the last; significant: the share "
            f"of heads with q < {LEVEL}."
        )
        yield table(lines)
    else:
        yield missing(ABLATED)
    scored = [row for row in screened if {"model", "emotion", "heads"} <= row.dims.keys()]
    of_models = group(scored, lambda row: row.dims["model"])
    if ranks := overlap([scores_file(members) for members in of_models.values()]):
        yield "Rank correlation of |atp_ig| between models of one shape:"
        yield table(ranks)


def significance(
    *experiments: Sequence[Row], clusters: Callable[[Row], tuple[int, str]] = clusters_of
) -> Iterator[str]:
    """Yield, a line a table, how many rows are more than chance and which.

    Args:
        experiments: Rows with their vectors of ``logit_diff``.
        clusters: What `out_of_reach` asks, where rows are not whole.
    """
    yield "## What is significant"
    lines: Lines = []
    for rows in experiments:
        tested = [row for row in rows if not chosen_by_rank(row)]
        for study, members in studies(tested).items():
            for kind, alike in kinds(members).items():
                at = alike[0].provenance.get("position")
                if any("logit_diff" in row.vectors for row in alike) and kind[-1] in ("", at):
                    told = (alike[0].experiment, *study, *kind[:2])
                    lines.append({"table": ", ".join(filter(None, told))} | _found(alike))
    chosen = sum(chosen_by_rank(row) for rows in experiments for row in rows)
    if not lines and not chosen:
        yield missing(ABLATED)
        return
    yield (
        "By logit_diff: sign flips of templates (p), Benjamini–Hochberg over a table (q): of those "
        f"with q < {LEVEL} about that share may be false. max-T (Westfall and Young, step-down) is "
        f"stricter: below {LEVEL}, that is the most that the chance of any false one in the table "
        "can be, where effects are as likely to be x as −x; by Hall's t it holds better where they "
        "are skewed. What is not among them may have an effect that this run cannot tell from "
        "chance."
    )
    if chosen:
        yield (
            f"Not tested: {chosen} rows of what a rank chose on these same prompts (top:N). A q "
            "over the chosen would not count those they were chosen from; name them, or look at "
            "the confirmation on held-out templates."
        )
    if lines:
        yield table(lines)
        every = [row for rows in experiments for row in rows]
        if limits := list(out_of_reach(every, clusters)):
            yield "\n".join(f"- {escape(limit)}" for limit in limits)


def _found(alike: Sequence[Row]) -> dict[str, Any]:
    """Return how many rows of a table are more than chance, and which."""
    found = chances(alike, "logit_diff")
    ranked = [
        (subject(row), found[row.item, row.row])
        for row in strongest(alike, "logit_diff")
        if (row.item, row.row) in found
    ]
    discovered = [name for name, chance in ranked if chance.q < LEVEL]
    more = ", …" if len(discovered) > _NAMED else ""
    return {
        "tested": len(found),
        f"q below {LEVEL}": len(discovered),
        "which": ", ".join(discovered[:_NAMED]) + more or "none",
        f"max-T below {LEVEL}": sum(chance.family < LEVEL for _, chance in ranked),
        "by Hall's t": sum(chance.hall < LEVEL for _, chance in ranked),
    }


class Samples:
    """Texts before and after the strongest intervention of each study; only its row is kept."""

    def __init__(self, after: str) -> None:
        """Begin with nothing seen.

        Args:
            after: Name of the texts under the intervention.
        """
        self._after = after
        self._strongest: dict[StudyKey, Row] = {}

    def see(self, row: Row) -> None:
        """Take note of a whole row of ablation."""
        if self._after in row.texts and "clean_text" in row.texts:
            study = study_of(row)
            rivals = [row, *filter(None, [self._strongest.get(study)])]
            self._strongest[study] = strongest(rivals, "logit_diff", 1)[0]

    def section(self, count: int = _SAMPLES) -> Iterator[str]:
        """Yield the section on the texts that changed.

        Args:
            count: Texts shown of a study.
        """
        yield "## Texts"
        if not self._strongest:
            yield missing(ABLATED)
            return
        yield "Of the strongest row of each study, the texts whose emotion words changed the most."
        for study, row in sorted(self._strongest.items()):
            yield heading(study, f"{row.dims.get('ablation', 'ablation')} of {subject(row)}")
            yield from self._changed(row, count)

    def _changed(self, row: Row, count: int) -> Iterator[str]:
        texts = list(zip(row.texts["clean_text"], row.texts[self._after], strict=False))
        rates = row.vectors.get("keyword_rate", [])
        size = [abs(value) for value in rates] if len(rates) == len(texts) else [0.0] * len(texts)
        changed = [i for i, (clean, other) in enumerate(texts) if clean != other]
        if not changed:
            yield "No text changed."
            return
        prompts = row.texts.get("prompt", [])
        lines = []
        for i in sorted(changed, key=lambda i: (-size[i], i))[:count]:
            lines.append(f"- {escape(prompts[i]) if i < len(prompts) else f'prompt {i}'}")
            lines += [f"  - clean: {escape(texts[i][0])}", f"  - ablated: {escape(texts[i][1])}"]
        yield "\n".join(lines)


def figures(results: Path, folder: Path) -> Iterator[str]:
    """Yield links to the plots there are.

    Args:
        results: The results folder of the profile.
        folder: The folder of the report, which links go from.
    """
    yield "## Figures"
    files = [path for pattern in _FIGURES for path in sorted(results.glob(pattern))]
    if not files:
        yield "None yet: `python -m emolib plots`, then this report again."
    for path in files:
        link = Path(os.path.relpath(path, folder)).as_posix()
        yield f"![{escape(path.stem)}]({quote(link)})"
