"""Values by head: where they stand, one scale for all, and what is tested."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import around, rows_of

from emolib.reporting.page.head_maps import Grid, HeadMaps
from emolib.results.chances import of_rows
from emolib.results.selection import StudyKey

STUDY = StudyKey("one", "joy")


def row(heads, mean, spec=None, layers=2, **dims):
    record = {"logit_diff": around(mean)} | ({"spec": spec} if spec else {})
    (found,) = rows_of("head_ablation", record, **dims, heads=heads, ablation="zero")
    return replace(
        found, item=f"{found.item}{spec}", provenance={"shape": {"layers": layers, "heads": 2}}
    )


def maps(*rows):
    found = HeadMaps()
    for one in rows:
        found.see(one)
    found.test()
    return found


def test_a_head_stands_in_its_layer_and_column():
    found = maps(row("L0H1", 1.0), row("L1H0", -2.0))
    score = found.default()
    told = found.grids[STUDY][score].told()
    assert told["mean"] == [None, pytest.approx(1.035), pytest.approx(-1.965), None]
    assert told["low"][1] <= told["mean"][1] <= told["high"][1]
    assert found.ranked(STUDY) == ["L1H0", "L0H1", "L0H0", "L1H1"]


def test_one_scale_for_all_studies():
    found = maps(row("L0H1", 1.0), row("L0H1", 7.0, model="two"))
    score = found.default()
    assert found.limit(score) == pytest.approx(7.035) and not found.is_signed(score)
    assert maps(row("L0H1", -1.0)).is_signed(score)


def test_q_is_over_the_heads_that_nobody_s_rank_chose():
    rows = [row("L0H0", 1.0), row("L0H1", 0.0), row("L1H1", 3.0, spec="top1")]
    found = maps(*rows)
    grid = found.grids[STUDY][found.default()]
    expected = of_rows(rows[:2], "logit_diff")
    for one in rows[:2]:
        assert grid.of(one.dims["heads"], "q") == expected[one.item, 0][1]
    assert grid.of("L1H1") == pytest.approx(3.035) and grid.of("L1H1", "q") is None


def test_what_the_run_has_tested_is_taken_from_it_whole_or_not_at_all():
    rows = [row("L0H0", 1.0), row("L0H1", 0.0)]
    known = {
        (one.item, 0): {"logit_diff_q": q, "logit_diff_max_t": family}
        for one, q, family in zip(rows, (0.25, 0.5), (0.75, 1.0), strict=True)
    }
    for told, q, family in (
        (known, [0.25, 0.5], [0.75, 1.0]),
        (dict([*known.items()][:1]), *2 * [None]),
    ):
        found = HeadMaps()
        for one in rows:
            found.see(one)
        found.test(told)
        grid = found.grids[STUDY][found.default()].told()
        if q is None:
            expected = of_rows(rows, "logit_diff")
            q = [expected[one.item, 0][1] for one in rows]
            family = [0.75, None]
        assert grid["q"][:2] == pytest.approx(q, rel=1e-3) and grid["max_t"][:2] == family


def test_a_head_that_was_named_goes_before_the_same_one_by_rank():
    for order in (1, -1):
        rows = [row("L0H0", 1.0), row("L0H0", 5.0, spec="top1")][::order]
        found = maps(*rows)
        assert found.grids[STUDY][found.default()].of("L0H0") == pytest.approx(1.035)


def test_what_is_on_no_single_head_of_the_model_is_on_no_map():
    assert not maps(row("L0H0+L0H1", 1.0), row("L7H0", 1.0), row("L0H0<b>", 1.0)).studies
    assert Grid(1, 1).largest == 0.0
