"""One table of fixtures: each is made somewhere, and what it needs is what it asks for."""

from __future__ import annotations

import inspect

import pytest
from pytest_emolib import fixtures
from pytest_emolib.cases import Case
from pytest_emolib.fixture_table import DIMS, FIXTURES, about_units, needing, needs, reads

from emolib.inputs.heads import Top
from emolib.inputs.profiles import SETTINGS

MADE = {
    name: found
    for name, found in vars(fixtures).items()
    if isinstance(found, type(fixtures.record))
}


def asked(name):
    """Give the fixtures that one asks for."""
    return [n for n in inspect.signature(MADE[name]._get_wrapped_function()).parameters]


def test_every_fixture_is_in_the_table_and_the_other_way():
    assert MADE.keys() == FIXTURES.keys()


@pytest.mark.parametrize("name", FIXTURES)
def test_a_fixture_needs_what_those_need_that_it_asks_for(name):
    assert needs(asked(name)) <= FIXTURES[name].needs


def test_who_asks_for_a_part_of_the_case_needs_it():
    """Parts that a fixture takes from the case itself: the dimension of its own name."""
    for name in DIMS:
        assert name in FIXTURES[name].needs
    for name, found in FIXTURES.items():
        if found.edits is not None:
            assert found.edits in found.needs, name


def test_the_dimensions_are_those_of_a_case(pytestconfig):
    assert tuple(Case(None, "joy", Top(1), Top(2), "zero").dims) == DIMS[1:]


def test_what_names_need_together():
    assert needs(["run", "heads", "tmp_path"]) == {"model", "emotion", "heads"}
    assert needs([]) == needs(["record", "profile"]) == frozenset()
    assert needing("pairs", ["run", "screening", "controls", "x"]) == ["controls", "screening"]


def test_pytest_lists_them_with_what_they_are(folder):
    done = folder.process("--fixtures", "-q")
    shown = done.stdout.partition("fixtures defined from pytest_emolib.fixtures")[2]
    for name in FIXTURES:
        assert f"\n{name} -- " in shown, name
    assert "The screening scores of every head" in shown


def test_what_is_about_units():
    found = [name for name in FIXTURES if about_units([name])]
    assert found == ["units", "matched_units", "unit_screening"]
    assert about_units(["run", "units"]) and not about_units(["run", "heads", "tmp_path"])


OWNED = {name: set(found.settings) for name, found in FIXTURES.items() if found.settings}


def test_settings_of_a_method_are_each_of_one_fixture():
    every = [name for names in OWNED.values() for name in names]
    assert OWNED.keys() == {"circuit", "probe", "steering"}
    assert set(every) <= {*SETTINGS, "ranking", "probe_test"}
    assert len(set(every)) == len(every) > 8


@pytest.mark.parametrize("name", FIXTURES)
def test_who_does_not_ask_for_a_method_cannot_read_its_settings(name):
    """`profile` and `study` have them all; others that are made of these hand on nothing of it."""
    found = reads([name, "emolib_case", "study", "profile", "record"], [name, "record"]).without
    if name in ("profile", "study"):
        assert not found
    else:
        assert found == set().union(*(OWNED[other] for other in OWNED if other != name))


@pytest.mark.parametrize("given", ["profile", "study", "request"])
def test_who_is_given_all_may_read_all(given):
    assert reads(["run", "study", given], ["run"]).without == frozenset().union(*OWNED.values())
    assert not reads(["run", "study", given], ["run", given]).without


def test_fixtures_of_others_may_read_all():
    assert not reads(["run", "study", "mine"], ["run"]).without
    assert not reads(["run", "study", "tmp_path"], ["run", "tmp_path"]).without


def test_who_compares_emotions_reads_the_prompts_of_all():
    for name in FIXTURES:
        found = reads([name, "study"], [name])
        assert found.across == (name in ("specificity", "probe"))
        assert found.kind == (name == "specificity")
    assert reads(["specificity", "mine"], ["mine"]).across
