"""What was found about heads: which carry the emotion, how surely, and what became of controls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from emolib.reporting.carriers import Carriers, Effect
from emolib.reporting.finding import (
    Finding,
    emotions_of,
    finding,
    listed_studies,
    models_of,
    named,
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

# Heads of a model whose effects are told in figures, and the gap below which there is none.
_TOLD, _GAP = 2, 0.1
_DOING = {
    "zero": "Zeroing {}",
    "mean": "Replacing {} by its mean",
    "resample": "Giving {} z of another prompt",
    "denoise": "Patching {} into neutral prompts",
    "noise": "Patching neutral z into {}",
}


def _is_there(gap: Estimate) -> bool:
    return abs(gap.mean) >= _GAP and (gap.ci is None or not gap.ci[0] <= 0 <= gap.ci[1])


def gaps(found: Mapping[StudyKey, Estimate]) -> Iterator[Finding]:
    """Yield how far the emotion shows in the logits at all."""
    there = {study: gap for study, gap in found.items() if _is_there(gap)}
    if there:
        where = (
            f"in {named(next(iter(there)))}"
            if len(there) == 1
            else in_all(models_of(there), "model")
        )
        yield finding(
            "gap",
            there,
            f"The emotion shows in the logits {where}: the clean gap between emotion and neutral "
            f"prompts is {_spread(there)} logits"
            + (
                ", recorded without an interval."
                if all(e.ci is None for e in there.values())
                else "."
            ),
        )
    if missing := {study: gap for study, gap in found.items() if study not in there}:
        yield finding(
            "gap",
            missing,
            f"No clean gap worth explaining ({_spread(missing)} logits, below {_GAP} or not to be "
            f"told from none): "
            f"{listed_studies(missing)}. What heads do there says little about the emotion.",
            found=False,
        )


def heads(found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield of each model which heads carry which emotions, then where none does."""
    for model, members in group(found, lambda one: one.study.model).items():
        carrying = [one for one in members if one.heads]
        if carrying:
            yield _carried(model, carrying)
    none = [one for one in found if not one.heads and one.is_tested]
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
    ranked = [one for one in found if not one.is_tested]
    if ranked:
        yield finding(
            "heads",
            (one.study for one in ranked),
            "Which heads carry the emotion cannot be told where a rank chose them on the same "
            f"prompts, in {listed_studies(one.study for one in ranked)}: --head-spec all tests "
            "them.",
            found=False,
        )
    constant = {
        f"{head} ({named(one.study)})": head
        for one in found
        for head in one.constants
        if head not in one.heads
    }
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
    parts, shown = [], []
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
        if told:
            parts.append(
                f"{on} ({kind}) it moves {percent(shares)} of the clean gap, {_spread(told)} logits"
            )
    if parts:
        yield finding(
            "patching",
            (study for study, _ in shown),
            f"Patching z of the strongest head alone: {'; '.join(parts)}.",
            heads=(head for _, head in shown),
        )


def effects(found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield how many of the other heads do more than chance, and how many cannot be told."""
    tested = [one for one in found if one.is_tested]
    if not tested:
        return
    sure, unsure, sizes = [], [], []
    for one in tested:
        others = {head: effect for head, effect in one.first.items() if head not in one.heads}
        moving = [head for head, effect in others.items() if effect.is_found]
        sure.append(len(moving))
        unsure.append(len(others) - len(moving))
        sizes += [share for head in moving if (share := one.share(head)) is not None]
    total = whole(len(one.first) for one in tested)
    if any(sure):
        yield finding(
            "effects",
            (one.study for one in tested),
            f"Besides these, {whole(sure)} of {total} heads a study have an effect under "
            f"{tested[0].intervention} that is more than chance (max-T below {LEVEL})"
            + (f", of at most {percent([max(sizes)])} of the clean gap." if sizes else "."),
        )
    if any(unsure):
        yield finding(
            "effects",
            (one.study for one in tested),
            f"{whole(unsure)} of {total} heads a study have an effect under "
            f"{tested[0].intervention} that this run cannot tell from chance; that does not show "
            "that they do nothing.",
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
        text += f"; the emotion's words per 100 move by {_spread(words)}"
    yield finding(
        "texts", best, f"{text}.", found=any(shares), heads=(one.strongest for one in found)
    )


def _spread(found: Mapping[StudyKey, Estimate]) -> str:
    return spread({named(study): value for study, value in found.items()})
