"""Rows beside a baseline: the same verdicts as the check of a run, and why there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import around, rows_of

from emolib.reporting.page.baseline_check import BaselineCheck, baseline_of
from emolib.reporting.regression_check import compare
from emolib.results.baselines import Baseline, Declared, effects_of, load, save

TOLD = {"model": {"type": "gpt2", "weights": "w", "config": "c", "tokenizer": "t"}, "prompts": "h",
        "device": "cpu", "clean_gap": 10.0, "dtype": "float32", "position": "last", "seed": 0,
        "draws": 10, "max_new_tokens": 16, "patch_generated": False}  # fmt: skip


def row(heads, mean, **told):
    (found,) = rows_of("head_ablation", {"logit_diff": around(mean)}, heads=heads, ablation="zero")
    return replace(found, provenance=TOLD | told)


def saved(folder, *rows):
    made = Baseline()
    for one in rows:
        found = effects_of([one], Declared("logit_diff", "gated"))
        made = Baseline(made.effects | found.effects, made.grounds | found.grounds)
    path = folder / "effects" / "baseline.json"
    save(made, path)
    return path


def checked(path, *rows):
    check = BaselineCheck(path)
    for one in rows:
        check.see(one)
    return check.finish()


def test_effects_are_judged_as_in_a_run_worst_first(tmp_path):
    path = saved(tmp_path, row("L0H1", -4.0), row("L1H0", -2.0))
    now = row("L0H1", -4.0), row("L1H0", -0.5), row("L1H1", 9.0)
    found = checked(path, *now)
    told = found.told()
    assert [(e["heads"], e["verdict"]) for e in told["effects"]] == [
        ("L1H0", "drifted"), ("L0H1", "replayed"),
    ]  # fmt: skip
    assert told["verdict"] == "drifted" and told["counts"] == {"drifted": 1, "replayed": 1}
    effects = [effects_of([one], Declared("logit_diff", "gated")) for one in now[:2]]
    whole = Baseline(effects[0].effects | effects[1].effects, effects[0].grounds)
    assert found.checks == compare(path, load(path), whole)
    assert told["effects"][0]["drift"] == pytest.approx(1.5)


def test_what_did_not_run_is_named(tmp_path):
    path = saved(tmp_path, row("L0H1", -4.0), row("L1H0", -2.0))
    found = checked(path, row("L0H1", -4.0))
    assert found.missing == ["head_ablation[one-joy-L1H0-zero]"]


def test_rows_of_other_prompts_are_not_compared_and_the_page_says_why(tmp_path):
    path = saved(tmp_path, row("L0H1", -4.0))
    found = checked(path, row("L0H1", -4.0, prompts="others"))
    assert found.told() is None and "not comparable" in found.notes[0]


def test_the_baseline_of_the_usual_name_goes_first(tmp_path):
    assert baseline_of(tmp_path) is None and checked(None, row("L0H1", 1.0)).told() is None
    path = saved(tmp_path, row("L0H1", -4.0))
    path.with_name("a.json").write_text("{}")
    assert baseline_of(tmp_path) == path


def test_a_row_without_its_grounds_is_left_alone(tmp_path):
    path = saved(tmp_path, row("L0H1", -4.0))
    bare = replace(row("L0H1", -4.0), provenance={})
    assert checked(path, bare).missing == ["head_ablation[one-joy-L0H1-zero]"]
