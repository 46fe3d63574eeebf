"""Circuits: how few heads do what all of them do, beside random ones, and what each does there.

Formulas: docs/science.md, "Circuits": faithfulness, minimality and completeness as in Wang et al.
(2211.00593), CPR and CMD as in Mueller et al. (2504.13151).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, pairwise

import numpy as np
from numpy.typing import NDArray

from emolib.engine.costs import CLEAN, Planned, Runs
from emolib.engine.layers import is_parallel
from emolib.inputs.heads import Head
from emolib.inputs.rankings import Ranking
from emolib.methods.attribution import attribution_scores, rank
from emolib.methods.circuit_records import Circuit, Circuits, Curve
from emolib.methods.head_sets import Chosen, HeadSets, greedy, same_layers, sizes, table
from emolib.methods.patching import FLOOR
from emolib.methods.scores import Table
from emolib.methods.study import Study
from emolib.stats.faithfulness import faithfulness
from emolib.stats.summary import ENOUGH, split_half, two_halves, unreliable

TEMPLATES = 4
"""Fewer templates have no half to choose a circuit on and another to try it on."""
# Heads that a circuit is planned to have: how many it has, only its runs tell.
_PLANNED = 5


def by_attribution(study: Study, scores: Table | None = None) -> Ranking:
    """Return the heads by ``|atp_ig|``, as screening ranks them.

    Args:
        study: The study.
        scores: ``atp_ig`` of each pair and head, logits, ``[n_pairs, H]``; computed where None.
    """
    found = attribution_scores(study)["atp_ig"] if scores is None else scores
    heads = rank(study.model.heads, found)
    means = dict(zip(study.model.heads, found.mean(0), strict=True))
    doubt = unreliable(split_half(found, seed=study.profile.seed))
    return Ranking(tuple(heads), tuple(float(means[head]) for head in heads), "|atp_ig|", doubt)


def find_circuit(study: Study, ranking: Ranking | None = None) -> Circuits:
    """Return the faithfulness of sets of heads, and the circuit among them.

    Args:
        study: The study; its profile says what becomes of the heads outside a set, how many draws
            of random heads there are and how far the greedy order goes.
        ranking: The order of the heads; by ``|atp_ig|`` where None.

    Raises:
        InputError: When the study has free prompts in place of pairs.
    """
    sets = HeadSets(study)
    ranking = ranking or by_attribution(study)
    clusters = study.prompts("emotion").clusters
    halves = two_halves(len(study.pairs), clusters)
    steps = sizes(len(ranking.heads))
    curves = tuple(_curves(sets, ranking.heads, steps, halves == 0))
    circuit, why = _circuit(sets, ranking.heads, steps, halves, clusters)
    return Circuits(
        ranking,
        sets.outside,
        sets.full,
        sets.empty,
        curves,
        circuit,
        why,
        halves == 1,
        None if clusters is None else tuple(clusters),
        int(study.model.w_o(study.model.heads[0]).shape[1]),
        is_parallel(study.model.hf.config),
        study.profile.seed,
    )


def _curves(
    sets: HeadSets, heads: Sequence[Head], steps: Sequence[int], choosing: Chosen
) -> Iterator[Curve]:
    """Yield the curves of the ranking, of random heads and of the greedy order."""
    profile = sets.study.profile
    seeds = [f"{profile.seed}:circuit:{draw}" for draw in range(profile.circuit_draws)]
    drawn = [same_layers(heads, steps, seed) for seed in seeds]
    tops = [heads[:step] for step in steps]
    sets.expect(chain([()], tops, *drawn))
    last = ["", *(str(heads[step - 1]) for step in steps[1:])]
    yield Curve("ranking", steps, last, table(sets, tops))
    if drawn:
        metric = np.stack([table(sets, draw) for draw in drawn])
        # Draws that are alike are their mean, to the last bit: none and all heads are.
        mean = np.where(np.ptp(metric, axis=0) == 0, metric[0], metric.mean(0))
        yield Curve("random", steps, [""] * len(steps), mean, _by_draw(metric, sets))
    if profile.circuit_greedy:
        taken = greedy(sets, profile.circuit_greedy, choosing)
        every = [taken[:step] for step in range(len(taken) + 1)]
        yield Curve("greedy", range(len(every)), ["", *map(str, taken)], table(sets, every))


def _by_draw(metric: NDArray[np.float64], sets: HeadSets) -> Table | None:
    """Return F of each draw, ``[draws, K]``, of ``[draws, n, K]``; None without a gap."""
    if sets.faithfulness(sets.heads) is None:
        return None
    return np.stack([faithfulness(found, sets.empty, sets.full) for found in metric])


def _circuit(
    sets: HeadSets,
    heads: Sequence[Head],
    steps: Sequence[int],
    halves: NDArray[np.int64],
    clusters: Sequence[str] | None,
) -> tuple[Circuit | None, str]:
    """Return the circuit, chosen on one half of the templates, or why there is none."""
    templates = len(set(clusters)) if clusters else len(halves)
    if templates < TEMPLATES:
        return None, f"{templates} templates: fewer than {TEMPLATES} have no halves to choose on"
    choosing = halves == 0
    if sets.faithfulness(heads, choosing) is None:
        return None, f"the gap on the half that chooses is below {FLOOR:g}"
    count = _smallest(sets, heads, steps, choosing)
    chosen = heads[:count]
    less = [[head for head in chosen if head != one] for one in chosen]
    rest = heads[count:]
    sets.expect([*less, rest])
    reached = sets.faithfulness(chosen, choosing)
    assert reached is not None
    metric = sets.metric(chosen), table(sets, less), sets.metric(rest)
    return Circuit(tuple(chosen), reached, *metric), ""


def _smallest(sets: HeadSets, heads: Sequence[Head], steps: Sequence[int], choosing: Chosen) -> int:
    """Return the least number of top heads that are enough, also between two sizes of the curve."""

    def is_enough(count: int) -> bool:
        return (sets.faithfulness(heads[:count], choosing) or 0.0) >= ENOUGH

    before, step = next((pair for pair in pairwise(steps) if is_enough(pair[1])), steps[-2:])
    between = range(before + 1, step)
    sets.expect(heads[:count] for count in between)
    return next((count for count in between if is_enough(count)), step)


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `find_circuit`, but for the ranking, which others share.

    How large the circuit turns out, and how many draws are alike, is not known before: it is
    planned to have 5 heads, one size of the curve, and all draws to differ.
    """
    count, profile = planned.n_layers * planned.n_heads, planned.profile
    inner = len(sizes(count)) - 2
    runs = 1 + inner * (1 + profile.circuit_draws)
    runs += sum(count - taken for taken in range(min(profile.circuit_greedy, count)))
    # One less each, and all but these; between it and the size before there is one more.
    runs += min(_PLANNED, count) + 2
    yield Runs(planned.prompts["emotion"], "all", (0,) * runs)
    yield replace(planned.runs("neutral", (CLEAN,)), again=True)
