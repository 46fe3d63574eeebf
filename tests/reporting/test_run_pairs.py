"""Two runs beside each other: what is the same effect, what became of it, what is told of both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from made import changed, make_results, rows_of
from two_runs import altered, scaled, whole

from emolib.errors import InputError
from emolib.reporting.run_pairs import EFFECTS, Side, diff, side_of
from emolib.results.glossary import entry
from emolib.results.records import Store


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return changed(tmp_path_factory.mktemp("before"), whole)


@pytest.fixture
def between(before, tmp_path):
    """Give the diff of whole results and those that a change makes of them."""

    def of(change, *metrics):
        now = changed(tmp_path, change)
        return diff(Side("a", before), Side("b", now), metrics)

    return of


def by_name(found):
    return {effect.name: effect for effect in found.effects}


def test_the_same_numbers_are_replayed_and_nothing_differs(between):
    found = between(whole)
    # Attention has no effect in logits; the rest is three kinds, four patchings and a score a head.
    assert found.counts == {"not judged": 4, "replayed": 4 * (3 + 4 + 1)}
    assert (found.only_a, found.only_b, found.differing) == ([], [], [])
    assert {effect.why for effect in found.effects} == {"", "delta_slot is not in logits"}


def test_an_effect_that_halves_has_drifted_and_stands_first(between):
    found = between(scaled(0.5, noise=0.02))
    drifted = [effect for effect in found.effects if effect.kind == "drifted"]
    assert found.effects[: len(drifted)] == drifted
    assert {effect.before.subject for effect in drifted} == {"L1H0"}
    # The mean ablation's effect is -0.1, and half of that is less than 2 % of the gap.
    assert len(drifted) == 2 + 4
    effect = by_name(found)["head_ablation[one-joy-L1H0-zero]"]
    assert effect.verdict.delta == pytest.approx(0.2 * abs(effect.before.mean))
    assert effect.drift == pytest.approx(-effect.before.mean / 2, abs=0.02)
    low, high = effect.verdict.ci
    assert low < effect.drift < high and effect.before.metric == "logit_diff"


def test_effects_are_judged_as_one_of_all_that_are(between, monkeypatch):
    asked = []
    from emolib.reporting import run_pairs

    def noted(*values, tests, replay, **options):
        asked.append((tests, replay))
        return judge(*values, tests=tests, replay=replay, **options)

    judge = run_pairs.judge
    monkeypatch.setattr(run_pairs, "judge", noted)
    between(whole)
    assert set(asked) == {(32, True)} and len(asked) == 32
    asked.clear()
    between(scaled(1.0, seed=3))
    assert {replay for _, replay in asked} == {False}


def test_settings_that_differ_are_told_and_do_not_keep_effects_apart(between):
    found = between(scaled(1.0, seed=3, versions={"torch": "3"}))
    assert found.counts["equivalent"] == 32 and "replayed" not in found.counts
    told = between(altered(lambda row: row | {"context": "other"}))
    assert told.differing and found.differing == ["seed: 0 in A; 3 in B", "torch: 2 in A; 3 in B"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: row["provenance"].update(prompts="other"), "of another prompt set"),
        (lambda row: row["provenance"]["model"].update(tokenizer="o"), "of another tokenizer"),
        (lambda row: row["pairs"].update(ids=["x"] * 24), "of other pairs (24 in A, 24 in B)"),
        (lambda row: row["provenance"].pop("device"), "of no model and emotion"),
    ],
)
def test_what_cannot_be_compared_pair_by_pair_is_not_judged(between, change, why):
    def apply(row):
        change(row)
        return row

    found = between(altered(apply))
    assert found.counts == {"not judged": 36}
    assert why in {effect.why for effect in found.effects}
    assert by_name(found)["head_ablation[one-joy-L1H0-zero]"].drift == 0


def test_other_weights_are_judged_and_not_asked_to_replay(between):
    def retrain(row):
        row["provenance"]["model"]["weights"] = "new"
        return row

    found = between(altered(retrain))
    assert found.counts == {"not judged": 4, "equivalent": 32}
    assert found.differing == ["one, weights: w in A; new in B"]


def test_what_one_has_alone_is_named(between):
    def left(row):
        return row if row["dims"]["heads"] != "L0H0" else None

    found = between(altered(left))
    assert len(found.only_a) == 9 and not found.only_b
    assert "head_patching[one-joy-L0H0-denoise-last]" in found.only_a


def test_where_a_file_lies_and_what_was_found_does_not_matter(between):
    def moved(row):
        named = row["item"].replace("exp_x.py", "elsewhere/exp_y.py")
        labels = row["labels"] | {"missed": "at most 1", "other_head": "L9H9"}
        return row | {"item": named, "labels": labels}

    assert between(altered(moved)).counts["replayed"] == 32


def test_records_that_nothing_tells_apart_go_by_their_order(tmp_path):
    for name in ("a", "b"):
        store = Store(tmp_path / name)
        rows = rows_of("steps", {"entropy": [1.0, 2.0]}, {"entropy": [5.0, 6.0]})
        store.append(rows)
        store.close()
    found = diff(Side("a", tmp_path / "a"), Side("b", tmp_path / "b"))
    names = [effect.name for effect in found.effects]
    assert names == ["steps[one-joy-record 2]", "steps[one-joy]"]
    assert {effect.why for effect in found.effects} == {"entropy is not in logits"}


def test_a_metric_that_is_named_is_compared_wherever_it_is(between):
    found = between(whole, "sentiment")
    assert {effect.before.metric for effect in found.effects} == {"sentiment"}
    assert len(found.effects) == 12
    both = between(whole, "logit_diff", "sentiment")
    assert len(both.effects) == 12 + 12 + 16


def test_two_runs_of_a_folder(before, tmp_path):
    results = make_results(tmp_path / "results/demo", models=("one",), emotions=("joy",))
    first = Store(results).runs()[0].id
    again = Store(results)
    key = next(iter(again))
    again.touch(key)
    again.close()
    sides = [side_of(name, results, "demo") for name in (first, again.run)]
    assert [side.run.id for side in sides] == [first, again.run]
    found = diff(*sides)
    assert len(found.effects) == 1 and not found.differing
    assert len(found.only_a) == 35


def test_a_side_is_a_folder_or_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results = make_results(tmp_path / "results/demo", models=("one",), emotions=("joy",))
    assert side_of("results", results, "demo") == Side("results", Path("results/demo"))
    assert side_of("results/demo", results, "demo").folder == Path("results/demo")
    with pytest.raises(InputError, match=r"^nowhere: no such folder; taken for a run, --run nowh"):
        side_of("nowhere", results, "demo")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"^empty: no results there"):
        side_of("empty", results, "demo")


def test_the_same_results_and_nothing_in_common_are_refused(before, tmp_path):
    with pytest.raises(InputError, match=r"^a and b are the same results; name two folders"):
        diff(Side("a", before), Side("b", before))
    other = Store(tmp_path / "other")
    other.append(rows_of("steps", {"entropy": [1.0, 2.0]}))
    other.close()
    expected = "a and b have no effect in common: the first has attention_patterns, "
    with pytest.raises(InputError, match="^" + re.escape(expected)):
        diff(Side("a", before), Side("b", tmp_path / "other"))
    with pytest.raises(InputError, match="no effect in common with size per prompt"):
        diff(Side("a", before), Side("b", tmp_path / "other"), ("size",))


def test_what_experiments_are_compared_by_is_in_logits():
    assert {entry(metric).unit for metric in EFFECTS} == {"logits"}
