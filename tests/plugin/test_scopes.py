"""Units of work: scopes, cut where one is more than its share of a run."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_emolib.cases import Case
from pytest_emolib.scopes import PIECES, units

from emolib.inputs.heads import Head, HeadSet, Top
from emolib.inputs.profiles import load_profile

PROFILE = load_profile("demo")
EFFECT = ("run", "heads", "ablation", "record", "study", "emolib_case")
PATCHING = ("patched", "heads", "record", "study", "emolib_case")
SCREENING = ("screening", "head", "record", "study", "emolib_case")


def source(name="tiny", layers=12):
    return SimpleNamespace(name=name, n_layers=layers)


class Item:
    """An item as far as it is dealt out by."""

    def __init__(self, function, case, fixtures=EFFECT, **own):
        self.fixturenames = fixtures
        self.callspec = SimpleNamespace(params={"emolib_case": case} | own)
        self.nodeid = f"exp.py::exp_{function}[{case.id}{list(own.values()) or ''}]"
        self._fixtureinfo = SimpleNamespace(name2fixturedefs={})


def items(function="effect", fixtures=EFFECT, *, layers=12, kinds=("zero",), emotion="joy"):
    return [
        Item(function, Case(source("tiny", layers), emotion, head(layer, h), None, kind), fixtures)
        for kind in kinds
        for layer in range(layers)
        for h in range(4)
    ]


def head(layer, index=0):
    return HeadSet((Head(layer, index),))


def sizes(found):
    return sorted((list(found.values()).count(unit) for unit in set(found.values())), reverse=True)


def test_one_process_has_a_unit_of_each_function_model_and_emotion():
    alone = [*items(), *items("other"), *items(emotion="fear")]
    assert sizes(units(alone, 1, PROFILE)) == [48] * 3


def test_where_scopes_are_enough_none_is_cut():
    many = [item for name in "abcd" for item in items(name, kinds=("zero", "mean"))]
    assert sizes(units(many, 2, PROFILE)) == [96] * 4
    assert len(set(units(many, 8, PROFILE).values())) > 8


def test_one_scope_is_cut_into_kinds_and_the_largest_into_blocks_of_layers():
    found = units(items(kinds=("zero", "mean", "resample")), 2, PROFILE)
    by_kind = {}
    for name, unit in found.items():
        by_kind.setdefault(unit.rpartition("]")[0], set()).add(unit)
        assert ("-" in name.partition("joy-")[2]) == ("[zero]" not in unit)
    counts = {unit.rpartition("[")[2]: len(blocks) for unit, blocks in by_kind.items()}
    assert counts == {"zero": 1, "mean": 1, "resample": 3}


def test_a_block_is_of_layers_that_follow_each_other_and_later_ones_are_longer():
    found = units(items(), 2, PROFILE)
    blocks = {}
    for name, unit in found.items():
        layer = int(name.partition("-L")[2].partition("H")[0])
        blocks.setdefault(unit, set()).add(layer)
    spans = sorted(blocks.values(), key=min)
    assert len(spans) == 2 * PIECES
    assert [layer for span in spans for layer in sorted(span)] == list(range(12))
    assert len(spans[0]) < len(spans[-1])


def test_items_of_a_layer_are_never_taken_apart():
    wide = [Item("f", Case(source(layers=2), "joy", head(h % 2, h))) for h in range(64)]
    assert sizes(units(wide, 16, PROFILE)) == [32, 32]


@pytest.mark.parametrize(
    "whole",
    [
        items("screening", SCREENING),
        [Item("effect", Case(source(), "joy", Top(i + 1), None, "zero")) for i in range(48)],
        [Item("free", Case(None, "joy"), ("record", "emotion"), x=str(i)) for i in range(48)],
    ],
    ids=["made once for all", "ranks", "no model"],
)
def test_what_is_not_cut(whole):
    assert sizes(units(whole, 4, PROFILE)) == [48]


def test_a_fixture_of_the_user_s_own_that_items_share_keeps_them_together():
    mine = items()

    def expensive(): ...

    for scope, count in (("module", 1), ("function", 2 * PIECES)):
        definition = SimpleNamespace(scope=scope, func=expensive)
        for item in mine:
            item._fixtureinfo.name2fixturedefs = {"expensive": [definition]}
        assert len(set(units(mine, 2, PROFILE).values())) == count
    of_pytest = SimpleNamespace(scope="session", func=pytest.Session.perform_collect)
    for item in mine:
        item._fixtureinfo.name2fixturedefs = {"tmp_path_factory": [of_pytest]}
    assert len(set(units(mine, 2, PROFILE).values())) == 2 * PIECES


def test_sweeps_in_half_precision_are_not_cut():
    half = replace(PROFILE, dtype="bfloat16")
    assert sizes(units(items(kinds=("zero", "mean")), 4, half)) == [48, 48]


def test_what_is_parametrized_apart_is_cut_apart():
    made = [
        Item("f", Case(source(), "joy", head(1, h)), EFFECT, factor=x)
        for x in (0.5, 1, 2)
        for h in range(6)
    ]
    assert sizes(units(made, 2, PROFILE)) == [6, 6, 6]


def test_what_is_short_is_not_cut():
    assert sizes(units(items(layers=3, kinds=("zero",)), 8, PROFILE)) == [12]
    assert sizes(units(items(layers=4, kinds=("zero",)), 8, PROFILE)) == [8, 8]


@given(
    st.lists(st.integers(0, 11), min_size=1, max_size=30, unique=True),
    st.integers(1, 9),
    st.sampled_from([("zero",), ("resample",), ("zero", "mean", "resample")]),
)
def test_every_item_has_one_unit_and_a_unit_is_of_items_computed_together(layers, workers, kinds):
    made = [
        Item("effect", Case(source(), emotion, head(layer), None, kind), fixtures)
        for fixtures, emotion in ((EFFECT, "joy"), (PATCHING, "fear"))
        for layer in layers
        for kind in kinds
    ]
    found = units(made, workers, PROFILE)
    assert found.keys() == {item.nodeid for item in made}
    assert found == units(list(reversed(made)), workers, PROFILE)
    for unit in set(found.values()):
        members = [item for item in made if found[item.nodeid] == unit]
        assert len({item.callspec.params["emolib_case"].emotion for item in members}) == 1
