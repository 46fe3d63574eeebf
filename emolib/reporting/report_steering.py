"""Section of the report on steering: what doses of the emotion direction do, and at what price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from emolib.reporting.experiments import STEERED
from emolib.reporting.markdown import table
from emolib.reporting.report_parts import heading, missing, named, q_of
from emolib.results.chances import of_rows
from emolib.results.frames import Lines
from emolib.results.rows import Row, group
from emolib.results.selection import studies

TOLERANCE = 1.0
"""Nats a token that fluency may fall below the clean texts'."""
Doses = dict[tuple[str, float], Row]
"""Rows of one place by whose prompts run and the dose."""


def steering(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    """Yield the largest dose of each place whose texts stay fluent, then every dose."""
    yield "## Steering"
    if not rows:
        yield missing(STEERED)
        return
    yield (
        "A dose α adds α times what separates emotion from neutral (means at the last token over "
        "one half of the templates) to the residual stream after a layer, or to z of several heads "
        "together, at the last prompt token and every generated one; what it does is read on "
        "prompts of the other half. Δ: under the dose less clean. random: the same with a random "
        "direction as long. fluency: mean log-probability of the text under the clean model (nats "
        "a token)."
    )
    by_study = {study: doses_by_place(members) for study, members in studies(rows).items()}
    yield (
        f"The largest dose on neutral prompts up to which fluency stays within {TOLERANCE:g} nat "
        "of the clean texts':"
    )
    yield table(
        [
            named(study) | _largest(place, *found)
            for study, places in by_study.items()
            for place, found in places.items()
        ]
    )
    for study, places in by_study.items():
        yield heading(study)
        members = [row for own, _ in places.values() for row in own.values()]
        chances = of_rows(members, "logit_diff")
        lines: Lines = []
        for place in _strongest(places, top_n):
            own, control = places[place]
            for key in sorted(own, key=lambda key: (key[0] != "neutral", key[1])):
                row = own[key]
                lines.append(
                    {"place": place, "on": key[0], "α": key[1]}
                    | {"Δ logit_diff": row.values.get("logit_diff"), "q": q_of(chances, row)}
                    | {"random": _mean(control, key, "logit_diff")}
                    | {"Δ log_odds": row.mean("log_odds"), "Δ sentiment": row.mean("sentiment")}
                    | {"Δ keywords": row.mean("keyword_rate"), "Δ fluency": row.mean("fluency")}
                    | {"random: Δ fluency": _mean(control, key, "fluency")}
                    | {"Δ distinct_2": row.mean("distinct_2")}
                )
        yield table(lines)


def doses_by_place(rows: Sequence[Row]) -> dict[str, tuple[Doses, Doses]]:
    """Return by place the doses of the emotion direction and of random ones."""

    def doses(members: Sequence[Row], direction: str) -> Doses:
        return {
            (row.labels.get("on", ""), dose_of(row)): row
            for row in members
            if row.labels.get("direction") == direction
        }

    return {
        place: (doses(members, "emotion"), doses(members, "random"))
        for place, members in group(rows, lambda row: row.labels.get("place", "")).items()
    }


def dose_of(row: Row) -> float:
    """Return the dose of a row of steering."""
    return float(row.labels["alpha"])


def largest_dose(doses: Doses) -> Row | None:
    """Return the largest dose above 0 on neutral prompts up to which all stay fluent.

    None where the smallest of them does not.
    """
    found = None
    for side, alpha in sorted(doses):
        if side != "neutral" or alpha <= 0:
            continue
        fluency = doses[side, alpha].mean("fluency")
        if fluency is None or fluency < -TOLERANCE:
            break
        found = doses[side, alpha]
    return found


def _largest(place: str, own: Doses, control: Doses) -> dict[str, object]:
    row = largest_dose(own)
    if row is None:
        return {"place": place, "largest α": "none"}
    key = "neutral", dose_of(row)
    return (
        {"place": place, "largest α": f"{key[1]:g}", "Δ logit_diff": row.values.get("logit_diff")}
        | {"random": _mean(control, key, "logit_diff"), "Δ keywords": row.mean("keyword_rate")}
        | {"Δ sentiment": row.mean("sentiment"), "Δ fluency": row.mean("fluency")}
        | {"cosine of halves": row.mean("cosine")}
    )


def _mean(doses: Doses, key: tuple[str, float], metric: str) -> float | None:
    return doses[key].mean(metric) if key in doses else None


def _strongest(places: dict[str, tuple[Doses, Doses]], count: int) -> list[str]:
    """Return the places where some dose moves ``logit_diff`` the most, in their order."""

    def most(place: str) -> float:
        return max(
            (abs(row.mean("logit_diff") or 0.0) for row in places[place][0].values()), default=0.0
        )

    chosen = sorted(places, key=lambda place: -most(place))[:count]
    return [place for place in places if place in chosen]
