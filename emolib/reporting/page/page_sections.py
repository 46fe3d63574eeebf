"""The sections of the page that are read without scripts, from what rows were seen to say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from emolib.reporting.experiments import ABLATED, CONTROLS, PATCHED, PROBED, SCREENED, SPECIFIC
from emolib.reporting.page.baseline_check import Compared
from emolib.reporting.page.head_details import Detail
from emolib.reporting.page.head_maps import Grid, HeadMaps
from emolib.reporting.page.map_scores import Score
from emolib.reporting.page.page_tables import (
    Cell,
    Section,
    Table,
    Tone,
    head_cell,
    study_cells,
    table_of,
    tip_of,
)
from emolib.reporting.page.page_words import Told, estimate, name, shown
from emolib.reporting.page.study_prompts import Prompts
from emolib.reporting.report_steering import TOLERANCE
from emolib.results.rows import Row
from emolib.results.selection import StudyKey, kinds, strongest, studies, subject
from emolib.stats.significance import LEVEL
from emolib.stats.summary import ENOUGH

# Rows that a table has, over all studies.
_ROWS = 30
# Texts of a study, paths of one, units of one, metrics of an experiment of somebody's own.
_TEXTS, _PATHS, _UNITS, _METRICS = 3, 5, 3, 6
_TOP = (
    (SCREENED, "atp_ig"),
    (ABLATED, "logit_diff"),
    (PATCHED, "recovery"),
    (SPECIFIC, "specificity"),
    (PROBED, "accuracy"),
)
_TONES: Mapping[str, Tone] = {
    "drifted": "bad",
    "inconclusive": "warn",
    "equivalent": "good",
    "replayed": "good",
}
_Views = Mapping[StudyKey, Mapping[str, Any]]


def heads(maps: HeadMaps) -> Section:
    """Return the strongest heads of each study with what the experiments say of them."""
    shown_scores = [score for score in maps.scores if (score.experiment, score.metric) in _TOP]
    each = max(1, _ROWS // max(1, len(maps.studies)))
    lines, tips = [], {}
    for study in maps.studies:
        grids = maps.grids[study]
        for head in maps.ranked(study)[: min(each, 5)]:
            line = study_cells(study) | {"head": head_cell(study, head)}
            for score in shown_scores:
                if score not in grids or not score.is_home:
                    continue
                title = _column(score)
                tips[title] = tip_of(score.metric, score.experiment)
                line[title] = _with_stars(grids[score], head)
            lines.append(line)
    default = maps.default()
    by = f"By |{name(_column(default))}|." if default else ""
    note = f"{by} In brackets the 95 % CI; * q < {LEVEL} over all heads of a map."
    table = table_of("The strongest heads", lines, note=note, tips=tips, most=3 * _ROWS)
    return Section("heads", "Heads", tables=[table] if lines else [])


def _column(score: Score) -> str:
    names = {"logit_diff": "Δ logit_diff", "recovery": "R", "accuracy": "probe accuracy"}
    kind = score.kind.partition(",")[0]
    return (
        f"{kind}: {names.get(score.metric, score.metric)}"
        if kind
        else names.get(score.metric, score.metric)
    )


def _with_stars(grid: Grid, head: str) -> Cell:
    """Return the value of a head with its interval, and a star where it is no chance."""
    value, q = grid.of(head), grid.of(head, "q")
    if value is None:
        return Cell("–")
    star = " *" if q is not None and q < LEVEL else ""
    return Cell(estimate(value, grid.of(head, "low"), grid.of(head, "high")) + star, sort=value)


def texts(strongest_of: Mapping[StudyKey, tuple[str, Detail]], prompts: Prompts) -> Section:
    """Return of the strongest head of each study the texts that it changed most."""
    tables = []
    for study, (head, detail) in strongest_of.items():
        changed = next((c for c in detail.texts.values() if len(c.sizes)), None)
        if changed is None:
            continue
        side, known = changed.side, prompts[study]
        lines = []
        for place, after, *before in changed.rows(-math.inf)[:_TEXTS]:
            pair = known.ids[place]
            clean = before[0] if before else known.clean[side].get(pair, "")
            asked = known.prompts[side].get(pair, pair)
            lines.append({"prompt": Cell(shown(asked)), "before": Cell(shown(clean))}
                         | {"after": Cell(shown(after))})  # fmt: skip
        caption = f"{', '.join(study)}: {head}, {changed.title}"
        note = f"{len(changed.sizes)} of {changed.of} texts changed."
        tables.append(table_of(caption, lines, note=note))
    return Section("texts", "Texts before and after", tables=tables)


def circuits(views: _Views) -> Section:
    """Return the circuit of each study."""
    lines = [
        study_cells(study)
        | {"circuit": ", ".join(view["circuit"]), "heads": view["k"], "of": view["n_heads"]}
        | {"F, held out": view["held_out"], "F of the rest": view["rest"]}
        | {"CPR": view["cpr"], "CPR, random": view["cpr_random"], "CMD": view["cmd"]}
        for study, view in views.items()
    ]
    lead = (
        f"The least number of top heads whose F reaches {ENOUGH} on one half of the templates; "
        "F, the share that they keep, is told on the other half."
    )
    tips = {"F, held out": tip_of("held_out"), "F of the rest": tip_of("rest")}
    tips |= {"CPR": tip_of("cpr"), "CMD": tip_of("cmd")}
    tables = [table_of("Circuits", lines, tips=tips)]
    return Section("circuits", "Circuits", [lead], tables, _notes(views))


def paths(views: _Views) -> Section:
    """Return the strongest paths of each study."""
    lines = []
    for study, view in views.items():
        whole = [path for path in view["paths"] if path["input"] == "all"]
        for path in whole[: max(1, min(_PATHS, _ROWS // len(views)))]:
            ends = {end: _end(study, path[end]) for end in ("sender", "receiver")}
            effects = {"Δ logit_diff": path["effect"], "sender's total": path["total"]}
            lines.append(study_cells(study) | ends | effects | {"share": path["share"]})
    lead = "What goes from one head to another, or straight to the logits, by all inputs together."
    tables = [table_of("Strongest paths", lines)]
    return Section("paths", "Paths between heads", [lead], tables, _notes(views))


def _notes(views: _Views) -> list[str]:
    """Return what rows say of why something is missing, study by study."""
    return [shown(f"{', '.join(study)}: {n}") for study, v in views.items() for n in v["notes"]]


def _end(study: StudyKey, named: str) -> Cell:
    return head_cell(study, named) if named != "logits" else Cell(named)


def controls(views: Mapping[StudyKey, Sequence[Mapping[str, Any]]]) -> Section:
    """Return the controls of the strongest heads."""
    lines = []
    for study, members in views.items():
        for member in members[: max(1, _ROWS // len(views))]:
            line = study_cells(study) | {"head": head_cell(study, member["head"])}
            lines.append(line | {k.replace("_", " "): v for k, v in member["values"].items()})
    lead = (
        "Patching a head on neutral prompts beside what should do nothing: another head of its "
        "layer, labels shuffled, prompts with the words alone. A wide interval excludes little."
    )
    tips = {metric.replace("_", " "): tip_of(metric) for metric in CONTROLS}
    return Section("controls", "Controls", [lead], [table_of("Controls", lines, tips=tips)])


def steering(views: _Views) -> Section:
    """Return of each study and place the largest dose whose texts stay fluent."""
    lines = []
    for study, view in views.items():
        for place in view["places"]:
            line = study_cells(study) | {"place": place["place"]}
            best = next(
                (
                    dose
                    for dose in place["doses"]
                    if (dose["on"], dose["direction"]) == ("neutral", "emotion")
                    and dose["alpha"] == place["largest"]
                ),
                None,
            )
            line["largest fluent α"] = "none" if best is None else place["largest"]
            if best is not None:
                named = {"logit_diff": "Δ logit_diff", "fluency": "Δ fluency"}
                named |= {"sentiment": "Δ sentiment", "keyword_rate": "Δ keywords"}
                line |= {title: best["values"].get(metric) for metric, title in named.items()}
            lines.append(line)
    lead = (
        "α times the direction from neutral to emotion, added on neutral prompts of templates that "
        "did not make it. Largest: up to which fluency falls by no more than "
        f"{TOLERANCE:g} nat a token."
    )
    return Section("steering", "Steering", [lead], [table_of("Largest doses", lines)])


def units(views: _Views) -> Section:
    """Return the strongest units of each study, and what confirms them."""
    lines, confirmed, edits = [], [], []
    for study, view in views.items():
        for unit in view["units"][: max(1, min(_UNITS, _ROWS // len(views)))]:
            values = {metric: unit["values"].get(metric) for metric in
                      ("atp", "patch_effect", "zero_effect", "mean_effect")}  # fmt: skip
            lines.append(study_cells(study) | {"unit": unit["unit"]} | values)
        for found in view["confirmed"]:
            parts = {part: found[part] for part in ("top", "random", "difference", "p")}
            confirmed.append(study_cells(study) | {"ablation": found["kind"]} | parts)
        for edit in view["edits"]:
            named = {name: edit[name] for name in ("units", "spec", "kind")}
            told = {"Δ logit_diff": edit["effect"], "random units": edit["random"]}
            edits.append(study_cells(study) | named | told | {"R": edit["recovery"]})
    tips = {m: tip_of(m, "unit_screening") for m in ("atp", "patch_effect", "zero_effect")}
    tables = [
        table_of("The strongest units", lines, tips=tips),
        table_of("The top units together, on held-out templates (Δ logit_diff)", confirmed),
        table_of("Units ablated and patched by name or rank, beside random ones", edits),
    ]
    shown_tables = [table for table in tables if table.rows]
    return Section("units", "MLP units", tables=shown_tables, notes=_notes(views))


def models(comparison: Mapping[str, Any] | None) -> Section:
    """Return the models side by side."""
    tables = []
    if comparison is not None:
        zeroed = [line for line in comparison["lines"] if line["ablation"] == "zero"]
        caption = f"Models side by side{', zero ablation' if zeroed else ''}"
        tables = [
            table_of(caption, zeroed or comparison["lines"]),
            table_of("How far rankings agree", comparison["ranks"]),
        ]
    return Section("models", "Models side by side", tables=[t for t in tables if t.rows])


def check(found: Compared) -> Section:
    """Return what became of the effects of the baseline, worst first."""
    lines = []
    told = found.told()
    for effect in told["effects"] if told else ():
        study = StudyKey(effect["model"], effect["emotion"])
        drift = (
            None if effect["drift"] is None else [effect["drift"], *(effect["ci"] or (None, None))]
        )
        lines.append(
            {"verdict": Cell(effect["verdict"], tone=_TONES.get(effect["verdict"], ""))}
            | study_cells(study)
            | {"heads": head_cell(study, effect["heads"]), "effect": effect["name"]}
            | {"baseline": effect["baseline"], "now": effect["now"]}
            | {"drift, 90 % CI": drift, "δ": effect["delta"], "why": effect["why"]}
        )
    notes = list(found.notes)
    if found.missing:
        notes.append(f"{len(found.missing)} effects of the baseline are not among these results.")
    if found.baseline is None:
        notes.append(
            "No baseline: `pytest experiments --effects-save` keeps one, and what moved since "
            "then stands here."
        )
    counts = ", ".join(f"{n} {outcome}" for outcome, n in told["counts"].items()) if told else ""
    caption = f"Against {found.baseline.name}: {counts}" if found.baseline and told else ""
    tables = [table_of(caption, lines)] if lines else []
    return Section("check", "Regression check", tables=tables, notes=list(map(shown, notes)))


def others(experiments: Mapping[str, Sequence[Row]]) -> Section:
    """Return the strongest rows of each experiment that is not the project's own."""
    tables: list[Table] = []
    for experiment, rows in experiments.items():
        metrics = list(dict.fromkeys(metric for row in rows for metric in row.values))[:_METRICS]
        lines = []
        for study, members in studies(rows).items():
            alike = [row for found in kinds(members).values() for row in found]
            for row in strongest(alike, metrics[0] if metrics else ""):
                values = {m: _value(row, m) for m in metrics}
                named = {k: v for k, v in zip(study._fields, study, strict=True) if v}
                lines.append(named | {"what": subject(row)} | row.labels | values)
        tables.append(table_of(experiment, lines))
    return Section("others", "Other experiments", tables=[table for table in tables if table.rows])


def _value(row: Row, metric: str) -> list[float | None] | None:
    mean = row.mean(metric)
    return None if mean is None else [mean, *(row.interval(metric) or (None, None))]


def glossary(words: Mapping[str, Told]) -> Section:
    """Return what the columns on the page are."""
    lines = [
        {"column": metric}
        | {"what": told["what"], "formula": told["formula"], "unit": told["unit"]}
        | {"sign": told["sign"], "range": told["range"], "source": told["source"]}
        for metric, told in sorted(words.items())
        if told["what"]
    ]
    tables = [table_of("Columns", lines, most=len(lines))] if lines else []
    return Section("glossary", "What the columns are", tables=tables, folded=True)
