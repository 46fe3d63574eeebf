"""What a study says beside its maps: circuits, paths, steering, units, controls, specificity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from emolib.reporting.experiments import (
    CIRCUIT,
    CIRCUITS,
    CONTROLLED,
    CONTROLS,
    KNOWN,
    ORDERS,
    PATHS,
    SPECIFIC,
    STEERED,
    UNIT_LAYERS,
    UNITS,
    UNITS_CONFIRMED,
    UNITS_SCREENED,
)
from emolib.reporting.page.page_words import is_head, rounded
from emolib.reporting.report_steering import dose_of, largest_dose
from emolib.results.abridged import abridged
from emolib.results.chances import of_rows
from emolib.results.item_files import is_path
from emolib.results.rows import Row, group
from emolib.results.selection import (
    StudyKey,
    is_joint,
    kind_of,
    strongest,
    studies,
    study_of,
    subject,
)

Triple = list[float | None] | None
"""A mean and the ends of its 95 % CI, None in their place where there is none."""
KEPT = (CIRCUIT, CIRCUITS, PATHS, STEERED, CONTROLLED)
"""Experiments whose rows are kept, abridged; those on units too (`is_kept`)."""
# The values per prompt that tests here take.
_TESTED = ("logit_diff", "difference", "effect")
# Paths and units of a study that the page has.
_MOST = 200
_STEERED = ("logit_diff", "fluency", "sentiment", "keyword_rate", "distinct_2", "kl", "changed")
_UNITS = (
    "atp", "relp", "patch_effect", "zero_effect", "mean_effect", "held_out_zero", "held_out_mean",
    "dla", "delta_act", "act_d_z",
)  # fmt: skip


def is_kept(experiment: str) -> bool:
    """Tell whether the rows of an experiment are what `views` takes."""
    return experiment in KEPT or (experiment in KNOWN and experiment.startswith(UNITS))


def kept(row: Row) -> Row:
    """Return a row without its texts and most of its vectors."""
    return next(iter(abridged([row], _TESTED)))


def triple(row: Row, metric: str) -> Triple:
    """Return a metric of a row with its interval, None where the row has none."""
    mean = row.mean(metric)
    low, high = row.interval(metric) or (None, None)
    return None if mean is None else [rounded(mean), rounded(low), rounded(high)]


def with_ends(row: Row, name: str) -> Triple:
    """Return a metric whose interval stands in metrics of its own, ``_ci_low`` and ``_ci_high``."""
    mean, low, high = (rounded(row.mean(f"{name}{end}")) for end in ("", "_ci_low", "_ci_high"))
    return None if mean is None else [mean, low, high]


def circuits(summary: Sequence[Row], sets: Sequence[Row]) -> dict[StudyKey, dict[str, Any]]:
    """Return by study its circuit, the curves it comes from, and what each of its heads is for."""
    found: dict[StudyKey, dict[str, Any]] = {}
    points = studies(sets)
    for study, members in studies(summary).items():
        by_order = {row.labels.get("order", ""): row for row in members}
        own, random = by_order.get("ranking"), by_order.get("random")
        if own is None:
            continue
        told = own.labels
        heads = [name for name in told.get("circuit", "").split("+") if is_head(name)]
        found[study] = {
            "outside": told.get("outside", ""),
            "by": told.get("by", ""),
            "circuit": heads,
            "k": own.mean("k"),
            "n_heads": own.mean("n_heads"),
            **{name: with_ends(own, name) for name in ("held_out", "rest", "cpr", "cmd")},
            "cpr_random": rounded(random.mean("cpr")) if random else None,
            "curves": _curves(points.get(study, ())),
            "notes": _why(own, "ranking", "why_no_"),
        }
    return found


def _curves(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    curves: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        order, k = row.labels.get("order", ""), row.mean("k")
        if order not in ORDERS or k is None or row.mean("faithfulness") is None:
            continue
        ends = ("faithfulness_ci_low", "faithfulness_ci_high")
        if order == "random" and row.mean("draws_low") is not None:
            ends = ("draws_low", "draws_high")
        values = [rounded(row.mean(name)) for name in ("faithfulness", *ends)]
        point = dict(zip(("f", "low", "high"), values, strict=True))
        curves.setdefault(order, []).append({"k": k, "head": row.labels.get("head")} | point)
    return {order: sorted(points, key=lambda p: float(p["k"])) for order, points in curves.items()}


def _why(row: Row, *names: str) -> list[str]:
    """Return the labels of a row that say why something is missing."""
    return [text for name, text in row.labels.items() if name.startswith(names)]


def paths(rows: Sequence[Row]) -> dict[StudyKey, dict[str, Any]]:
    """Return by study its strongest paths between heads."""
    found: dict[StudyKey, dict[str, Any]] = {}
    # A function of somebody's own may have the name and record something else.
    for study, members in studies(filter(is_path, rows)).items():
        lines = [
            {name: row.labels[name] for name in ("sender", "receiver", "input")}
            | {name: triple(row, name) for name in ("effect", "total")}
            | {"share": rounded(row.mean("share"))}
            for row in strongest(members, "effect", _MOST)
        ]
        notes = {note for row in members for note in _why(row, "why_no_effect")}
        found[study] = {"paths": lines, "notes": sorted(notes)}
    return found


def steering(rows: Sequence[Row]) -> dict[StudyKey, dict[str, Any]]:
    """Return by study what each dose does at each place."""
    found: dict[StudyKey, dict[str, Any]] = {}
    for study, members in studies(row for row in rows if "alpha" in row.labels).items():
        metrics = [name for name in _STEERED if any(name in row.values for row in members)]
        places = []
        for place, doses in group(members, lambda row: row.labels.get("place", "")).items():
            steered = [row for row in doses if row.labels.get("direction") == "emotion"]
            best = largest_dose({(r.labels.get("on", ""), dose_of(r)): r for r in steered})
            places.append(
                {
                    "place": place,
                    "largest": None if best is None else dose_of(best),
                    "doses": [
                        {"on": row.labels.get("on", ""), "alpha": dose_of(row)}
                        | {"direction": row.labels.get("direction", "")}
                        | {"values": {name: triple(row, name) for name in metrics}}
                        for row in sorted(doses, key=dose_of)
                    ],
                }
            )
        found[study] = {"metrics": metrics, "places": places}
    return found


def units(experiments: Mapping[str, Sequence[Row]]) -> dict[StudyKey, dict[str, Any]]:
    """Return by study its strongest units, layers, confirmation and edits."""
    found: dict[StudyKey, dict[str, Any]] = {}

    def of(study: StudyKey) -> dict[str, Any]:
        empty: dict[str, list[Any]] = {"units": [], "layers": [], "confirmed": [], "edits": []}
        return found.setdefault(study, {"notes": [], **empty})

    for name, rows in experiments.items():
        for study, members in studies(rows).items():
            told = of(study)
            if name == UNITS_SCREENED:
                told["notes"] = _why(members[0], "ranking", "why_no_")
                told["units"] = [_unit(row) for row in strongest(members, "atp", _MOST)]
            elif name == UNIT_LAYERS:
                told["layers"] = [
                    {"layer": row.labels.get("layer", "")}
                    | {"values": {k: rounded(row.mean(k)) for k in row.values}}
                    for row in members
                ]
            elif name == UNITS_CONFIRMED:
                told["confirmed"] = [_confirmed(row) for row in members]
            else:
                told["edits"] += [_edit(row) for row in members]
    return found


def _unit(row: Row) -> dict[str, Any]:
    unit = row.labels.get("unit", subject(row))
    values = {name: triple(row, name) for name in _UNITS if name in row.values}
    layer = unit.partition("U")[0].removeprefix("L")
    return {"unit": unit, "layer": int(layer) if layer.isdecimal() else None, "values": values}


def _confirmed(row: Row) -> dict[str, Any]:
    parts = ("top", "top_effect"), ("random", "random_effect"), ("difference", "difference")
    chance = of_rows([row], "difference").get((row.item, row.row), (None, None))[0]
    return (
        {"kind": row.labels.get("kind", ""), "n_units": row.mean("n_units")}
        | {name: triple(row, metric) for name, metric in parts}
        | {"p": rounded(chance)}
    )


def _edit(row: Row) -> dict[str, Any]:
    return (
        {"experiment": row.experiment, "units": subject(row), "spec": row.labels.get("spec", "")}
        | {"kind": ", ".join(filter(None, kind_of(row)))}
        | {"effect": triple(row, "logit_diff"), "random": triple(row, "logit_diff_random")}
        | {"recovery": rounded(row.mean("recovery"))}
    )


def controls(rows: Iterable[Row]) -> dict[StudyKey, list[dict[str, Any]]]:
    """Return by study the controls of its heads."""
    return {
        study: [
            {"head": row.labels.get("head", ""), "other_head": row.labels.get("other_head")}
            | {"values": {name: triple(row, name) for name in CONTROLS if name in row.values}}
            for row in members
        ]
        for study, members in studies(rows).items()
    }


class Aside:
    """What rows on heads say that no map shows: joint edits, other emotions, reasons.

    Attributes:
        sets: By study what joint edits do.
        specific: By study and head its effects on the words of each emotion.
        facts: By study and head what its rows say in words.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self.sets: dict[StudyKey, list[dict[str, Any]]] = {}
        self.specific: dict[StudyKey, dict[str, dict[str, Triple]]] = {}
        self.facts: dict[StudyKey, dict[str, list[dict[str, str]]]] = {}

    def see(self, row: Row) -> None:
        """Take note of a row."""
        study, heads = study_of(row), row.dims.get("heads", "")
        if not heads or not row.values:
            return
        if is_joint(row):
            metric = next(iter(row.values))
            score = " ".join(filter(None, (row.experiment, *kind_of(row), metric)))
            line = {"heads": heads, "score": score, "effect": triple(row, metric)}
            self.sets.setdefault(study, []).append(line)
            return
        if row.experiment == SPECIFIC:
            effects = {
                name.removeprefix("effect_"): triple(row, name)
                for name in row.values
                if name.startswith("effect_")
            }
            self.specific.setdefault(study, {})[heads] = effects
        kind = ", ".join(filter(None, kind_of(row)))
        for name, text in row.labels.items():
            if name.startswith("why_no_"):
                what = name.removeprefix("why_no_").replace("_", " ")
                label = f"no {what}" + (f" ({kind})" if kind else "")
                facts = self.facts.setdefault(study, {}).setdefault(heads, [])
                facts.append({"label": label, "text": text})

    def told(self, study: StudyKey) -> dict[str, Any]:
        """Return what is known of a study as its blob has it."""
        specific = self.specific.get(study)
        emotions = list(dict.fromkeys(e for found in (specific or {}).values() for e in found))
        return {
            "sets": self.sets.get(study, []),
            "facts": self.facts.get(study, {}),
            "specific": {
                "emotions": emotions,
                "heads": {
                    head: [found.get(emotion) for emotion in emotions]
                    for head, found in specific.items()
                },
            }
            if specific
            else None,
        }


class SteeredTexts:
    """Texts under steering, of a few prompts each: what a dose makes of them."""

    _PROMPTS = 6

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._studies: dict[StudyKey, dict[str, Any]] = {}

    def see(self, row: Row) -> None:
        """Take note of a whole row of steering."""
        own = row.labels.get("direction") == "emotion" and "alpha" in row.labels
        if not own or dose_of(row) == 0 or "steered_text" not in row.texts:
            return
        on = row.labels.get("on", "")
        empty: dict[str, Any] = {"prompts": {}, "clean": {}, "texts": []}
        known = self._studies.setdefault(study_of(row), empty)
        for name, column in (("prompts", "prompt"), ("clean", "clean_text")):
            known[name].setdefault(on, row.texts.get(column, [])[: self._PROMPTS])
        texts = row.texts["steered_text"][: self._PROMPTS]
        known["texts"].append(
            {"place": row.labels.get("place", ""), "on": on, "direction": "emotion"}
            | {"alpha": dose_of(row), "rows": [list(one) for one in enumerate(texts)]}
        )

    def told(self, study: StudyKey) -> dict[str, Any] | None:
        """Return the texts of a study, None where it has none."""
        return self._studies.get(study)
