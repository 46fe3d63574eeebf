"""What ``record`` refuses: values that are not one a pair, and calls that share no table."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from pytest_emolib.recorded import check_alike, check_lengths

from emolib.methods.scores import Apart

WRONG = """
import numpy as np


def exp_it(run, record):
    record(effect=np.arange(2.0), kl=run().logit_diff)
"""
OTHER = """
from dataclasses import replace

from emolib.methods.study import Study


def exp_it(study, run, record):
    some = Study(study.model, replace(study.emotion, pairs=study.emotion.pairs[:4]), study.profile)
    record(study=some, logit_diff=run().logit_diff)
"""
APART = """
import numpy as np

from emolib.methods.scores import Apart


def exp_it(run, record):
    record(by_layer=np.arange(4.0).view(Apart), logit_diff=run().logit_diff, texts=["a", "b"])
"""


def of(count, pairs=True):
    emotion = SimpleNamespace(name="joy", pairs=[None] * count if pairs else None)
    model = SimpleNamespace(name="one")
    return SimpleNamespace(emotion=emotion, model=model, pairs=range(count))


def test_a_vector_of_another_length_is_refused_before_it_has_an_interval(folder):
    folder.write("exp_effect.py", WRONG)
    result = folder.pytest()
    result.stdout.fnmatch_lines(
        [
            "E*ValueError: record(effect=…): expected 12 values, one for each pair of gratitude "
            "under tiny-neo, got 2; record a number in their place (their mean, say), a list for "
            "each pair, or name another study whose prompts they are of: record(study=…, "
            "effect=…)",
            "*1 error in*",
        ]
    )
    assert folder.rows() == []


def test_of_a_study_that_is_named_its_own_pairs_count(folder):
    folder.write("exp_effect.py", OTHER)
    folder.pytest().stdout.fnmatch_lines(
        ["E*record(logit_diff=…): expected 4 values, one for each pair of that study, got 12;*"]
    )


def test_what_says_that_it_is_of_something_else_is_taken(folder):
    folder.write("exp_effect.py", APART)
    folder.pytest().stdout.fnmatch_lines(["*1 recorded*"])
    (row,) = folder.rows()
    assert row["values"]["by_layer"]["n"] == 4 and row["values"]["logit_diff"]["n"] == 12


def test_free_prompts_have_as_many_values_as_they_have():
    check_lengths({"x": [1.0, 2.0]}, of(3, pairs=False), named=False)
    check_lengths({"x": [1.0, 2.0]}, of(2), named=False)
    with pytest.raises(ValueError, match=r"record\(x=…\): expected 3 values"):
        check_lengths({"y": [0.0] * 3, "x": [1.0, 2.0]}, of(3), named=False)


def test_apart_is_a_vector_like_any_other():
    made = np.array([1.0, 2.0]).view(Apart)
    assert made.mean() == 1.5 and isinstance(made[1:], Apart)


def row(*values, texts=(), labels=()):
    return {"values": dict.fromkeys(values), "texts": dict.fromkeys(texts), "lists": {},
            "labels": dict.fromkeys(labels, "x")}  # fmt: skip


def test_calls_that_share_no_metric_are_refused(folder):
    folder.write("exp_effect.py", "def exp_it(record):\n    record(a=1)\n    record(b=2, c=3)\n")
    folder.pytest().stdout.fnmatch_lines(
        [
            "E*ValueError: record(b=…, c=…): an earlier call of this item recorded a and none of "
            "these; each call is a row of one table, where each would be empty half the way: "
            "record all of them in one call, or in an experiment each",
            "*1 error in*",
        ]
    )
    assert folder.rows() == []


def test_rows_that_have_more_or_less_than_others_are_taken():
    check_alike([], row("a"))
    check_alike([row("a", "b")], row("b", "c"))
    check_alike([row("a"), row("a", "b")], row("b"))
    check_alike([row("a", labels=["kind"])], row(labels=["kind"]))
    with pytest.raises(ValueError, match="recorded a, text"):
        check_alike([row("a", texts=["text"])], row("b", texts=["other"]))
