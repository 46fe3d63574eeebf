"""Circuits: which heads are enough, on models whose answer is known, and what of them is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from split_gain import share, split
from tiny import HEADS, profile, study_of, tiny_emotion, tiny_model

from emolib.inputs.rankings import Ranking
from emolib.methods.attribution import ranking as of_screening
from emolib.methods.circuits import by_attribution, find_circuit
from emolib.methods.head_sets import HeadSets, sizes
from emolib.methods.study import Study


def rows(found, order):
    return [row for row in found.points() if row["order"] == order]


@pytest.fixture(scope="module")
def thirds():
    study, heads = split(3, circuit_draws=4, circuit_greedy=4)
    return find_circuit(study), heads


def test_the_curve_of_the_ranking(thirds):
    found, heads = thirds
    curve = rows(found, "ranking")
    assert [row["k"] for row in curve] == sizes(16)
    expected = [0, share(2), share(4), *[1] * 5]
    assert [row["faithfulness"] for row in curve] == pytest.approx(expected, abs=1e-9)
    assert [row.get("head") for row in curve[:4]] == [None, *map(str, heads)]
    for row, size in zip(curve, expected, strict=True):
        assert row["logit_diff"] == pytest.approx(np.full(8, (size - 1) * 5), abs=1e-8)
        # Without scatter the interval is the value; of seven templates there is no band.
        assert row["faithfulness_ci_low"] == pytest.approx(size, abs=1e-9)
        assert row["faithfulness_ci_high"] == pytest.approx(size, abs=1e-9)
        assert "band_low" not in row


def test_random_heads_of_the_same_layers(thirds):
    found, _ = thirds
    curve = rows(found, "random")
    assert [row["k"] for row in curve] == sizes(16) and "head" not in curve[1]
    possible = [share(6 * m / 3) for m in range(4)]
    for row, draws in zip(curve, found.curves[1].draws.T, strict=True):
        assert all(min(abs(f - p) for p in possible) < 1e-9 for f in draws)
        assert row["faithfulness"] == pytest.approx(draws.mean())
        assert (row["draws_low"], row["draws_high"]) == (draws.min(), draws.max())
    assert curve[1]["faithfulness"] < 0.35
    # Exact, whatever the number of draws: no interval around what cannot be otherwise.
    assert (curve[0]["faithfulness"], curve[0]["faithfulness_ci_high"]) == (0, 0)
    assert (found.curves[1].draws[:, [0, -1]] == [0, 1]).all()


def test_the_greedy_order(thirds):
    found, heads = thirds
    curve = rows(found, "greedy")
    assert [row["k"] for row in curve] == [0, 1, 2, 3, 4]
    assert {row["head"] for row in curve[1:4]} == set(map(str, heads))
    assert [row["faithfulness"] for row in curve] == pytest.approx(
        [0, share(2), share(4), 1, 1], abs=1e-9
    )


def test_the_circuit_is_minimal_and_complete(thirds):
    found, heads = thirds
    assert found.circuit.heads == tuple(heads) and found.why == ""
    assert found.circuit.chosen == pytest.approx(1)
    (own,), (rest,) = rows(found, "circuit"), rows(found, "rest")
    assert (own["k"], rest["k"]) == (3, 13)
    assert own["faithfulness"] == pytest.approx(1) and own["held_out"] == pytest.approx(1)
    assert rest["held_out"] == pytest.approx(0, abs=1e-9)
    without = rows(found, "without")
    assert [row["head"] for row in without] == list(map(str, heads))
    for row in without:
        assert row["k"] == 2 and row["held_out"] == pytest.approx(share(4), abs=1e-9)
        assert row["loss"] == pytest.approx(1 - share(4), abs=1e-9)
        assert row["loss_ci_low"] == pytest.approx(1 - share(4), abs=1e-9)


def test_the_summary(thirds):
    found, _ = thirds
    own, random = found.summary()
    assert (own["order"], random["order"]) == ("ranking", "random")
    assert (own["by"], own["outside"]) == ("|atp_ig|", "patch")
    assert own["circuit"] == "L0H0+L0H1+L0H2" and own["k"] == 3 and own["n_heads"] == 16
    assert own["logit_diff_all"] == pytest.approx(4)
    assert own["logit_diff_none"] == pytest.approx(-1)
    assert own["logit_diff_rest"] == pytest.approx(-1)
    # Trapezoids over shares 0, 1/16, 2/16, 3/16, … of F 0, 0.394, 0.737, 1, …
    area = (share(2) / 2 + (share(2) + share(4)) / 2 + (share(4) + 1) / 2) / 16 + 13 / 16
    assert own["cpr"] == pytest.approx(area, abs=1e-9)
    assert own["cmd"] == pytest.approx(1 - area, abs=1e-9)
    assert random["cpr"] < own["cpr"] and random["cmd"] > own["cmd"]
    assert own["cpr_log"] < own["cpr"]


def test_importances_are_the_scores_of_the_ranking(thirds):
    found, heads = thirds
    told = list(found.importances())
    assert len(told) == 16 and [row["head"] for row in told[:3]] == list(map(str, heads))
    assert [row["importance"] for row in told] == list(found.ranking.scores)
    assert [row["in_circuit"] for row in told] == [1] * 3 + [0] * 13
    assert {(row["d_model"], row["parallel"], row["by"]) for row in told} == {
        (64, "no", "|atp_ig|")
    }
    assert (
        next(find_circuit(study_of("gpt_neox", circuit_draws=0)).importances())["parallel"] == "yes"
    )


def test_a_ranking_of_one_s_own_decides_the_order():
    study, heads = split(2, circuit_draws=2)
    others = [head for head in study.model.heads if head not in heads]
    last = Ranking((*others, *heads), (), "own.json")
    found = find_circuit(study, last)
    curve = rows(found, "ranking")
    # 14 that do nothing, then the first of two; between 13 and all 16 each is tried.
    assert [row["faithfulness"] for row in curve] == pytest.approx([0] * 7 + [1], abs=1e-9)
    assert len(found.circuit.heads) == 16 and found.ranking.by == "own.json"
    losses = {row["head"]: row["loss"] for row in rows(found, "without")}
    assert losses[str(heads[0])] == pytest.approx(1 - share(3), abs=1e-9)
    assert losses[str(others[0])] == pytest.approx(0, abs=1e-9)
    own = next(found.summary())
    assert own["circuit"] == "16 heads" and own["by"] == "own.json"
    # Without scores a head gets the number of those that it stands above.
    assert [row["importance"] for row in found.importances()] == list(range(15, -1, -1))


def test_the_least_number_is_found_between_two_sizes():
    study, heads = split(2, circuit_draws=0)
    others = [head for head in study.model.heads if head not in heads]
    found = find_circuit(study, Ranking((*others[:5], *heads, *others[5:]), (), "own.json"))
    # Of the sizes 5 and 8 neither is 7.
    assert len(found.circuit.heads) == 7
    assert [curve.order for curve in found.curves] == ["ranking"]


def test_held_out_pairs_took_no_part_in_the_choice():
    found = find_circuit(study_of("gpt2", circuit_draws=0), Ranking(tuple(HEADS), (), "own"))
    # Three templates have no halves.
    assert found.circuit is None
    assert found.why == "3 templates: fewer than 4 have no halves to choose on"
    assert "why_no_circuit" in next(found.summary())
    study = Study(tiny_model("gpt2", torch.float64), tiny_emotion(12), profile(circuit_draws=0))
    found = find_circuit(study)
    assert found.circuit is not None
    halves = {True: set(), False: set()}
    for template, is_out in zip(found.clusters, found.held_out, strict=True):
        halves[bool(is_out)].add(template)
    assert not halves[True] & halves[False] and len(halves[True]) == len(halves[False]) == 3
    sets, count = HeadSets(study), len(found.circuit.heads)
    chosen = [sets.faithfulness(found.ranking.heads[:k], ~found.held_out) for k in range(count + 1)]
    assert chosen[-1] >= 0.8 and found.circuit.chosen == pytest.approx(chosen[-1])
    (own,) = rows(found, "circuit")
    expected = sets.faithfulness(found.circuit.heads, found.held_out)
    assert own["held_out"] == pytest.approx(expected)


def test_without_a_gap_everything_is_null_with_the_reason():
    study = study_of("gpt2", circuit_draws=2)
    same = torch.tensor([40])
    study.targets = (same, same)
    found = find_circuit(study, Ranking(tuple(HEADS), (), "own"))
    for row in found.points():
        assert row["faithfulness"] is None and "below 0.1" in row["why_no_faithfulness"]
        assert row["logit_diff"] == pytest.approx(np.zeros(6)) and "draws_low" not in row
    own, random = found.summary()
    assert own["cpr"] is None and "below 0.1" in own["why_no_cpr"] and random["cmd"] is None


def test_the_order_is_that_of_screening():
    study = study_of("llama")
    heads, _ = of_screening(study)
    found = by_attribution(study)
    assert list(found.heads) == heads
    assert list(map(abs, found.scores)) == sorted(map(abs, found.scores), reverse=True)
    assert found.doubt == "" or found.doubt.startswith(("reliability", "no reliability"))


def test_one_head_may_be_enough():
    study, heads = split(1, circuit_draws=1)
    found = find_circuit(study)
    assert found.circuit.heads == tuple(heads)
    assert rows(found, "ranking")[1]["faithfulness"] == pytest.approx(1)
