"""Sections of the report on MLP units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from emolib.reporting.cells import cell
from emolib.reporting.experiments import UNIT_LAYERS, UNITS_CONFIRMED, UNITS_SCREENED
from emolib.reporting.markdown import escape, table
from emolib.reporting.report_parts import heading, missing, named, strongest_rows
from emolib.results.chances import of_rows
from emolib.results.frames import Lines
from emolib.results.rows import Row
from emolib.results.selection import strongest, studies, subject

# Layers named of a study.
_LAYERS = 3


def units(experiments: Mapping[str, Sequence[Row]], top_n: int) -> Iterator[str]:
    """Yield what MLP units do: the strongest, layers, held-out confirmation, ablation, patching."""
    yield "## Units"
    if not experiments:
        yield missing(UNITS_SCREENED, "unit_ablation")
        return
    own = (UNITS_SCREENED, UNIT_LAYERS, UNITS_CONFIRMED)
    yield from _scores(experiments.get(UNITS_SCREENED, ()), top_n)
    yield from _layers(experiments.get(UNIT_LAYERS, ()))
    yield from _confirmed(experiments.get(UNITS_CONFIRMED, ()))
    yield from strongest_rows({k: v for k, v in experiments.items() if k not in own}, top_n)


def _scores(rows: Sequence[Row], top_n: int) -> Iterator[str]:
    if rows:
        yield (
            "Units by |atp| (logits), the gradient averaged over both sides; relp: the same with "
            "relevance in place of the gradient; patch: what both estimate, exactly. zero, mean: "
            "exact ablation of the unit alone (Δ logit_diff); held out: the same over the pairs "
            "that took no part in selecting it. The strongest of so many are chosen on these "
            "prompts, so their intervals are no test and there is no q."
        )
    for study, members in studies(rows).items():
        doubt = next((row.labels["ranking"] for row in members if "ranking" in row.labels), None)
        yield heading(study)
        yield (
            f"No ranking: {escape(doubt)}."
            if doubt
            else f"Split-half reliability {cell(members[0].mean('reliability'))}."
        )
        yield _agreement(members[0])
        yield table(
            [
                {"unit": row.labels.get("unit", subject(row)), "atp": row.values.get("atp")}
                | {
                    title: row.values.get(name)
                    for name, title in (
                        ("patch_effect", "patch"),
                        ("zero_effect", "zero"),
                        ("mean_effect", "mean"),
                    )
                }
                | {
                    title: row.mean(name)
                    for name, title in (
                        ("relp", "relp"),
                        ("held_out_zero", "held out: zero"),
                        ("held_out_mean", "held out: mean"),
                        ("dla", "dla"),
                        ("delta_act", "Δ activation"),
                        ("act_d_z", "its d_z"),
                    )
                }
                for row in strongest(members, "atp", top_n)
            ]
        )


def _agreement(row: Row) -> str:
    """Return how well the scores rank units by what patching them does."""
    told = (f"{name} {cell(row.mean(f'{name}_correlation'))}" for name in ("atp", "relp"))
    why = row.labels.get("why_no_relp", "")
    return (
        f"Rank correlation with exact patching on held-out templates: {', '.join(told)}"
        f"{f' ({escape(why)})' if why else ''}."
    )


def _layers(rows: Sequence[Row]) -> Iterator[str]:
    lines: Lines = []
    for study, members in studies(rows).items():
        total = sum(row.mean("sum_abs_atp") or 0.0 for row in members)
        ranked = strongest(members, "sum_abs_atp", _LAYERS)
        if not total:
            continue
        shares = (
            f"{row.labels.get('layer', '')} {100 * (row.mean('sum_abs_atp') or 0.0) / total:.0f} %"
            for row in ranked
        )
        lines.append(
            named(study)
            | {"Σ\u2009|atp|": total, "layers": ", ".join(shares)}
            | {"units for half of the first": ranked[0].mean("units_for_half")}
        )
    if lines:
        yield "### Layers"
        yield "How much of all units' |atp| (logits) the strongest layers hold."
        yield table(lines)


def _confirmed(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the confirmation: a test, since the pairs took no part in the selection."""
    lines = [
        named(study)
        | {"ablation": row.labels.get("kind", ""), "units": row.mean("n_units")}
        | {"in both halves": row.mean("in_both_halves"), "top": row.values.get("top_effect")}
        | {"random": row.values.get("random_effect"), "difference": row.values.get("difference")}
        | {"p": of_rows([row], "difference").get((row.item, row.row), (None, None))[0]}
        for study, members in studies(rows).items()
        for row in members
    ]
    if lines:
        yield "### Confirmation on held-out templates"
        yield (
            "The top units of one half of the templates ablated together on the pairs of the "
            "other, beside random units of the same layers about as active (Δ logit_diff)."
        )
        yield table(lines)
