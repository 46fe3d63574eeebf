"""Sections of the report on heads, one per experiment: the strongest heads of each study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from emolib.reporting.cells import cell
from emolib.reporting.experiments import ABLATED, ATTENTION, CONTROLLED, CONTROLS, PATCHED, SCREENED
from emolib.reporting.markdown import escape, table
from emolib.reporting.report_parts import heading, missing, named, q_of, title
from emolib.reporting.report_paths import repaired
from emolib.results.chances import of_rows
from emolib.results.frames import Lines
from emolib.results.rows import Row
from emolib.results.selection import (
    KindKey,
    kinds,
    strongest,
    strongest_subjects,
    studies,
    subject,
)
from emolib.stats.summary import unreliable

# Below this share of the effect under zero ablation another kind's effect counts for nothing.
_CONSTANT = 0.2
# Heads of a study that the section on controls shows.
_CONTROLLED_SHOWN = 3


def screening(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the top heads of each study, with what says whether their order is one."""
    yield "## Screening"
    if not rows:
        yield missing(SCREENED)
        return
    yield (
        "atp_ig: how far logit_diff would move if what the head writes were that of the paired "
        "prompt (logits). delta_attn: attention to the slot, emotion less neutral. dla: the "
        "direct part of it (logits). patch_denoise, patch_noise: exact patching of the strongest "
        "heads and of a random sample of the others (logits), which bounds how many of those that "
        "were not patched exceed the largest |patch_denoise| of the sample, whatever the ranking "
        "says. q: Benjamini–Hochberg over the heads."
    )
    columns = ("delta_attn", "dla", "delta_proj", "delta_out", "patch_denoise", "patch_noise")
    for study, members in studies(rows).items():
        for alike in kinds(members).values():
            first, chances = alike[0], of_rows(alike, "atp_ig")
            ranked = strongest(alike, "atp_ig", top_n)
            doubt = unreliable(reliability := first.mean("reliability"))
            if doubt:
                ranked = sorted(ranked, key=lambda row: row.item)
            yield heading(study)
            yield (
                f"No ranking: {doubt}. The heads below stand in order of their names."
                if doubt
                else f"By |atp_ig|; split-half reliability {cell(reliability)}, rank correlation "
                f"with exact patching {cell(first.mean('rank_correlation'))}."
            )
            if missed := first.labels.get("missed"):
                yield f"Verified: {escape(missed)}."
            yield table(
                [
                    {"head": subject(row), "atp_ig": row.values.get("atp_ig")}
                    | {"q": q_of(chances, row)}
                    | {name: row.mean(name) for name in columns}
                    for row in ranked
                ]
            )


def ablation(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the strongest heads of each study, the kinds of ablation side by side."""
    yield "## Ablation"
    if not rows:
        yield missing(ABLATED)
        return
    yield (
        "Δ: under the intervention less clean. “constant”: zero counts, the other kinds do not, "
        "so what the head writes is the same on all prompts. changed: share of texts; keywords: "
        "per 100 words."
    )
    for study, members in studies(rows).items():
        lines: dict[str, dict[str, Any]] = {
            name: {"heads": name} for name in strongest_subjects(members, "logit_diff", top_n)
        }
        found: dict[str, dict[str, Row]] = {}
        texts: dict[str, dict[str, Any]] = {}
        for key, alike in kinds(members).items():
            kind, chances = key.ablation, of_rows(alike, "logit_diff")
            for row in alike:
                if line := lines.get(subject(row)):
                    found.setdefault(subject(row), {})[kind] = row
                    line[title("Δ logit_diff", kind)] = row.values.get("logit_diff")
                    line[title("q", kind)] = q_of(chances, row)
                    texts.setdefault(subject(row), {}).update(
                        {
                            title(shown, kind): row.mean(metric)
                            for metric, shown in (
                                ("changed", "changed"),
                                ("keyword_rate", "Δ keywords"),
                                ("sentiment", "Δ sentiment"),
                            )
                        }
                    )
        yield heading(study)
        yield table(
            [line | {"": _constant(found[name])} for name, line in lines.items() if name in found]
        )
        if direct := repaired({name: found[name] for name in lines if name in found}):
            yield (
                "Direct effects (Δ logit_diff with all other heads held at their clean z) and "
                "self-repair, 1 − |Δ| / |direct|:"
            )
            yield table(direct)
        if moved := [{"heads": name} | texts[name] for name in lines if _moves(texts[name])]:
            yield "Texts, of the heads above that changed any:"
            yield table(moved)


def _constant(kinds_of: dict[str, Row]) -> str:
    """Tell a head that only carries a constant: it matters under zero and under nothing else."""
    if not {"zero", "mean"} <= kinds_of.keys():
        return ""
    zero = kinds_of["zero"].values.get("logit_diff")
    if not isinstance(zero, dict) or not zero["ci"] or zero["ci"][0] <= 0 <= zero["ci"][1]:
        return ""
    others = [row.mean("logit_diff") for kind, row in kinds_of.items() if kind != "zero"]
    small = all(abs(other or 0.0) < _CONSTANT * abs(zero["mean"]) for other in others)
    return "constant" if small else ""


def patching(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the strongest heads of each study, denoise and noise side by side."""
    yield "## Patching"
    if not rows:
        yield missing(PATCHED)
        return
    yield (
        "Denoise runs neutral prompts with z of the emotion prompts (sufficiency), noise the other "
        "way (necessity). R is the share of the clean gap that moves."
    )
    for study, members in studies(rows).items():
        everywhere = kinds(members)
        at = members[0].provenance.get("position", "")
        lines: dict[str, dict[str, Any]] = {}
        words: dict[str, dict[str, Any]] = {}
        for (_, direction, position), alike in everywhere.items():
            if position not in ("", at):
                continue
            chances = of_rows(alike, "logit_diff")
            for row in strongest(alike, "logit_diff"):
                line = lines.setdefault(subject(row), {"heads": subject(row)})
                line[title("Δ logit_diff", direction)] = row.values.get("logit_diff")
                line[title("q", direction)] = q_of(chances, row)
                line[title("R", direction)] = row.mean("recovery")
                for name in row.values:
                    if name.startswith("keyword_rate_"):
                        word = f"Δ {name.removeprefix('keyword_rate_')} words"
                        told = words.setdefault(subject(row), {"heads": subject(row)})
                        told[title(word, direction)] = row.mean(name)
        yield heading(study, f"position {at}" if at else "")
        yield table(list(lines.values())[:top_n])
        whys = {row.labels.get("why_no_recovery", "") for row in members} - {""}
        if whys:
            yield f"R is left out: {escape(min(whys))}."
        if moved := [words[name] for name in list(lines)[:top_n] if _moves(words.get(name, {}))]:
            yield "Words per 100 that came or went, of the heads above that moved any:"
            yield table(moved)
        if places := _places(everywhere):
            yield "R of the strongest head by where it is patched:"
            yield table(places)


def _moves(line: dict[str, Any]) -> bool:
    return any(value for name, value in line.items() if name != "heads")


def _places(everywhere: dict[KindKey, list[Row]]) -> Lines:
    """Return R of the strongest head: a line a direction, a column a position."""
    rows = [row for alike in everywhere.values() for row in alike]
    if len({position for *_, position in everywhere}) < 2 or not rows:
        return []
    best = strongest_subjects(rows, "logit_diff", 1)[0]
    lines: dict[str, dict[str, Any]] = {}
    for (_, direction, position), alike in everywhere.items():
        line = lines.setdefault(direction, {"head": best, "direction": direction})
        for row in alike:
            if subject(row) == best:
                line[position] = row.mean("recovery")
    return [line for line in lines.values() if any(isinstance(v, float) for v in line.values())]


def controls(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the strongest heads of each study beside what should come to nothing."""
    yield "## Controls"
    if not rows:
        yield missing(CONTROLLED)
        return
    yield (
        "Denoise patching of the heads that screening ranks first (Δ logit_diff), and what should "
        "come to nothing beside it: a random head of the layer, labels shuffled within pairs, a "
        "rare but unemotional word in the slot. A rank chose the heads, so there is no q."
    )
    yield table(
        [
            named(study)
            | {"head": row.labels.get("head"), "other head": row.labels.get("other_head")}
            | {name.replace("_", " "): row.values.get(name) for name in CONTROLS}
            for study, members in studies(rows).items()
            for row in strongest(members, "denoise", min(top_n, _CONTROLLED_SHOWN))
        ]
    )


def attention(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the heads of each study that tell the sides apart by where they look."""
    yield "## Attention from the last token"
    if not rows:
        yield missing(ATTENTION)
        return
    yield (
        "Mean attention on emotion prompts; delta_slot: that to the slot less that on neutral ones."
    )
    for study, members in studies(rows).items():
        yield heading(study)
        places = ("slot", "start", "previous", "self")
        yield table(
            [
                {"head": subject(row), "delta_slot": row.values.get("delta_slot")}
                | {place: row.mean(f"emotion_{place}") for place in places}
                for row in strongest(members, "delta_slot", top_n)
            ]
        )
