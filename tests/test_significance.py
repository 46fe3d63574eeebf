from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emolib.records import Row
from emolib.significance import benjamini_hochberg, of_rows, sign_flip

effects = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=7)


@settings(max_examples=25)
@given(effects)
def test_p_is_the_share_of_flips_as_large(x):
    """Against all 2^n flips counted out; 20,000 drawn ones miss it by 4 standard errors at most."""
    sums = [abs(sum(s * v for s, v in zip(signs, x, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(x))]  # fmt: skip
    exact = np.mean([value >= abs(sum(x)) - 1e-9 for value in sums])
    error = 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4
    assert sign_flip(x)[0] == pytest.approx(exact, abs=error)


def test_no_p_is_below_what_the_number_of_pairs_allows():
    assert sign_flip(np.ones(8), flips=50_000)[0] == pytest.approx(2 / 2**8, rel=0.2)
    assert sign_flip(np.ones(40))[0] == 1 / 20_001


def test_templates_flip_as_one():
    x, templates = np.ones(40), [f"t{i % 4}" for i in range(40)]
    assert sign_flip(x, templates)[0] == pytest.approx(2 / 2**4, rel=0.1)


def test_heads_share_their_flips_and_each_has_its_own_p():
    rng = np.random.default_rng(0)
    table = rng.normal((0, 0.5, 2), size=(12, 3))
    together = sign_flip(table, seed=3)
    assert together.tolist() == [sign_flip(column, seed=3)[0] for column in table.T]
    assert together[2] < together[0]
    assert sign_flip(-table, seed=3).tolist() == together.tolist()


@pytest.mark.slow
def test_under_the_null_p_is_uniform():
    rng = np.random.default_rng(1)
    p = sign_flip(rng.normal(size=(24, 2_000)), flips=2_000)
    for level in (0.01, 0.05, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2_000))


def test_q_is_the_step_up_of_benjamini_and_hochberg():
    p = np.array([0.01, 0.04, 0.03, 0.2])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.2])
    assert benjamini_hochberg([]).tolist() == []


@pytest.mark.parametrize(
    ("values", "clusters", "message"),
    [
        ([], None, "expected values of shape [n] or [n, H], got [0]"),
        (np.ones((2, 2, 2)), None, "expected values of shape [n] or [n, H], got [2, 2, 2]"),
        ([1.0, 2.0], ["a"], "expected one cluster for each of 2 values, got 1"),
    ],
)
def test_what_cannot_be_tested(values, clusters, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        sign_flip(values, clusters)


def test_rows_of_a_table_get_p_and_q():
    def row(name, values, **fields):
        return Row(name, "x", name, 0, 1, {}, vectors={"ld": values}, **fields)

    templates = {"pairs": {"ids": list("abcd"), "templates": ["t", "t", "u", "u"]}}
    rows = [row("a", [1.0] * 20), row("b", [1.0, -1.0] * 10), row("c", [1.0] * 4, **templates)]
    other = Row("d", "x", "d", 0, 1, {}, vectors={"kl": [1.0]})
    found = of_rows([*rows, other], "ld")
    assert list(found) == [("a", 0), ("b", 0), ("c", 0)]
    p, q = zip(*found.values(), strict=True)
    assert p[0] < 1e-4 and p[1] == 1 and p[2] == pytest.approx(0.5, abs=0.02)
    assert q == pytest.approx(benjamini_hochberg(p))


@pytest.mark.parametrize("label", ["spec", "unit_spec"])
def test_what_a_rank_chose_on_the_same_prompts_is_no_test(label):
    """Nor does it count among the tests of the others."""
    named = Row("a", "x", "a", 0, 1, {}, vectors={"ld": [1.0] * 20})
    ranked = Row("b", "x", "b", 0, 1, {}, labels={label: "top3"}, vectors={"ld": [-1.0] * 20})
    assert of_rows([ranked], "ld") == {}
    assert of_rows([named, ranked], "ld") == of_rows([named], "ld")
    drawn = Row("c", "x", "c", 0, 1, {}, labels={label: "random:3"}, vectors={"ld": [1.0] * 20})
    assert list(of_rows([drawn], "ld")) == [("c", 0)]
