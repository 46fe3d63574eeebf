"""The report of a study: what was run, what heads do, what is more than chance, and samples.

Made from ``records.jsonl`` alone, so that the same records give the same bytes.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

from emolib.comparison import COMPARED, compare, families, markdown, overlap
from emolib.errors import InputError
from emolib.notes import notes
from emolib.outputs import write_text
from emolib.profiles import Ablation
from emolib.records import Row, Store
from emolib.significance import of_rows
from emolib.stats import unreliable
from emolib.tables import number

_SAMPLES, _LONGEST, _CONSTANT = 3, 300, 0.2
_FIGURES = ("plots/heads/*.png", "plots/attention/*.png")
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")
# What begins a list, a heading or a line below one, where it stands first.
_OPENING = re.compile(r"^(\s*\d*)([.)#+=-])")
Chances = dict[tuple[str, int], tuple[float, float]]


def write_report(
    results: Path, out: Path | None = None, *, emotion: str | None = None, top_n: int = 10
) -> Path:
    """Write ``head_analysis_report.md`` and return it.

    Args:
        results: The results folder of a profile.
        out: Folder of the report; ``report`` in `results` by default.
        emotion: Report on this emotion alone.
        top_n: Heads a table.

    Raises:
        InputError: When there are no records, or none on `emotion`.
    """
    store = Store(results / "records.jsonl")
    outlines = [row for row in store.rows() if emotion in (None, row.dims.get("emotion"))]
    if not outlines:
        about = f" on {emotion!r}" if emotion else ""
        raise InputError(f"{store.path}: no rows{about}; run `pytest experiments` first")
    keys = {row.key for row in outlines}

    def rows(experiment: str) -> list[Row]:
        return [row for row in store.whole_rows(experiment) if row.key in keys]

    folder = out or results / "report"
    ablation, patching = rows(COMPARED), rows("head_patching")
    sections = [
        f"# Head analysis: {escape(results.name)}",
        *_setup(outlines),
        *_screening(rows("head_screening"), top_n),
        *_ablation(ablation, top_n),
        *_patching(patching, top_n),
        *_attention(rows("attention_patterns"), top_n),
        *_models(ablation, results),
        *_significance(ablation, patching),
        *_samples(ablation, "ablated_text"),
        *_figures(results, folder),
    ]
    path = folder / "head_analysis_report.md"
    write_text(path, "\n\n".join(sections) + "\n")
    return path


def escape(text: str) -> str:
    r"""Return text that Markdown and HTML show as it is, on one line, cut where it is long.

    >>> print(escape("a|b <i> *c*"))
    a\|b &lt;i&gt; \*c\*
    """
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    shown = html.escape(" ↵ ".join(text.strip().splitlines()), quote=False)
    return _OPENING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", shown))


def _setup(rows: Sequence[Row]) -> Iterator[str]:
    yield "## Setup"
    models: dict[str, dict[str, Any]] = {}
    for row in rows:
        if "model" in row.provenance:
            found, shape = row.provenance["model"], row.provenance.get("shape", {})
            models[row.dims["model"]] = {
                "model": row.dims["model"],
                "id": escape(found["id"]),
                "type": found["type"],
                "layers × heads": f"{shape.get('layers')} × {shape.get('heads')}",
                "weights": found["weights"],
                "tokenizer": found["tokenizer"],
            }
    yield markdown(list(models.values()))
    skipped = ("model", "shape", "heads", "left_out", "in_pieces", "versions", "ablation",
               "prompts")  # fmt: skip
    settings: dict[str, set[str]] = {}
    for row in rows:
        for name, value in row.provenance.items():
            if name not in skipped:
                settings.setdefault(name, set()).add(str(value))
        for name, value in row.provenance.get("versions", {}).items():
            settings.setdefault(name, set()).add(str(value))
        if "prompts" in row.provenance:
            name = f"prompts of {row.dims['emotion']}"
            settings.setdefault(name, set()).add(row.provenance["prompts"])
    yield markdown(
        [
            {"setting": name, "value": escape(", ".join(sorted(values)))}
            for name, values in sorted(settings.items())
        ]
    )
    yield from (f"- {escape(note)}" for note in sorted(notes(rows)))


def _screening(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    yield "## Screening"
    if not rows:
        yield _missing("exp_head_screening.py")
    for (model, emotion, *_), members in families(rows).items():
        reliability = members[0].values.get("reliability")
        chances = of_rows(members, "atp_ig")
        ranked = _strongest(members, "atp_ig", top_n)
        doubt = unreliable(reliability)
        if doubt:
            ranked = sorted(ranked, key=lambda row: row.item)
        yield f"### {model}, {emotion}"
        yield (
            f"No ranking: {doubt}. The heads below stand in order of their names."
            if doubt
            else f"By |atp_ig|; split-half reliability {reliability:.2f}, rank correlation with "
            f"exact patching {_number(members[0].values.get('rank_correlation'))}."
        )
        columns = ("delta_attn", "dla", "delta_proj", "delta_out", "patch_denoise", "patch_noise")
        yield markdown(
            [
                {"head": row.dims["heads"], "atp_ig (logits)": _interval(row, "atp_ig")}
                | _chance(chances, row)
                | {name: _number(_mean(row, name)) for name in columns}
                for row in ranked
            ]
        )


def _ablation(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    yield "## Ablation"
    if not rows:
        yield _missing("exp_head_ablation.py")
    studies: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        studies.setdefault((row.dims["model"], row.dims["emotion"]), []).append(row)
    for (model, emotion), members in studies.items():
        yield f"### {model}, {emotion}"
        kinds = [
            kind
            for kind in get_args(Ablation)
            if any(row.dims["ablation"] == kind for row in members)
        ]
        chances: Chances = {}
        for family in families(members).values():
            chances |= of_rows(family, "logit_diff")
        by_head: dict[str, dict[str, Row]] = {}
        for row in members:
            by_head.setdefault(row.dims["heads"], {})[row.dims["ablation"]] = row
        names = dict.fromkeys(
            row.dims["heads"] for row in _strongest(members, "logit_diff", len(members))
        )
        lines: list[dict[str, Any]] = []
        for heads in list(names)[:top_n]:
            line: dict[str, Any] = {"heads": heads}
            for kind in kinds:
                if found := by_head[heads].get(kind):
                    line[f"{kind}: Δ logit_diff"] = _interval(found, "logit_diff")
                    line[f"{kind}: q"] = _chance(chances, found)["q"]
                    for metric in ("sentiment", "keyword_rate", "changed"):
                        line[f"{kind}: {metric}"] = _number(_mean(found, metric))
            lines.append(line | {"": _constant(by_head[heads])})
        yield markdown(lines)


def _constant(kinds: dict[str, Row]) -> str:
    """Tell of a head that matters under zero and not under mean what that means."""
    if not {"zero", "mean"} <= kinds.keys():
        return ""
    zero, mean = kinds["zero"].values["logit_diff"], kinds["mean"].values["logit_diff"]
    ends = zero["ci"] or [0, 0]
    counts = ends[0] > 0 or ends[1] < 0
    return "a constant" if counts and abs(mean["mean"]) < _CONSTANT * abs(zero["mean"]) else ""


def _patching(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    yield "## Patching"
    if not rows:
        yield _missing("exp_head_patching.py")
        return
    yield (
        "Denoise runs neutral prompts with z of the emotion prompts (sufficiency), noise the other "
        "way (necessity). R is the share of the clean gap that moves."
    )
    for (model, emotion, _, direction, position), members in families(rows).items():
        if position != members[0].provenance.get("position"):
            continue
        chances = of_rows(members, "logit_diff")
        yield f"### {model}, {emotion}: {direction} at {position}"
        rates = [name for name in members[0].values if name.startswith("keyword_rate_")]
        yield markdown(
            [
                {"heads": row.dims["heads"], "Δ logit_diff": _interval(row, "logit_diff")}
                | _chance(chances, row)
                | {"R": _number(row.values.get("recovery"))}
                | {
                    f"Δ {name.removeprefix('keyword_rate_')} words": _number(_mean(row, name))
                    for name in rates
                }
                for row in _strongest(members, "logit_diff", top_n)
            ]
        )
        whys = {row.labels.get("why_no_recovery", "") for row in members} - {""}
        if whys:
            yield f"R is left out: {escape(min(whys))}."


def _attention(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    yield "## Attention from the last token"
    if not rows:
        yield _missing("exp_attention_patterns.py")
    places = [f"{side}_{place}" for place in ("slot", "start", "previous", "self")
              for side in ("emotion", "neutral")]  # fmt: skip
    for (model, emotion, *_), members in families(rows).items():
        yield f"### {model}, {emotion}"
        yield markdown(
            [
                {"head": row.dims["heads"], "delta_slot": _interval(row, "delta_slot")}
                | {name: _number(_mean(row, name)) for name in places}
                for row in _strongest(members, "delta_slot", top_n)
            ]
        )


def _models(rows: Sequence[Row], results: Path) -> Iterator[str]:
    yield "## Models side by side"
    if not rows:
        yield _missing("exp_head_ablation.py")
        return
    yield markdown(compare(rows))
    files = sorted((results / "alignment").glob("head_scores_*.json"))
    if lines := overlap([json.loads(path.read_text(encoding="utf-8")) for path in files]):
        yield "Rank correlation of |atp_ig| between models of one shape:"
        yield markdown(lines)


def _significance(*experiments: Sequence[Row]) -> Iterator[str]:
    yield "## What is significant"
    yield (
        "Sign flips of templates (p), Benjamini–Hochberg over the heads of a table (q). A head "
        "that is not among those with q < 0.05 may have an effect that this run cannot tell from "
        "chance."
    )
    lines: list[dict[str, Any]] = []
    for rows in experiments:
        for key, members in families(rows).items():
            if key[-1] not in ("", members[0].provenance.get("position")):
                continue
            chances = of_rows(members, "logit_diff")
            found = [
                row.dims["heads"]
                for row in _strongest(members, "logit_diff", len(members))
                if chances.get((row.item, row.row), (1.0, 1.0))[1] < 0.05
            ]
            templates = len(set(members[0].pairs.get("templates", ()))) or None
            least = 2 / 2**templates if templates else 0.0
            none = "none; too few templates" if least * len(members) > 0.05 else "none"
            lines.append(
                {
                    "table": ", ".join(filter(None, (members[0].experiment, *key))),
                    "heads": len(members),
                    "q < 0.05": len(found),
                    "which": ", ".join(found[:8]) + (", …" if len(found) > 8 else "") or none,
                }
            )
    yield markdown(lines) if lines else _missing("exp_head_ablation.py")


def _samples(rows: Sequence[Row], after: str) -> Iterator[str]:
    yield "## Texts"
    told = [row for row in rows if after in row.texts and "clean_text" in row.texts]
    if not told:
        yield _missing("exp_head_ablation.py")
    for (model, emotion, *_), members in _studies(told).items():
        row = _strongest(members, "logit_diff", 1)[0]
        size = [abs(value) for value in row.vectors.get("keyword_rate", [])]
        size = size or [0.0] * len(row.texts[after])
        changed = [i for i in range(len(size)) if row.texts["clean_text"][i] != row.texts[after][i]]
        yield f"### {model}, {emotion}: {row.dims['ablation']} of {row.dims['heads']}"
        if not changed:
            yield "No text changed."
        for i in sorted(changed, key=lambda i: (-size[i], i))[:_SAMPLES]:
            yield (
                f"- {escape(row.texts['prompt'][i])}\n"
                f"  - clean: {escape(row.texts['clean_text'][i])}\n"
                f"  - ablated: {escape(row.texts[after][i])}"
            )


def _studies(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    found: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        found.setdefault((row.dims["model"], row.dims["emotion"]), []).append(row)
    return found


def _figures(results: Path, folder: Path) -> Iterator[str]:
    yield "## Figures"
    files = [path for pattern in _FIGURES for path in sorted(results.glob(pattern))]
    if not files:
        yield "None yet: `python -m emolib plots`, then this report again."
    for path in files:
        link = Path(os.path.relpath(path, folder)).as_posix()
        yield f"![{escape(path.stem)}]({quote(link)})"


def _missing(experiment: str) -> str:
    return f"Not run: `pytest experiments/{experiment}`."


def _strongest(rows: Sequence[Row], metric: str, count: int) -> list[Row]:
    order = sorted(rows, key=lambda row: (-abs(_mean(row, metric) or 0.0), row.item, row.row))
    return order[:count]


def _mean(row: Row, metric: str) -> float | None:
    value = row.values.get(metric)
    return value["mean"] if isinstance(value, dict) else value


def _number(value: float | None) -> str:
    return "–" if value is None else number(value)


def _interval(row: Row, metric: str) -> str:
    value = row.values.get(metric)
    if not isinstance(value, dict):
        return _number(value)
    ends = value["ci"]
    return number(value["mean"]) + (f" [{number(ends[0])}, {number(ends[1])}]" if ends else "")


def _chance(chances: Chances, row: Row) -> dict[str, str]:
    p, q = chances.get((row.item, row.row), (None, None))
    return {"p": _number(p), "q": _number(q)}
