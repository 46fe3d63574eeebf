"""What a random sample says of what was not drawn: counted out, and in simulated rankings."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.stats.missed import Missed, drawn_for, most_beyond

sizes = st.integers(0, 60).flatmap(lambda rest: st.tuples(st.just(rest), st.integers(0, rest)))


def test_the_bound_of_134_heads_of_which_22_were_drawn():
    assert most_beyond(134, 22) == 15
    assert comb(119, 22) / comb(134, 22) > 0.05 > comb(118, 22) / comb(134, 22)


@given(sizes, st.sampled_from([0.01, 0.05, 0.1, 0.5]))
def test_it_is_the_largest_number_that_a_sample_may_pass_by(size, level):
    rest, drawn = size
    chances = [comb(rest - k, drawn) / comb(rest, drawn) for k in range(rest + 1)]
    found = most_beyond(rest, drawn, level=level)
    # On the edge itself a float cannot tell.
    if not any(abs(chance - level) < 1e-12 for chance in chances):
        assert found == max(k for k, chance in enumerate(chances) if chance > level)
    assert found <= rest - drawn
    if drawn < rest:
        assert most_beyond(rest, drawn + 1, level=level) <= found


@given(st.integers(0, 300))
def test_all_of_them_leave_nothing_open_and_none_of_them_everything(rest):
    assert most_beyond(rest, rest) == 0 and most_beyond(rest, 0) == rest


def test_a_level_is_the_decimal_number_it_is_written_as():
    """C(19, 1) / C(20, 1) is 0.95 and C(1, 1) / C(20, 1) 0.05, which is not above 0.05."""
    assert most_beyond(20, 1, level=0.95) == 0
    assert most_beyond(20, 1, level=0.05) == 18


@pytest.mark.parametrize("drawn", [-1, 5])
def test_more_cannot_be_drawn_than_there_are(drawn):
    with pytest.raises(ValueError, match=rf"^expected from 0 to 4 drawn of 4, got {drawn}$"):
        most_beyond(4, drawn)


@given(st.integers(0, 400))
def test_the_default_sample_leaves_a_tenth_open_and_a_smaller_one_more(rest):
    drawn = drawn_for(rest)
    assert most_beyond(rest, drawn) <= rest / 10
    assert not drawn or most_beyond(rest, drawn - 1) > rest / 10


def test_the_default_sample_grows_slowly():
    assert [drawn_for(rest) for rest in (0, 3, 11, 139, 1019)] == [0, 3, 9, 26, 29]
    assert drawn_for(139, share=0.5) < drawn_for(139, share=0.1) < drawn_for(139, share=0.01)


@pytest.mark.parametrize(("rest", "drawn"), [(134, 22), (11, 9), (139, 26), (40, 5)])
@pytest.mark.parametrize("shape", ["normal", "few large", "all alike"])
def test_it_holds_in_95_of_100_samples(rest, drawn, shape):
    """Of 4,000 samples, whatever the sizes are; ties exceed nothing and only help."""
    rng = np.random.default_rng(1)
    sizes = {
        "normal": np.abs(rng.normal(size=rest)),
        "few large": np.where(np.arange(rest) < rest // 5, 5 + rng.random(rest), rng.random(rest)),
        "all alike": np.ones(rest),
    }[shape]
    most, draws = most_beyond(rest, drawn), 4_000
    beyond = np.array([
        (sizes > sizes[rng.permutation(rest)[:drawn]].max()).sum() for _ in range(draws)
    ])  # fmt: skip
    wrong = (beyond > most).mean()
    # Where no two are alike the rate is known: a sample without any of the K + 1 largest.
    exact = comb(rest - most - 1, drawn) / comb(rest, drawn)
    assert exact <= 0.05
    expected = 0 if shape == "all alike" else exact
    assert wrong == pytest.approx(expected, abs=4 * np.sqrt(0.05 * 0.95 / draws))


def test_the_sentence_says_no_less_than_the_numbers():
    assert str(Missed(15, 134, 22, 0.03).sentence()) == (
        "at most 15 of 134 unverified heads exceed 0.03 logits (95 %)"
    )
    assert "exceed 0.035 logits (90 %)" in Missed(15, 134, 22, 0.0341, 0.1).sentence()
    assert "units exceed 1.3e-05 nats" in Missed(1, 9, 5, 1.21e-5).sentence("units", "nats")
    assert "exceed 13 logits" in Missed(1, 9, 5, 12.01).sentence()
    assert Missed(0, 11, 11, 0.0).sentence() == (
        "every one of the 11 other heads was verified: none exceeds 0 logits"
    )
