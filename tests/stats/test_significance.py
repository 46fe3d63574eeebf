from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from emolib.results.chances import chances, of_rows
from emolib.results.rows import Row
from emolib.stats.significance import (
    FLIPS,
    Flips,
    benjamini_hochberg,
    max_t,
    reach,
    sign_flip,
)

tables = st.builds(
    lambda seed, n, heads, spread: np.random.default_rng(seed).normal(
        np.linspace(-1, 1, heads), spread ** np.arange(heads), (n, heads)
    ),
    st.integers(0, 10_000),
    st.integers(3, 14),
    st.integers(1, 9),
    st.sampled_from([0.2, 1.0, 3.0]),
)
effects = st.lists(st.floats(-5, 5).map(lambda x: round(x, 3)), min_size=2, max_size=7)


@settings(max_examples=25)
@given(effects)
def test_p_is_the_share_of_flips_as_large(x):
    """Against all 2^n flips counted out; 20,000 drawn ones miss it by 4 standard errors at most."""
    sums = [abs(sum(s * v for s, v in zip(signs, x, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(x))]  # fmt: skip
    exact = np.mean([value >= abs(sum(x)) - 1e-9 for value in sums])
    assert sign_flip(x)[0] == pytest.approx(exact, abs=1e-12)
    error = 4 * np.sqrt(exact * (1 - exact) / 20_000) + 1e-4
    assert sign_flip(x, exact_up_to=0)[0] == pytest.approx(exact, abs=error)


@pytest.mark.parametrize("count", [1, 2, 11, 13])
def test_every_pattern_of_signs_comes_once_or_its_opposite(count):
    signs = np.concatenate(list(Flips(count).signs()))
    assert signs.shape == (2 ** (count - 1), count) and set(signs.flat) <= {1, -1}
    both = {tuple(row) for row in np.concatenate([signs, -signs])}
    assert len(both) == 2**count


def test_of_more_patterns_than_are_counted_out_some_are_drawn():
    assert Flips(18).every and not Flips(19).every and Flips(4, exact_up_to=16).every
    drawn = np.concatenate(list(Flips(19, draws=2_500).signs()))
    assert drawn.shape == (2_500, 19) and abs(drawn.mean()) < 0.03
    assert not Flips(4, exact_up_to=15).every


def test_no_p_is_below_what_the_number_of_pairs_allows():
    assert sign_flip(np.ones(8))[0] == 2 / 2**8
    assert sign_flip(np.ones(18))[0] == 2 / 2**18
    assert sign_flip(np.ones(8), flips=50_000, exact_up_to=0)[0] == pytest.approx(2 / 2**8, rel=0.2)
    assert sign_flip(np.ones(40))[0] == 1 / 20_001


def test_templates_flip_as_one():
    x, templates = np.ones(40), [f"t{i % 4}" for i in range(40)]
    assert sign_flip(x, templates)[0] == 2 / 2**4


def test_heads_share_their_flips_and_each_has_its_own_p():
    rng = np.random.default_rng(0)
    table = rng.normal((0, 0.5, 2), size=(12, 3))
    for most in (0, 2**12):
        together = sign_flip(table, seed=3, exact_up_to=most)
        alone = [sign_flip(column, seed=3, exact_up_to=most)[0] for column in table.T]
        assert together.tolist() == alone
        assert together[2] < together[0]
        assert sign_flip(-table, seed=3, exact_up_to=most).tolist() == together.tolist()


def t_of(table):
    return np.abs(scipy_stats.ttest_1samp(table, 0, axis=-2).statistic)


@settings(max_examples=40)
@given(tables, st.booleans())
def test_max_t_against_the_flips_counted_out(table, step_down):
    """With t of each flip by scipy; the largest of the heads that are not stronger."""
    rng = np.random.default_rng(5)
    signs = rng.integers(0, 2, (200, len(table))) * 2.0 - 1
    drawn, found = t_of(signs[:, :, None] * table), t_of(table)
    expected = np.zeros(len(found))
    for head, t in enumerate(found):
        rivals = found <= t if step_down else np.full(len(found), True)
        expected[head] = (1 + (drawn[:, rivals].max(1) >= t * (1 - 1e-9)).sum()) / 201
    if step_down:
        expected = np.array([expected[found >= t].max() for t in found])
    tested = max_t(table, flips=200, seed=5, exact_up_to=0, step_down=step_down)
    assert tested.family == pytest.approx(expected)
    assert tested.p.tolist() == sign_flip(table, flips=200, seed=5, exact_up_to=0).tolist()


def hall_of(table):
    """Give |Hall's t| of each column of a table, or of each of many, by scipy's moments."""
    count, size = table.shape[-2], table.mean(-2) / table.std(-2)
    skewness = scipy_stats.skew(table, axis=-2)
    corrected = size + skewness * size**2 / 3 + skewness**2 * size**3 / 27 + skewness / (6 * count)
    return np.abs(np.sqrt(count) * corrected)


@settings(max_examples=40)
@given(tables, st.booleans(), st.booleans())
def test_by_hall_s_t_it_is_the_same_of_another_size(table, step_down, skewed):
    """Counted out over every pattern of signs, of up to 9 rows."""
    table = table[:9] + table[:9] ** 2 / 3 if skewed else table[:9]
    signs = np.array(list(itertools.product((1, -1), repeat=len(table))))
    flipped = hall_of(signs[:, :, None] * table)
    found = hall_of(table)
    expected = np.zeros(len(found))
    for head, size in enumerate(found):
        rivals = found <= size if step_down else np.full(len(found), True)
        expected[head] = (flipped[:, rivals].max(1) >= size * (1 - 1e-9)).mean()
    if step_down:
        expected = np.array([expected[found >= size].max() for size in found])
    assert max_t(table, step_down=step_down).hall == pytest.approx(expected)


@settings(max_examples=40)
@given(tables, st.integers(0, 3), st.booleans(), st.sampled_from([0, 2**14]))
def test_max_t_is_a_p_for_the_family(table, seed, step_down, most):
    how = {"flips": 300, "seed": seed, "exact_up_to": most}
    p, family, hall = max_t(table, **how, step_down=step_down)
    assert (p <= family).all() and (family <= 1).all() and (hall <= 1).all()
    for name, size in (("family", t_of(table)), ("hall", hall_of(table))):
        found = {"family": family, "hall": hall}[name]
        if not step_down:
            down = getattr(max_t(table, **how), name)
            assert (down <= found).all() and down.min() == found.min()
        assert (np.diff(found[np.argsort(size)]) <= 0).all()
    if len(p) == 1:
        assert p.tolist() == family.tolist()
    shuffled = np.random.default_rng(seed).permutation(len(p))
    again = max_t(table[:, shuffled], **how, step_down=step_down)
    assert again.p.tolist() == p[shuffled].tolist()
    assert again.family.tolist() == family[shuffled].tolist()
    assert again.hall.tolist() == hall[shuffled].tolist()
    # In units of its own, and with the sign turned around, a head is as extreme as before.
    scaled = max_t(table * np.linspace(-3, 40, len(p) + 1)[1:], **how, step_down=step_down)
    assert scaled.family.tolist() == family.tolist() and scaled.hall.tolist() == hall.tolist()


@pytest.mark.parametrize("skewness", [1, -1])
def test_hall_s_t_is_larger_where_the_tail_is_on_the_side_of_the_mean(skewness):
    """A long tail above 0 makes t too small: its SD comes with what makes the mean."""
    x = np.random.default_rng(0).lognormal(0, 0.8, 16)
    x = 0.7 + skewness * (x - x.mean())
    t, hall = t_of(x[:, None])[0], hall_of(x[:, None])[0]
    assert (hall > t) == (skewness > 0)


def test_max_t_keeps_templates_whole_and_ties_together():
    rng = np.random.default_rng(0)
    templates = [f"t{i // 4}" for i in range(48)]
    whole = rng.normal(0.3, 1, (12, 5))
    one = max_t(whole)
    four = max_t(np.repeat(whole, 4, axis=0), templates)
    assert four.family == pytest.approx(one.family) and four.hall == pytest.approx(one.hall)
    twice = max_t(np.repeat(whole, 2, axis=1))
    assert twice.family[::2].tolist() == twice.family[1::2].tolist() == one.family.tolist()
    assert twice.hall[::2].tolist() == twice.hall[1::2].tolist() == one.hall.tolist()


@pytest.mark.parametrize("size", [0.0, 9e-7])
def test_a_head_that_does_nothing_but_float_noise_is_never_found(size):
    """Rounding may well have one sign on all prompts."""
    table = np.column_stack([np.full(20, size), np.random.default_rng(0).normal(2, 1, 20)])
    p, family, hall = max_t(table, flips=1_000)
    assert p[0] == family[0] == hall[0] == 1 and p[1] == family[1] == hall[1] == 1 / 1_001
    assert sign_flip(table[:, 0])[0] == 1
    within = max_t(np.tile([[0.1], [0.2], [-0.3]], (20, 1)), [f"t{i // 3}" for i in range(60)])
    assert within.p[0] == within.family[0] == within.hall[0] == 1


def test_a_constant_head_is_the_most_extreme_there_is():
    table = np.column_stack([np.full(8, 0.001), np.random.default_rng(0).normal(5, 2, (8, 400))])
    p, family, hall = max_t(table)
    assert family[0] == p[0] == hall[0] == 2 / 2**8


@pytest.mark.slow
def test_under_the_null_p_is_uniform():
    rng = np.random.default_rng(1)
    drawn = sign_flip(rng.normal(size=(24, 2_000)), flips=2_000)
    counted = sign_flip(rng.normal(size=(12, 2_000)))
    for p, level in itertools.product((drawn, counted), (0.01, 0.05, 0.5)):
        assert (p <= level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2_000))


def normal_p(count):
    """Return p values, with ties among them."""
    return np.round(np.random.default_rng(1).uniform(0, 1, count), 2)


def test_q_is_the_step_up_of_benjamini_and_hochberg():
    p = np.array([0.01, 0.04, 0.03, 0.2])
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.04 * 4 / 3, 0.04 * 4 / 3, 0.2])
    assert benjamini_hochberg([]).tolist() == []
    many = normal_p(200)
    assert (benjamini_hochberg(many) == scipy_stats.false_discovery_control(many)).all()


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


def test_rows_of_a_table_get_max_t_too():
    def row(name, values):
        return Row(name, "x", name, 0, 1, {}, vectors={"ld": values})

    rng = np.random.default_rng(0)
    table = rng.normal([0, 0.6, 1.5], 1, (20, 3))
    rows = [row(name, column.tolist()) for name, column in zip("abc", table.T, strict=True)]
    found = chances(rows, "ld")
    assert {place: chance[:2] for place, chance in found.items()} == of_rows(rows, "ld")
    family = [chance.family for chance in found.values()]
    assert family == max_t(table).family.tolist() and family[2] < 0.001
    assert [chance.hall for chance in found.values()] == max_t(table).hall.tolist()
    # Another group of prompts has flips of its own: the chance of an error is shared out.
    other = chances([*rows, row("d", [1.0] * 12)], "ld")
    assert [other[name, 0].family for name in "abc"] == pytest.approx(
        [min(1, 2 * p) for p in family]
    )
    assert other["d", 0].family == pytest.approx(2 * other["d", 0].p)
    assert chances([], "ld") == {}


@pytest.mark.parametrize(
    ("clusters", "tests", "together"),
    [(5, 1, None), (6, 1, 1), (3, 16, None), (6, 16, 10), (9, 16, 2), (10, 16, 1), (8, 432, 68),
     (14, 432, 2), (15, 432, 1), (18, 144, 1), (18, 6_553, 1), (18, 6_554, 2), (19, 1_001, 2),
     (40, 1_000, 1), (40, 1_001, 2)],
)  # fmt: skip
def test_reach_is_what_the_best_case_gives(clusters, tests, together):
    """`together` heads at the least p and the others at 1 are found; one head less, and none."""
    found = reach(clusters, tests)
    assert found.together == together and bool(found.why) == (together != 1)
    p = np.ones(tests)
    p[: together or tests] = found.least
    assert (benjamini_hochberg(p).min() <= 0.05) == (together is not None)
    if together and together > 1:
        p[together - 1] = 1
        assert benjamini_hochberg(p).min() > 0.05


def test_reach_says_what_it_would_take():
    assert reach(3, 16).why == (
        "3 templates and 16 tests: the least possible p is 2/2^3 = 0.25, so nothing can be "
        "significant at 0.05 (it takes 6 templates, for one of 16 alone 10 templates)"
    )
    assert reach(1, 1, of="prompts").why == (
        "1 prompt: the least possible p is 2/2^1 = 1, so nothing can be significant at 0.05 (it "
        "takes 6 prompts)"
    )
    assert reach(8, 432).why == (
        "8 templates and 432 tests: the least possible p is 2/2^8 = 0.0078, so q ≤ 0.05 only "
        "where at least 68 tests reach it together (for one of 432 alone 15 templates); "
        "max-T may still find one"
    )
    # What is counted out needs no number of flips, and of more templates they are drawn.
    assert reach(18, 2_048).least == 2 / 2**18 and reach(18, 2_048).together == 1
    assert "1/20001 = 5e-05, so q ≤ 0.05 only" in reach(19, 2_048).why
    assert "(for one of 2048 alone 40959 flips)" in reach(19, 2_048).why
    assert "for one of 10000 alone 19 templates and 199999 flips)" in reach(12, 10_000).why
    assert reach(19, 2_048, flips=40_959).together == 1 and FLIPS == 20_000
    few = {"flips": 9, "exact_up_to": 2**10}
    assert "(it takes 19 flips, for one of 8 alone 159 flips)" in reach(12, 8, **few).why
    assert reach(12, 8, flips=159, exact_up_to=0).together == 1
    assert reach(12, 1, flips=19, exact_up_to=0).together == 1


def test_max_t_finds_one_head_where_q_cannot():
    """8 templates, 100 heads: a head that always does the same stands out, by t alone."""
    table = np.random.default_rng(0).normal(size=(8, 100))
    table[:, 3] = 1 + 0.01 * table[:, 3]
    p, family, _ = max_t(table)
    assert reach(8, 100).together == 16
    assert benjamini_hochberg(p).min() > 0.05 and family[3] < 0.05
