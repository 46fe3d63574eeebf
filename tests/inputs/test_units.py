"""Units and unit specs: what each form stands for, and what each mistake is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.heads import Top
from emolib.inputs.units import (
    UNIT_FORMS,
    Unit,
    UnitSet,
    check_unit_spec,
    expand_units,
    parse_unit,
    unit_set,
)

units = st.builds(Unit, st.integers(0, 40), st.integers(0, 4000))


@given(units)
def test_both_spellings_name_the_unit(unit):
    assert parse_unit(str(unit)) == parse_unit(f" {unit.layer}:{unit.index} ") == unit


@given(st.sets(units, min_size=1).flatmap(lambda found: st.permutations(sorted(found))))
def test_a_set_does_not_depend_on_the_order(named):
    one = UnitSet(tuple(named))
    assert one == UnitSet(tuple(reversed(named))) and hash(one) == hash(unit_set(named))
    assert list(one) == sorted(named) and len(one) == len(named)
    assert expand_units(str(one).replace("+", ","), 41, 4001) == [one]


def test_numbers_sort_as_numbers():
    assert str(unit_set([Unit(3, 1021), Unit(3, 77)])) == "L3U77+L3U1021"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ((), "a unit set needs at least one unit, got none"),
        (
            (Unit(3, 5), Unit(0, 0), Unit(3, 5)),
            "unit L3U5 is named twice in one set; name each unit once",
        ),
    ],
)
def test_a_set_refuses(named, message):
    with pytest.raises(InputError) as error:
        UnitSet(named)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1:12", ["L1U12"]),
        ("L1U12", ["L1U12"]),
        ("1:12, L0U3,0:0", ["L0U0+L0U3+L1U12"]),
        (" top:2 ", ["top1", "top2"]),
    ],
)
def test_forms(spec, expected):
    check_unit_spec(spec)
    assert [str(found) for found in expand_units(spec, 2, 40)] == expected


def test_top_stands_for_ranks():
    assert expand_units("top:80", 2, 40)[-1] == Top(80)


@given(st.integers(0, 9), st.integers(1, 120))
def test_random_units_are_distinct_sorted_and_the_seed_s(seed, count):
    found = expand_units(f"random:{count}", 3, 40, seed=seed)
    assert found == expand_units(f"random:{count}", 3, 40, seed=seed)
    flat = [unit for (unit,) in found]
    assert flat == sorted(set(flat)) and len(flat) == count
    assert all(unit.layer < 3 and unit.index < 40 for unit in flat)


def test_random_units_differ_by_seed_but_not_by_process():
    draws = {tuple(expand_units("random:4", 12, 3072, seed=seed)) for seed in range(20)}
    assert len(draws) == 20
    code = (
        "from emolib.inputs.units import expand_units as e; print(*e('random:4', 12, 3072, seed=3))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(f) for f in expand_units("random:4", 12, 3072, seed=3)]


@pytest.mark.parametrize("spec", ["", "3", "all", "layer:1", "3:5:1", "3:5,", "L1H2", "top:-1"])
def test_a_malformed_spec_is_told_the_forms(spec):
    part = "" if spec == "3:5," else spec
    with pytest.raises(InputError) as error:
        check_unit_spec(spec)
    assert str(error.value) == (
        f"unit spec {spec!r}: expected a unit such as 3:1021 or L3U1021, got {part!r}; "
        f"the forms are {UNIT_FORMS}"
    )


HAS = "tiny has 2 layers (0..1) of 40 units"
MISTAKES = {
    "random:0": "expected a count of at least 1, got 0",
    "0:1,L0U1": f"unit L0U1 is named twice in one set; name each unit once; the forms are "
    f"{UNIT_FORMS}",
    "0:0,2:0": f"L2U0 does not exist, {HAS} (0..39); name a unit inside that range",
    "0:40": f"L0U40 does not exist, {HAS} (0..39); name a unit inside that range",
    "random:81": f"81 units asked for, {HAS}, 80 in all; ask for fewer",
    "top:81": f"81 units asked for, {HAS}, 80 in all; ask for fewer",
}


@pytest.mark.parametrize("spec", MISTAKES)
def test_what_the_model_lacks_is_named(spec):
    with pytest.raises(InputError) as error:
        expand_units(spec, 2, 40, model="tiny")
    assert str(error.value) == f"unit spec {spec!r}: {MISTAKES[spec]}"
