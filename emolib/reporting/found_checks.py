"""What was found about how far to trust it: the ranking of heads, and the controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from emolib.reporting.finding import Finding, finding, listed_studies, named, spread_of
from emolib.reporting.wording import (
    Estimate,
    counted,
    estimate,
    figure,
    percent,
    span,
    whole,
)
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, strongest, studies
from emolib.stats.summary import unreliable

# Of the effect, what a control that came to nothing stays below.
_NOTHING = 0.1


def ranking(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield whether the order that screening gives to heads is one."""
    good: dict[StudyKey, Row] = {}
    doubts: dict[str, list[StudyKey]] = {}
    for study, members in studies(rows).items():
        if doubt := unreliable(members[0].mean("reliability")):
            doubts.setdefault(doubt, []).append(study)
        else:
            good[study] = members[0]
    if good:
        text = (
            "The ranking of heads by |atp_ig| is reliable (split-half reliability "
            f"{span(_known(good.values(), 'reliability'))}, {_in_studies(good)})"
        )
        if against := _known(good.values(), "rank_correlation"):
            text += f"; its rank correlation with exact patching is {span(against)}"
        text += "."
        most, rest = (_known(good.values(), name) for name in ("missed_most", "missed_rest"))
        if most and rest and (tau := _known(good.values(), "missed_tau")):
            text += (
                f" Of the {whole(rest)} heads a study that were not verified no more than "
                f"{whole(most)} can exceed {figure(max(tau), 2)} logits (95 %)."
            )
        yield finding("ranking", good, text)
    for doubt, of in doubts.items():
        yield finding(
            "ranking",
            of,
            f"Screening gives no ranking ({doubt}): {listed_studies(of)}. More pairs, or "
            "--verify all, which patches every head exactly.",
            found=False,
        )


def _known(rows: Iterable[Row], name: str) -> list[float]:
    return [value for row in rows if (value := row.mean(name)) is not None]


def controls(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield what became of what should come to nothing, beside the effect of the head itself."""
    first = {study: strongest(members, "denoise", 1)[0] for study, members in studies(rows).items()}
    every = _estimates(first, "denoise")
    own = {study: effect for study, effect in every.items() if not effect.holds_zero}
    if idle := [study for study in every if study not in own]:
        yield finding(
            "controls",
            idle,
            "Controls say nothing where the head itself, patched, does nothing that can be told: "
            f"{listed_studies(idle)}.",
            found=False,
        )
    if not own:
        return
    first = {study: first[study] for study in own}
    names = [first[study].labels.get("head", "") for study in own]
    if same := _estimates(first, "same_layer"):
        small = all(abs(same[study].mean) < _NOTHING * abs(own[study].mean) for study in same)
        yield finding(
            "controls",
            same,
            "A random head of the same layer, patched alike, moves logit_diff by "
            f"{spread_of(same)}, where the head itself moves it by {spread_of(own)}"
            + ("." if small else ": other heads of the layer do much of the same."),
            found=small,
            heads=names,
        )
    if shuffled := _estimates(first, "shuffled_labels"):
        bounds = {study: _bound(shuffled[study]) for study in shuffled}
        tight = all(bounds[study] < _NOTHING * abs(own[study].mean) for study in bounds)
        widest = max(bounds, key=lambda study: bounds[study])
        yield finding(
            "controls",
            shuffled,
            "With labels shuffled within pairs the effect is "
            f"{shuffled[widest]} ({named(widest)}"
            f"{', the widest' if len(bounds) > 1 else ''}), so this control excludes nothing "
            f"smaller than {span(bounds.values(), 1)} logits, beside effects of "
            f"{span((abs(effect.mean) for effect in own.values()), 1)}"
            + ("." if tight else ": it says little."),
            found=tight,
            heads=names,
        )
    if lexical := _estimates(first, "lexical"):
        shares = [abs(lexical[study].mean / own[study].mean) for study in lexical]
        nothing = all(share < _NOTHING for share in shares)
        sure = any(not effect.holds_zero for effect in lexical.values())
        verdict = ": so much of it is not about emotion" if sure else ", or nothing: it says little"
        yield finding(
            "controls",
            lexical,
            f"A rare but unemotional word in the slot moves logit_diff by {spread_of(lexical)} "
            f"through the same head, {percent(shares)} of its effect"
            + ("." if nothing else f"{verdict}."),
            found=nothing,
            heads=names,
        )


def _bound(effect: Estimate) -> float:
    return max(map(abs, effect.ci or (effect.mean,)))


def _estimates(rows: Mapping[StudyKey, Row], metric: str) -> dict[StudyKey, Estimate]:
    return {study: value for study, row in rows.items() if (value := estimate(row, metric))}


def _in_studies(found: Iterable[StudyKey]) -> str:
    every = list(found)
    return named(every[0]) if len(every) == 1 else f"in {counted(len(every), 'study', 'studies')}"
