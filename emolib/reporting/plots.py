"""Which plots a results folder gets, and from which rows and files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emolib.errors import InputError
from emolib.reporting.attention_plots import attention_patterns
from emolib.reporting.circuit_plots import faithfulness_curves
from emolib.reporting.dose_plots import dose_response
from emolib.reporting.drawable import (
    ABLATION,
    PATCHING,
    PROBES,
    SPECIFICITY,
    STEERING,
    Drawable,
)
from emolib.reporting.effect_plots import (
    ablation_sentiment_comparison,
    effect_by_layer,
    model_comparison,
    patching_keyword_comparison,
)
from emolib.reporting.path_plots import path_graph, path_heatmap
from emolib.reporting.probe_plots import probe_accuracy
from emolib.reporting.score_plots import check_score, head_reaction_heatmap, top_heads
from emolib.reporting.specificity_plots import specificity_matrices


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

    Raises:
        InputError: When there is nothing to draw, or a file is damaged.
    """
    check_score(score)
    found = Drawable(results, emotion=emotion, run=run)
    scores = found.scores(head_scores)
    ablation = found.effects(ABLATION, ablation_files)
    patching = found.effects(PATCHING, patching_files)
    paths = found.paths()
    attention = [] if head_scores or out else list(found.heads())
    steered = [] if out else found.stored(STEERING)
    circuits = found.circuits
    specific, probed = found.stored(SPECIFICITY), found.stored(PROBES)
    of_heads = paths or circuits or specific or probed
    if not (scores or ablation or patching or attention or of_heads or steered):
        about = f" for {emotion!r}" if emotion else ""
        raise InputError(
            f"{results}: no results to draw{about}; run `pytest experiments` first, or name files "
            "with --head-scores, --ablation-file or --patching-file"
        )
    folder = out or results / "plots/heads"
    made = []
    if scores:
        made += [
            head_reaction_heatmap(scores, folder / "head_reaction_heatmap.png", score=score),
            top_heads(scores, folder / "top_heads.png", score=score, top_n=top_n),
        ]
    if ablation:
        made += [
            ablation_sentiment_comparison(ablation, folder / "ablation_sentiment_comparison.png"),
            effect_by_layer(ablation, folder / "effect_by_layer.png"),
            model_comparison(found.compared(ablation), folder / "model_comparison.png"),
        ]
    if patching:
        name = "patching_keyword_comparison.png"
        made.append(patching_keyword_comparison(patching, folder / name))
    if circuits:
        made.append(faithfulness_curves(circuits, folder / "faithfulness_curves.png"))
    if paths:
        made += [
            path_heatmap(paths, folder / "path_heatmap.png"),
            path_graph(paths, folder / "path_graph.png"),
        ]
    if specific:
        made.append(specificity_matrices(specific, folder / "specificity_matrices.png"))
    if probed:
        made.append(probe_accuracy(probed, folder / "probe_accuracy.png"))
    made += attention_patterns(attention, results / "plots/attention", emotion=emotion)
    if steered:
        made.append(dose_response(steered, results / "plots/steering/dose_response.png"))
    return made
