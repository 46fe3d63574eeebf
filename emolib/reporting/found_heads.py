"""What was found about heads: which carry the emotion, how surely, and what became of controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from emolib.reporting.carriers import LEAST_GAP, Carriers, Effect, is_gap
from emolib.reporting.finding import (
    Finding,
    emotions_of,
    finding,
    listed_studies,
    models_of,
    named,
    spread_of,
)
from emolib.reporting.wording import (
    Estimate,
    counted,
    estimate,
    in_all,
    listed,
    percent,
    spread,
    whole,
)
from emolib.results.rows import Row, group
from emolib.results.selection import StudyKey, studies, subject
from emolib.stats.significance import LEVEL

# Heads of a model whose effects are told in figures.
_TOLD = 2
_DOING = {
    "zero": "Zeroing {}",
    "mean": "Replacing {} by its mean",
    "resample": "Giving {} z of another prompt",
    "denoise": "Patching {} into neutral prompts",
    "noise": "Patching neutral z into {}",
}


def gaps(found: Mapping[StudyKey, Estimate]) -> Iterator[Finding]:
    """Yield how far the emotion shows in the logits at all."""
    there = {study: gap for study, gap in found.items() if is_gap(gap) and gap.mean > 0}
    if there:
        where = (
            f"in {named(next(iter(there)))}"
            if len(there) == 1
            else in_all(models_of(there), "model")
        )
        bare = [study for study, gap in there.items() if gap.ci is None]
        of_some = f" in {listed_studies(bare)}" if 0 < len(bare) < len(there) else ""
        yield finding(
            "gap",
            there,
            f"The emotion shows in the logits {where}: the clean gap between emotion and neutral "
            f"prompts is {spread_of(there)} logits"
            f"{f', recorded without an interval{of_some}' if bare else ''}.",
        )
    if against := {study: gap for study, gap in found.items() if is_gap(gap) and gap.mean < 0}:
        yield finding(
            "gap",
            against,
            f"The clean gap is the wrong way in {listed_studies(against)}: "
            f"{spread_of(against)} logits, so that the emotion's words are likelier on neutral "
            "prompts.",
            found=False,
        )
    if missing := {study: gap for study, gap in found.items() if not is_gap(gap)}:
        yield finding(
            "gap",
            missing,
            f"No clean gap worth explaining ({spread_of(missing)} logits, below {LEAST_GAP} "
            f"or not to be told from none): {listed_studies(missing)}. What heads do there says "
            "little about the emotion.",
            found=False,
        )


def heads(found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield of each model which heads carry which emotions, then where none does."""
    carrying = [one for one in found if one.heads]
    for (model, _), members in group(carrying, lambda one: (one.study.model, one.kind)).items():
        yield _carried(model, members)
    # Of a gap that nobody measured, free prompts have none, max-T alone decides.
    nothing = [one.study for one in found if one.gap is not None and not is_gap(one.gap)]
    if nothing:
        yield finding(
            "heads",
            nothing,
            "Which heads carry the emotion cannot be told where there is no clean gap to have a "
            f"share of: {listed_studies(nothing)}.",
            found=False,
        )
    others = [one for one in found if not one.heads and one.study not in nothing]
    none = [one for one in others if one.is_tested]
    if none:
        told = {f"{one.strongest} of {named(one.study)}": _strongest(one).of for one in none}
        yield finding(
            "heads",
            (one.study for one in none),
            "No head by itself carries the emotion in "
            f"{listed_studies(one.study for one in none)}: the strongest moves logit_diff by "
            f"{spread(told)}{_of_gap(none)}. Several may carry it together: see circuits.",
            found=False,
        )
    ranked = [one for one in others if not one.is_tested]
    if ranked:
        yield finding(
            "heads",
            (one.study for one in ranked),
            "Which heads carry the emotion cannot be told where a rank chose them on the same "
            f"prompts, in {listed_studies(one.study for one in ranked)}: --head-spec all tests "
            "them.",
            found=False,
        )
    constant = {f"{head} ({named(one.study)})": head for one in found for head in one.constants}
    if constant:
        yield finding(
            "heads",
            (one.study for one in found if one.constants),
            "Not the emotion but a constant: these count under zero ablation and under no other "
            f"kind, so what they write is the same on all prompts: {listed(constant)}.",
            found=False,
            heads=constant.values(),
        )


def _carried(model: str, members: Sequence[Carriers]) -> Finding:
    """Tell which heads of a model carry which emotions."""
    of_head: dict[str, list[Carriers]] = {}
    for one in members:
        for head in one.heads:
            of_head.setdefault(head, []).append(one)
    ranked = sorted(of_head, key=lambda head: (-len(of_head[head]), -_most(head, of_head[head])))
    shown, others = ranked[:_TOLD], ranked[_TOLD:]
    carry = [
        f"{head} carries {listed(filter(None, emotions_of(one.study for one in of_head[head])))}"
        for head in shown
    ]
    more = f" ({counted(len(others), 'further head')}: {listed(others)})" if others else ""
    effects: list[str] = []
    for head in shown:
        told = {one.study.emotion: one.first[head].of for one in of_head[head]}
        by_kind = _DOING.get(members[0].kind, f"{members[0].kind} of {{}}").format(head)
        begun = f"{by_kind} moves logit_diff by" if not effects else f"{head} by"
        effects.append(f"{begun} {spread(told)}{_of_gap(of_head[head], head)}")
    return finding(
        "heads",
        (one.study for one in members),
        f"In {model or 'the model'} {'; '.join(carry)}{more}. {'; '.join(effects)}.",
        heads=ranked,
    )


def _most(head: str, members: Iterable[Carriers]) -> float:
    return max(abs(one.first[head].of.mean) for one in members)


def _strongest(one: Carriers) -> Effect:
    return one.first[one.strongest]


def _of_gap(members: Iterable[Carriers], head: str | None = None) -> str:
    shares = [share for one in members if (share := one.share(head or one.strongest)) is not None]
    return f", {percent(shares)} of the clean gap" if shares else ""


def patching(patched: Sequence[Carriers], best: Mapping[StudyKey, str]) -> Iterator[Finding]:
    """Yield what patching the head of each study that carries the most moves of the gap."""
    parts, shown, sure = [], [], False
    for kind, on in (("denoise", "put into neutral prompts"), ("noise", "taken out of its own")):
        told: dict[StudyKey, Estimate] = {}
        shares = []
        for one in patched:
            head = best.get(one.study, one.strongest)
            share = one.share(head, kind) if kind in one.tables else None
            if share is not None:
                told[one.study] = one.tables[kind][head].of
                shares.append(share)
                shown.append((one.study, head))
        sure = sure or any(not effect.holds_zero for effect in told.values())
        if told:
            parts.append(
                f"{on} ({kind}) it moves {percent(shares)} of the clean gap, {spread_of(told)} "
                "logits"
            )
    if parts:
        yield finding(
            "patching",
            (study for study, _ in shown),
            f"Patching z of the strongest head alone: {'; '.join(parts)}.",
            found=sure,
            heads=(head for _, head in shown),
        )


def effects(found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield how many of the other heads do more than chance, and how many cannot be told."""
    tested = [one for one in found if one.is_tested]
    for intervention, members in group(tested, lambda one: one.intervention).items():
        yield from _others(intervention, members)


def _others(intervention: str, members: Sequence[Carriers]) -> Iterator[Finding]:
    sure, unsure, counts, sizes = [], [], [], []
    for one in members:
        told = {head: effect for head, effect in one.first.items() if effect.max_t is not None}
        others = [head for head in told if head not in one.heads]
        moving = [head for head in others if told[head].is_found]
        counts.append(len(told))
        sure.append(len(moving))
        unsure.append(len(others) - len(moving))
        sizes += [abs(share) for head in moving if (share := one.share(head)) is not None]
    which = [one.study for one in members]
    tail = f"of {whole(counts)} heads a study have an effect under {intervention} that"
    if any(sure):
        besides = "Besides these, " if any(one.heads for one in members) else ""
        yield finding(
            "effects",
            which,
            f"{besides}{whole(sure)} {tail} is more than chance (max-T below {LEVEL})"
            + (f", of at most {percent([max(sizes)])} of the clean gap." if sizes else "."),
        )
    if any(unsure):
        yield finding(
            "effects",
            which,
            f"{whole(unsure)} {tail} this run cannot tell from chance; that does not show that "
            "they do nothing.",
            found=False,
        )


def attention(rows: Sequence[Row], found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield how much of their attention the heads that carry give to the slot."""
    carrying = {(one.study, head): one for one in found for head in one.heads[:1]}
    told: dict[str, Estimate] = {}
    of: list[tuple[StudyKey, str]] = []
    for study, members in studies(rows).items():
        for row in members:
            looks = estimate(row, "emotion_slot")
            if (study, subject(row)) in carrying and looks is not None:
                told[f"{subject(row)}, {named(study)}"] = looks
                of.append((study, subject(row)))
    if told:
        yield finding(
            "attention",
            (study for study, _ in of),
            "Of its attention from the last token of emotion prompts the head that carries the "
            f"most gives the slot a share of {spread(told)}.",
            heads=(head for _, head in of),
        )


def texts(found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield what ablating the head that carries the most does to generated texts."""
    best = {one.study: _strongest(one) for one in found if one.heads and _strongest(one).changed}
    if not best:
        return
    shares = [effect.changed.mean for effect in best.values() if effect.changed]
    words = {study: effect.keywords for study, effect in best.items() if effect.keywords}
    text = (
        f"Under {found[0].intervention} of the head that carries the most {percent(shares)} of the "
        "texts change"
    )
    if words:
        text += f"; the emotion's words per 100 move by {spread_of(words)}"
    which = (one.strongest for one in found if one.study in best)
    yield finding("texts", best, f"{text}.", found=any(shares), heads=which)
