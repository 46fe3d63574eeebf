"""Which metrics a map can show, and how they are named."""

from __future__ import annotations

from dataclasses import replace

from made import around, rows_of

from emolib.reporting.page.map_scores import by_pair, kind_name, scores_of

PATCHED = {"logit_diff": around(1.0), "recovery": 0.5, "kl": around(0.1), "margin": around(2.0)}


def patched(**labels):
    (row,) = rows_of("head_patching", PATCHED | labels, heads="L0H1")
    return replace(row, provenance={"position": "last"})


def test_scores_have_names_of_their_own():
    (row,) = rows_of("head_ablation", {"logit_diff": around(1.0), "fluency": 0.5}, heads="L0H1",
                     ablation="zero")  # fmt: skip
    scores = scores_of(row)
    assert [score.id for score in scores] == [
        "head_ablation/zero/logit_diff", "head_ablation/zero/fluency",
    ]  # fmt: skip
    assert scores[0].group == "Ablation: zero" and scores[0].words["title"] == "Δ logit_diff"
    assert by_pair(row) == scores[0]


def test_patching_elsewhere_has_few_scores_and_none_by_pair():
    home = patched(direction="denoise", position="last")
    assert [score.metric for score in scores_of(home)] == ["logit_diff", "recovery", "kl"]
    assert by_pair(home).id == "head_patching/denoise, last/logit_diff"
    away = patched(direction="denoise", position="slot")
    assert [score.metric for score in scores_of(away)] == ["logit_diff", "recovery"]
    assert by_pair(away) is None


def test_an_experiment_of_somebody_s_own_has_its_first_metrics():
    record = {f"m{i}": around(i) for i in range(9)}
    first, second = rows_of("mine", record, record, heads="L0H1", size="<b>")
    assert [score.metric for score in scores_of(first)] == [f"m{i}" for i in range(6)]
    assert kind_name(first) == "<b>, record 0" and kind_name(second) == "<b>, record 1"
    assert by_pair(second).group == "mine: <b>, record 1"


def test_a_probe_that_guesses_says_nothing():
    (row,) = rows_of("head_probe", {"accuracy": around(0.5)}, heads="L0H1")
    assert scores_of(row)[0].base == 0.5 and by_pair(row) is None
