"""Targets: one, a set or several, of one kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.targets import Stream, StreamSet, parts, target_set
from emolib.inputs.units import LayerUnits, Unit, UnitSet, unit_set

units = st.builds(Unit, st.integers(0, 40), st.integers(0, 4000))
streams = st.builds(Stream, st.integers(0, 40))


@given(st.sets(units, min_size=1))
def test_parts_are_the_units_of_each_layer_once(named):
    found = parts(unit_set(named))
    assert [part.layer for part in found] == sorted({unit.layer for unit in named})
    assert [unit for part in found for unit in part] == sorted(named)
    assert "+".join(map(str, found)) == str(unit_set(named))


def test_targets_are_of_one_kind():
    one, head = Unit(0, 1), Head(0, 1)
    assert target_set(one) == target_set([one]) == target_set(UnitSet((one,))) == UnitSet((one,))
    assert target_set(head) == target_set([head]) == HeadSet((head,))
    assert parts(target_set([Head(1, 0), head])) == [head, Head(1, 0)]
    assert parts(UnitSet((Unit(2, 5), one, Unit(2, 3)))) == [
        LayerUnits(0, (1,)), LayerUnits(2, (3, 5)),
    ]  # fmt: skip
    for mixed in ([one, head], [head, one], [Stream(0), head], [one, Stream(0)]):
        with pytest.raises(InputError, match=r"^expected heads, units or streams, got more"):
            target_set(mixed)


@given(st.sets(streams, min_size=1).flatmap(lambda found: st.permutations(sorted(found))))
def test_a_set_of_streams_does_not_depend_on_the_order(named):
    one = StreamSet(tuple(named))
    assert one == target_set(reversed(named)) and hash(one) == hash(target_set(named))
    assert list(one) == parts(one) == sorted(named) and len(one) == len(named)
    assert str(one) == "+".join(f"resid:{stream.layer}" for stream in sorted(named))
    assert target_set(named[0]) == StreamSet((named[0],))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ((), "needs at least one layer"),
        ((Stream(1), Stream(1)), "names a layer twice"),
        ((Stream(-1),), "counted from 0"),
    ],
)
def test_a_wrong_set_of_streams_is_refused(named, message):
    with pytest.raises(InputError, match=message):
        StreamSet(named)


def test_no_target_at_all_is_refused():
    with pytest.raises(InputError, match="needs at least one head"):
        target_set([])
