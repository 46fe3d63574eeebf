"""The verdicts of the regression check as pytest counts them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import get_args

import pytest
from pytest_emolib.effects import Effects, verdicts
from pytest_emolib.options import OPTIONS

from emolib.errors import InputError
from emolib.inputs.profiles import load_profile
from emolib.stats.regression import Outcome


class Check(SimpleNamespace):
    def __str__(self):
        return f"{self.outcome}!"


def check(outcome):
    return Check(outcome=outcome, effect=SimpleNamespace(name="it[m]"))


@pytest.mark.parametrize(
    ("outcome", "strict", "counted", "shown"),
    [
        ("drifted", False, "failed", "drifted!"),
        ("inconclusive", False, "skipped", ("effects", 0, "inconclusive!")),
        ("inconclusive", True, "failed", "inconclusive!"),
        ("equivalent", True, "passed", None),
        ("replayed", False, "passed", None),
    ],
)
def test_each_outcome_has_its_verdict(outcome, strict, counted, shown):
    (report,) = verdicts([check(outcome)], strict=strict)
    assert (report.outcome, report.longrepr, report.nodeid) == (counted, shown, "effects::it[m]")
    assert report.emolib == {"verdict": outcome} and outcome in get_args(Outcome)


def test_an_outcome_without_a_verdict_is_a_mistake():
    with pytest.raises(AssertionError, match="unreachable"):
        verdicts([check("better")], strict=False)


def effects(tmp_path, profile=None, **given):
    options = {option.dest: given.get(option.dest) for option in OPTIONS}
    config = SimpleNamespace(getoption=options.__getitem__)
    source = SimpleNamespace(
        name="tiny", n_layers=2, n_heads=2, n_units=4, head_layers=(0, 1), no_units=None
    )
    profile = profile or load_profile("demo")
    return Effects(config, profile, {"tiny": source}, {}, tmp_path, lambda key: [])


def test_a_baseline_lies_in_the_folder_given(tmp_path):
    assert effects(tmp_path).path == tmp_path / "baseline.json"
    assert effects(tmp_path, emolib_effects_save="one").path == tmp_path / "one.json"


def test_nothing_declared_is_an_error_where_effects_are_asked_for(tmp_path):
    assert effects(tmp_path).finish() == []
    with pytest.raises(InputError, match="no declared effect among what ran"):
        effects(tmp_path, emolib_effects_save="one").finish()


@pytest.mark.parametrize("name", ["L2H0", "L0H2", "L0U4"])
def test_declared_heads_have_to_be_of_their_model(tmp_path, name):
    profile = replace(load_profile("demo"), effects={"gated": {"tiny": (name,)}})
    with pytest.raises(InputError, match="does not exist"):
        effects(tmp_path, profile).check()
