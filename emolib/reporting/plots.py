"""Which plots a results folder gets, and from which rows and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from emolib.errors import InputError
from emolib.reporting.attention_plots import attention_patterns, effects_of
from emolib.reporting.circuit_plots import faithfulness_curves
from emolib.reporting.control_plots import controls
from emolib.reporting.dose_plots import dose_response
from emolib.reporting.drawable import (
    ABLATION,
    CONTROLS,
    PATCHING,
    PROBES,
    SPECIFICITY,
    STEERING,
    UNITS,
    UNITS_CONFIRMED,
    Drawable,
)
from emolib.reporting.effect_plots import (
    ablation_sentiment_comparison,
    effect_by_layer,
    has_text,
    head_effects,
    model_comparison,
    patching_keyword_comparison,
    recovery_by_position,
)
from emolib.reporting.path_plots import path_graph, path_heatmap
from emolib.reporting.plot_style import check_style, styled
from emolib.reporting.probe_plots import probe_accuracy
from emolib.reporting.score_plots import check_score, head_reaction_heatmap, top_heads
from emolib.reporting.specificity_plots import specificity_matrices
from emolib.reporting.unit_plots import unit_effects


def draw(
    results: Path,
    out: Path | None = None,
    *,
    head_scores: Sequence[Path] = (),
    ablation_files: Sequence[Path] = (),
    patching_files: Sequence[Path] = (),
    emotion: str | None = None,
    top_n: int = 10,
    score: str = "atp_ig",
    run: str | None = None,
    kind: str = "png",
    style: str = "screen",
) -> list[Path]:
    """Draw all that a folder has results for, and return the files.

    What is drawn comes from the store; from results files where they are named, or where the store
    has nothing of their kind.

    Args:
        results: The results folder of a profile.
        out: Where to; ``plots/heads``, ``plots/attention`` and ``plots/steering`` in `results` by
            default, of which the last two are then not drawn.
        head_scores: Scores files, in place of the rows in the store.
        ablation_files: Files of head ablation, in place of the rows in the store.
        patching_files: Files of head patching, in place of the rows in the store.
        emotion: Draw the effects on this emotion alone.
        top_n: Heads in `top_heads`.
        score: Which score the heat map and `top_heads` show.
        run: Of this run of `emolib.results.records.Store.runs`; of the last state by default.
        kind: The format of the files, one of `emolib.reporting.plot_style.FORMATS`.
        style: What they look like, one of `emolib.reporting.plot_style.STYLES`.

    Raises:
        InputError: When there is nothing to draw, or a file is damaged.
    """
    check_score(score)
    check_style(style, kind)
    found = Drawable(results, emotion=emotion, run=run)
    if emotion is not None and found.emotions and emotion not in found.emotions:
        raise InputError(
            f"{results}: no results to draw for {emotion!r}; there are those of "
            f"{', '.join(sorted(found.emotions))}"
        )
    scores = found.scores(head_scores)
    ablation = found.effects(ABLATION, ablation_files)
    patching = found.effects(PATCHING, patching_files)
    paths = found.paths()
    attention = [] if head_scores or out else list(found.heads())
    steered = [] if out else found.stored(STEERING)
    recovered = [row for row in patching if row.mean("recovery") is not None]
    per_prompt = found.per_prompt(ablation)
    # By name what there is to draw, and how.
    of_heads: dict[str, tuple[Sequence[Any], Callable[..., Path]]] = {
        "head_reaction_heatmap": (scores, partial(head_reaction_heatmap, score=score)),
        "top_heads": (scores, partial(top_heads, score=score, top_n=top_n)),
        "head_effects": (ablation, head_effects),
        "ablation_sentiment_comparison": (ablation, ablation_sentiment_comparison),
        "effect_by_layer": (per_prompt, effect_by_layer),
        "model_comparison": (per_prompt, model_comparison),
        "patching_keyword_comparison": (
            list(filter(has_text, patching)), patching_keyword_comparison
        ),
        "recovery_by_position": (recovered, recovery_by_position),
        "controls": (found.stored(CONTROLS), controls),
        "faithfulness_curves": (found.circuits, faithfulness_curves),
        "path_heatmap": (paths, path_heatmap),
        "path_graph": (paths, path_graph),
        "specificity_matrices": (found.stored(SPECIFICITY), specificity_matrices),
        "probe_accuracy": (found.stored(PROBES), probe_accuracy),
        "unit_effects": (found.stored(UNITS) + found.stored(UNITS_CONFIRMED), unit_effects),
    }  # fmt: skip
    if not (attention or steered or any(rows for rows, _ in of_heads.values())):
        about = f" for {emotion!r}" if emotion else ""
        raise InputError(
            f"{results}: no results to draw{about}; run `pytest experiments` first, or name files "
            "with --head-scores, --ablation-file or --patching-file"
        )
    folder = out or results / "plots/heads"
    with styled(style):
        made = [
            plot(rows, folder / f"{name}.{kind}") for name, (rows, plot) in of_heads.items() if rows
        ]
        made += attention_patterns(
            attention,
            results / "plots/attention",
            effects=effects_of(ablation, patching, scores),
            emotion=emotion,
            kind=kind,
        )
        if steered:
            made.append(dose_response(steered, results / f"plots/steering/dose_response.{kind}"))
    return made
