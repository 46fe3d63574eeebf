"""Heads and head specs: what each form stands for, and what each mistake is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.heads import (
    FORMS,
    Head,
    HeadSet,
    all_heads,
    check_spec,
    expand,
    head_set,
    parse_head,
)

heads = st.builds(Head, st.integers(0, 40), st.integers(0, 40))


@given(heads)
def test_both_spellings_name_the_head(head):
    assert parse_head(str(head)) == parse_head(f" {head.layer}:{head.index} ") == head


@given(st.sets(heads, min_size=1).flatmap(lambda found: st.permutations(sorted(found))))
def test_a_set_does_not_depend_on_the_order(named):
    one = HeadSet(tuple(named))
    assert one == HeadSet(tuple(reversed(named))) and hash(one) == hash(head_set(named))
    assert list(one) == sorted(named) and len(one) == len(named)
    assert expand(str(one).replace("+", ","), 41, 41) == [one]


def test_a_head_a_set_and_several_heads_make_a_set():
    one, two = Head(0, 1), Head(3, 5)
    assert head_set(one) == HeadSet((one,)) == head_set(head_set(one))
    assert str(head_set(iter([two, one]))) == "L0H1+L3H5"


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ((), "a head set needs at least one head, got none"),
        (
            (Head(3, 5), Head(0, 0), Head(3, 5)),
            "head L3H5 is named twice in one set; name each head once",
        ),
    ],
)
def test_a_set_refuses(named, message):
    with pytest.raises(InputError) as error:
        HeadSet(named)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("1:2", ["L1H2"]),
        ("L1H2", ["L1H2"]),
        ("1:2, L0H3,0:0", ["L0H0+L0H3+L1H2"]),
        (" layer:1 ", ["L1H0", "L1H1", "L1H2", "L1H3"]),
        ("top:2", ["top1", "top2"]),
    ],
)
def test_forms(spec, expected):
    check_spec(spec)
    assert [str(found) for found in expand(spec, 2, 4)] == expected


def test_all_is_every_head_layer_by_layer():
    found = all_heads(3, 2)
    assert [str(head) for head in found] == ["L0H0", "L0H1", "L1H0", "L1H1", "L2H0", "L2H1"]
    assert expand("all", 3, 2) == [HeadSet((head,)) for head in found]


@given(st.integers(0, 9), st.integers(1, 12))
def test_random_heads_are_distinct_sorted_and_the_seed_s(seed, count):
    found = expand(f"random:{count}", 3, 4, seed=seed)
    assert found == expand(f"random:{count}", 3, 4, seed=seed)
    flat = [head for (head,) in found]
    assert flat == sorted(set(flat)) and len(flat) == count
    assert set(flat) <= set(all_heads(3, 4))


def test_random_heads_differ_by_seed_but_not_by_process():
    draws = {tuple(expand("random:4", 12, 12, seed=seed)) for seed in range(20)}
    assert len(draws) == 20
    code = "from emolib.inputs.heads import expand; print(*expand('random:4', 12, 12, seed=3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(found) for found in expand("random:4", 12, 12, seed=3)]


@pytest.mark.parametrize("spec", ["", "3", "3:5:1", "all:3", "3:5,", "a:b", "-1:0", "top:-1"])
def test_a_malformed_spec_is_told_the_forms(spec):
    part = "" if spec == "3:5," else spec
    with pytest.raises(InputError) as error:
        check_spec(spec)
    assert str(error.value) == (
        f"head spec {spec!r}: expected a head such as 3:5 or L3H5, got {part!r}; "
        f"the forms are {FORMS}"
    )


HAS = "tiny has 2 layers (0..1) of 4 heads"
MISTAKES = {
    "top:0": "expected a count of at least 1, got 0",
    "0:1,L0H1": f"head L0H1 is named twice in one set; name each head once; the forms are {FORMS}",
    "0:0,2:0": f"L2H0 does not exist, {HAS} (0..3); name a head inside that range",
    "0:4": f"L0H4 does not exist, {HAS} (0..3); name a head inside that range",
    "layer:2": f"layer 2 does not exist, {HAS}; name a layer inside that range",
    "random:9": f"9 heads asked for, {HAS}, 8 in all; ask for fewer",
    "top:9": f"9 heads asked for, {HAS}, 8 in all; ask for fewer",
}


@pytest.mark.parametrize("spec", MISTAKES)
def test_what_the_model_lacks_is_named(spec):
    with pytest.raises(InputError) as error:
        expand(spec, 2, 4, model="tiny")
    assert str(error.value) == f"head spec {spec!r}: {MISTAKES[spec]}"


def test_layers_without_heads_are_left_out_of_all_and_refused_by_name():
    assert [str(one) for one in expand("all", 3, 2, having=(0, 2))] == [
        "L0H0", "L0H1", "L2H0", "L2H1",
    ]  # fmt: skip
    assert {one.heads[0].layer for one in expand("random:4", 3, 2, having=(0, 2))} == {0, 2}
    for spec in ("layer:1", "1:0", "0:0,1:0"):
        with pytest.raises(InputError) as error:
            expand(spec, 3, 2, model="mixed", having=(0, 2))
        assert str(error.value) == (
            f"head spec {spec!r}: layer 1 of mixed has no attention heads; those with heads are "
            "0, 2"
        )
    with pytest.raises(InputError, match=r"random:5.*4 in all"):
        expand("random:5", 3, 2, having=(0, 2))


@pytest.mark.parametrize("digits", ["9" * 10, "9" * 5000, "\u0661", "\u00b2"])
@pytest.mark.parametrize("form", ["{}:0", "0:{}", "L0H{}", "layer:{}", "top:{}", "random:{}"])
def test_a_number_that_counts_no_heads_is_refused(form, digits):
    with pytest.raises(InputError, match="expected a head such as 3:5"):
        check_spec(form.format(digits))
