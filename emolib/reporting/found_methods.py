"""What was found beyond single heads: specificity, circuits, paths, probes, units, steering."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple

from emolib.reporting.carriers import Carriers
from emolib.reporting.finding import Finding, finding, listed_studies, named, spread_of
from emolib.reporting.report_paths import ALL, LOGITS
from emolib.reporting.report_probes import q_values
from emolib.reporting.report_specificity import ANY, AS_MUCH, OTHERS, TESTED, THIS, about
from emolib.reporting.report_steering import TOLERANCE, dose_of, doses_by_place, largest_dose
from emolib.reporting.wording import (
    Estimate,
    counted,
    estimate,
    listed,
    percent,
    span,
    spread,
    whole,
)
from emolib.results.item_files import is_path
from emolib.results.rows import Row, group
from emolib.results.selection import StudyKey, strongest, studies, study_of, subject
from emolib.stats.significance import LEVEL
from emolib.stats.summary import ENOUGH, rank_correlation

# What the heads outside of a circuit may still do.
_REST = 0.2
_BY = dict(zip(TESTED, ("words", "prompts"), strict=True))
_ON = {
    "words": "the other emotions' words on the same prompts",
    "prompts": "the other emotions' own words on their own prompts",
}


def specificity(rows: Sequence[Row], found: Sequence[Carriers]) -> Iterator[Finding]:
    """Yield whether what the heads that carry an emotion do is about that one or about any."""
    carrying = {(one.study, head) for one in found for head in one.heads}
    of = [row for study, members in studies(rows).items() for row in members
          if (study, subject(row)) in carrying]  # fmt: skip
    for metric in TESTED:
        by, told = _BY[metric], group(of, partial(about, metric=metric))
        known = [row for verdict in (THIS, ANY, AS_MUCH, OTHERS) for row in told.get(verdict, [])]
        if not known:
            continue
        own = {
            f"{subject(row)}, {named(study_of(row))}": value
            for row in told.get(THIS, [])
            if (value := estimate(row, metric))
        }
        if own:
            yield finding(
                "specificity",
                map(study_of, known),
                f"By {by}, {len(own)} of the {len(known)} pairs of a head and an emotion that it "
                f"carries are specific: its effect less that on {_ON[by]} is "
                f"{spread(own)} logits.",
                heads=map(subject, told[THIS]),
            )
        for verdict, said in (
            (OTHERS, "more of it to"),
            (AS_MUCH, "as much to some of"),
            (ANY, "no less to"),
        ):
            if others := told.get(verdict):
                yield finding(
                    "specificity",
                    map(study_of, others),
                    f"Not specific by {by}: {listed(map(_head, others))} "
                    f"{'does' if len(others) == 1 else 'do'} {said} {_ON[by]}.",
                    found=False,
                    heads=map(subject, others),
                )


def _head(row: Row) -> str:
    return f"{subject(row)} ({named(study_of(row))})"


def circuit(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield how few heads are enough, and where none are."""
    own = {
        study: row
        for study, members in studies(rows).items()
        for row in members
        if row.labels.get("order") == "ranking"
    }
    all_told = {study: e for study, row in own.items() if (e := _with_ends(row, "held_out"))}
    # Of a gap that is hardly one F is anything, and has no interval.
    known = {study: (e, e.ci) for study, e in all_told.items() if e.ci is not None}
    kept = {study: e for study, (e, ci) in known.items() if ci[0] > 0 and ci[1] >= ENOUGH}
    if kept:
        sizes = [size for study in kept if (size := own[study].mean("k")) is not None]
        total = [size for study in kept if (size := own[study].mean("n_heads")) is not None]
        rest = [e.mean for study in kept if (e := _with_ends(own[study], "rest"))]
        names: dict[str, dict[str, None]] = {}
        for study in kept:
            names.setdefault(study.model, {})[own[study].labels.get("circuit", "")] = None
        where = [f"{' or '.join(sets)} in {model}" for model, sets in names.items()]
        yield finding(
            "circuit",
            kept,
            f"{whole(sizes)} of {whole(total)} heads are a circuit ({listed(where)}): on held-out "
            f"templates they keep a share F of the emotion of {spread_of(kept)}"
            + (f", all other heads together {percent(rest)}." if rest else "."),
            heads=chain(*(own[study].labels.get("circuit", "").split("+") for study in kept)),
        )
    if short := {study: e for study, (e, _) in known.items() if study not in kept}:
        yield finding(
            "circuit",
            short,
            f"On held-out templates the chosen heads keep less than F = {ENOUGH}, or none that can "
            f"be told: {spread_of(short)}.",
            found=False,
        )
    if double := [
        study
        for study in kept
        if (e := _with_ends(own[study], "rest")) is not None and abs(e.mean) > _REST
    ]:
        yield finding(
            "circuit",
            double,
            f"Not the circuit alone in {listed_studies(double)}: without it the other heads "
            f"still do more than {100 * _REST:.0f} %.",
            found=False,
        )
    if unsure := {study: e for study, e in all_told.items() if e.ci is None}:
        whys = {why for study in unsure if (why := own[study].labels.get("why_no_held_out_ci"))}
        yield finding(
            "circuit",
            unsure,
            f"Whether few heads are a circuit cannot be told in {listed_studies(list(unsure))}: F "
            f"on held-out templates, {spread_of(unsure)}, has no interval"
            f"{': ' if whys else ''}{'; '.join(sorted(whys))}.",
            found=False,
        )
    if none := [study for study in own if study not in all_told]:
        whys = {why for study in none if (why := own[study].labels.get("why_no_held_out"))}
        yield finding(
            "circuit",
            none,
            f"No circuit in {listed_studies(none)}{': ' if whys else ''}{'; '.join(sorted(whys))}.",
            found=False,
        )


def _with_ends(row: Row, name: str) -> Estimate | None:
    value, low, high = (row.mean(f"{name}{end}") for end in ("", "_ci_low", "_ci_high"))
    if value is None:
        return None
    return Estimate(value, None if low is None or high is None else (low, high))


def paths(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield which way the strongest sender of each study goes: to the logits, or through heads."""
    direct: dict[StudyKey, Estimate] = {}
    shares: list[float] = []
    through: dict[str, Estimate] = {}
    senders: dict[StudyKey, str] = {}
    for study, members in studies(filter(is_path, rows)).items():
        whole_paths = [row for row in members if row.labels["input"] == ALL]
        straight = [row for row in whole_paths if row.labels["receiver"] == LOGITS]
        if not straight:
            continue
        best = strongest(straight, "total", 1)[0]
        sender = senders[study] = best.labels["sender"]
        if effect := estimate(best, "effect"):
            direct[study] = effect
        sure = study in direct and not direct[study].holds_zero
        if sure and (share := best.mean("share")) is not None:
            shares.append(share)
        between = [
            row
            for row in whole_paths
            if row.labels["receiver"] != LOGITS and row.labels["sender"] == sender
        ]
        for row in strongest(between, "effect", 1):
            if (effect := estimate(row, "effect")) and not effect.holds_zero:
                name = f"{sender} → {row.labels['receiver']}, {named(study)}"
                through[name] = effect
    if not direct:
        return
    text = f"The strongest sender moves the logits directly by {spread_of(direct)}"
    if shares:
        text += f", {percent(shares)} of all that it does"
    if through:
        most = max(through, key=lambda name: abs(through[name].mean))
        text += f"; its strongest path through another head moves {through[most]} logits ({most})"
    moves = any(not effect.holds_zero for effect in direct.values())
    yield finding("paths", direct, f"{text}.", found=moves, heads=senders.values())


def probes(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield from how many heads the emotion can be read, and that this is not what is used."""
    read, tested, idle, rhos = [], [], [], []
    of: list[StudyKey] = []
    for study, members in studies(rows).items():
        probed = [row for row in members if row.mean("auroc") is not None]
        q = q_values(probed)
        if not q:
            continue
        of.append(study)
        told = [row for row in probed if q.get((row.item, row.row), 1.0) < LEVEL]
        read.append(len(told))
        tested.append(len(q))
        effects = [estimate(row, "logit_diff") for row in told]
        idle.append(sum(e is not None and e.ci is not None and e.holds_zero for e in effects))
        rho = rank_correlation(
            [row.mean("auroc") or 0.0 for row in probed],
            [abs(row.mean("logit_diff") or 0.0) for row in probed],
        )
        rhos += [] if rho is None else [rho]
    if not of:
        return
    text = (
        f"The emotion can be read from z of {whole(read)} of {whole(tested)} heads a study (probes "
        f"on held-out templates, q below {LEVEL})"
    )
    if any(read):
        text += f", {whole(idle)} of which do nothing measurable when zeroed"
    if rhos:
        text += f"; the rank correlation of AUROC with |Δ logit_diff| is {span(rhos)}"
    yield finding("probes", of, f"{text}. A probe says what is there, not what is used.")


def units(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield whether the MLP units that one half of the templates chose do it on the other."""
    parts, sizes = [], []
    of: list[StudyKey] = []
    for kind, alike in group(rows, lambda row: row.labels.get("kind", "")).items():
        known = {study_of(row): e for row in alike if (e := estimate(row, "difference"))}
        sizes += [size for row in alike if (size := row.mean("n_units")) is not None]
        gone = {s: e for s, e in known.items() if e.mean < 0 and not e.holds_zero}
        how = f"under {kind} ablation" if kind else "ablated"
        if gone:
            parts.append(f"{how} by {spread_of(gone)} ({_count(gone, known)})")
            of += gone
        if others := {study: e for study, e in known.items() if study not in gone}:
            yield finding(
                "units",
                others,
                f"The top MLP units do not lower logit_diff more than random ones do {how} in "
                f"{listed_studies(others)}: the difference is {spread_of(others)} logits.",
                found=False,
            )
    if parts:
        yield finding(
            "units",
            of,
            f"The top {whole(sizes)} MLP units of one half of the templates lower logit_diff on "
            "the other half by more than random units of the same layers do: "
            f"{'; '.join(parts)}.",
        )


def _count(of: Mapping[StudyKey, object], known: Mapping[StudyKey, object]) -> str:
    if len(known) == 1:
        return named(next(iter(known)))
    every = len(of) == len(known)
    return f"all {len(known)} studies" if every else f"{len(of)} of {len(known)} studies"


def steering(rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield what the largest dose does at which texts stay fluent, and where there is none."""
    told: list[_Steered] = []
    costly: list[StudyKey] = []
    for study, members in studies(rows).items():
        for place, (own, control) in doses_by_place(members).items():
            row = largest_dose(own)
            if row is None:
                costly.append(study)
            elif (effect := estimate(row, "logit_diff")) is not None:
                dose = dose_of(row)
                others = [control.get(("neutral", sign * dose)) for sign in (1, -1)]
                told.append(
                    _Steered(
                        study,
                        f"{place}, {named(study)}",
                        dose,
                        effect,
                        estimate(row, "keyword_rate"),
                        [e for o in others if o and (e := estimate(o, "logit_diff"))],
                    )
                )
    total = len(told) + len(costly)
    if steered := [one for one in told if one.steers]:
        text = (
            f"The emotion direction steers neutral prompts at {len(steered)} of {total} places: "
            f"{_at_dose(steered)}"
        )
        if words := {one.name: one.words for one in steered if one.words}:
            text += f"; the emotion's words per 100 by {spread(words)}"
        yield finding("steering", [one.study for one in steered], f"{text}.")
    if idle := [one for one in told if not one.steers]:
        yield finding(
            "steering",
            [one.study for one in idle],
            f"At {len(idle)} of {total} places the emotion direction does no more than a random "
            f"one as long: {_at_dose(idle)}.",
            found=False,
        )
    if costly:
        yield finding(
            "steering",
            costly,
            f"At {len(costly)} of {total} places even the smallest dose costs more than "
            f"{TOLERANCE:g} nat a token of fluency: {listed_studies(costly)}.",
            found=False,
        )


class _Steered(NamedTuple):
    """What the largest dose does at one place that texts stay fluent at."""

    study: StudyKey
    name: str
    dose: float
    effect: Estimate
    words: Estimate | None
    random: Sequence[Estimate]

    @property
    def steers(self) -> bool:
        """Whether it brings the emotion about, and more than any random direction moves."""
        most = max((abs(effect.mean) for effect in self.random), default=0.0)
        return not self.effect.holds_zero and self.effect.mean > most


def _at_dose(places: Sequence[_Steered]) -> str:
    at = sorted({one.dose for one in places})
    text = (
        f"the largest dose at which texts stay fluent (α = {listed(f'{dose:g}' for dose in at)}) "
        f"moves logit_diff by {spread({one.name: one.effect for one in places})}"
    )
    if random := [effect.mean for one in places for effect in one.random]:
        text += f", random directions as long, both ways, by {span(random)}"
    return text


def own(experiment: str, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield the strongest row of an experiment of the user's own, by its first metric."""
    metric = next((name for row in rows for name in row.values), None)
    if metric is None:
        return
    best = strongest(rows, metric, 1)[0]
    value = estimate(best, metric)
    if value is None:
        return
    where = ", ".join(best.dims.values()) or subject(best)
    several = f"of {counted(len(rows), 'row')} the largest" if len(rows) > 1 else "one row"
    yield finding(
        "own",
        studies(rows),
        f"{experiment}: {several}, {metric} {value} ({where}).",
    )
