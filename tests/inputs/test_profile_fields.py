"""What fields say of themselves, and the check of a value by its field's type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.profile_fields import check_names, check_value, compared, following, said
from emolib.inputs.profiles import Profile

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Settings:
    """Of each way in which rows follow, with places that are not in the order of the fields."""

    name: str = field(default="x", metadata=said("nothing"))
    size: int = field(default=1, metadata=said("value", compared=3, least=1))
    sides: tuple[Side, ...] = field(default=("left",), metadata=said("item"))
    seed: int = field(default=0, metadata=said("value", compared=1))
    place: str = field(default="y", metadata=said("content"))
    exact: bool = field(default=False, metadata=said("value"))
    kind: str = field(default="z", metadata=said("value", compared=2))


def check(value, hint, least=None):
    check_value("here", value, hint, least)


def test_a_new_field_that_says_nothing_or_has_no_check_is_refused():
    @dataclass(frozen=True)
    class Silent(Profile):
        chat: bool = False

    with pytest.raises(KeyError, match="follows"):
        following(Silent, "value")
    with pytest.raises(TypeError, match="nothing checks a field of type"):
        check_value("there", {}, dict[str, int], None)


def test_fields_are_found_by_how_rows_follow_from_them_in_order():
    assert following(Settings, "value") == ("size", "seed", "exact", "kind")
    assert following(Settings, "item") == ("sides",)
    assert following(Settings, "content") == ("place",)
    assert following(Settings, "nothing") == ("name",)


def test_settings_that_runs_are_compared_by_come_in_the_order_of_their_places():
    assert compared(Settings) == ("seed", "kind", "size")


@pytest.mark.parametrize(
    ("hint", "least", "good", "bad", "expected"),
    [
        (str, None, ["", "a"], [1, None, ("a",)], "a name"),
        (str | None, None, [None, "a b"], ["", " ", 1, ("a",)], "a text"),
        (bool, None, [True, False], [0, 1, "true", None], "true or false"),
        (Side, None, ["left", "right"], ["up", None, 1, ("left",)], "one of left, right"),
        (int, 2, [2, 9], [1, -2, True, 2.0, "2", None], "a whole number from 2"),
        (int, 0, [0, 9], [-1, False, None], "a whole number from 0"),
        (int | None, 1, [None, 1, 9], [0, True, "1"], "a whole number from 1"),
        (int | Literal["all"], 0, [0, "all"], [-1, "5", None], "a whole number from 0, or all"),
    ],
)
def test_a_value_is_of_its_type_or_told_what_was_expected(hint, least, good, bad, expected):
    for value in good:
        check(value, hint, least)
    for value in bad:
        with pytest.raises(InputError) as error:
            check(value, hint, least)
        assert str(error.value) == f"here: expected {expected}, got {value!r}"


def test_each_of_a_list_is_of_the_type_of_its_members():
    check(("right", "left"), tuple[Side, ...])
    check(("up", "left"), tuple[str, ...])
    with pytest.raises(InputError, match=r"^here: expected one of left, right, got 'up'$"):
        check(("left", "up"), tuple[Side, ...])
    with pytest.raises(InputError, match=r"^here: expected a list of names, got \('left', 1\)$"):
        check(("left", 1), tuple[Side, ...])


def test_numbers_are_a_tuple_of_different_finite_ones():
    check((1, -0.5, 0), tuple[float, ...])
    for wrong in ((), (True,), ("1",), (float("inf"),), [1.0], None, 2.0):
        with pytest.raises(InputError) as error:
            check(wrong, tuple[float, ...])
        assert str(error.value) == f"here: expected a list of numbers, got {wrong!r}"
    with pytest.raises(InputError, match=r"^here: 1 is named twice; name it once$"):
        check((1, 0.5, 1.0), tuple[float, ...])


@pytest.mark.parametrize("hint", [float, dict[str, int], int, int | str, bytes], ids=str)
def test_a_type_without_a_check_is_a_mistake_of_the_profile_s(hint):
    """A whole number without a least one too: nothing would be checked of it."""
    with pytest.raises(TypeError, match=r"^here: nothing checks a field of type .*; add it here$"):
        check(3, hint)


@given(st.lists(st.one_of(st.sampled_from("abc"), st.integers(0, 1)), max_size=4))
def test_names_are_a_tuple_of_different_names(values):
    names = all(isinstance(value, str) for value in values) and bool(values)
    if names and len(set(values)) == len(values):
        check_names("here", tuple(values))
    else:
        twice = next((v for v in values if values.count(v) > 1), None)
        expected = (
            f"here: {twice!r} is named twice; name it once"
            if names
            else f"here: expected a list of names, got {tuple(values)!r}"
        )
        with pytest.raises(InputError) as error:
            check_names("here", tuple(values))
        assert str(error.value) == expected
    with pytest.raises(InputError, match=r"^here: expected a list of names, got "):
        check_names("here", values)
