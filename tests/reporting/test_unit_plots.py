"""The effects of units beside those of random units."""

from __future__ import annotations

import pytest
from made import around, rows_of

from emolib.reporting.unit_plots import is_confirmation, unit_effects


def ablated(units, effect, random, kind="zero", **labels):
    record = {"logit_diff": around(effect), "logit_diff_random": around(random)} | labels
    return rows_of("unit_ablation", record, units=units, ablation=kind)


def confirmed(effect, random, kind="zero"):
    record = {"kind": kind, "top_effect": around(effect), "random_effect": around(random),
              "n_units": 20}  # fmt: skip
    return rows_of("unit_confirmation", record)


def test_units_stand_beside_random_ones_those_held_out_last(tmp_path, figure):
    rows = [*confirmed(-3.0, 0.2), *ablated("L0U7", -1.0, 0.1, "mean", spec="top1"),
            *ablated("L0U7", -2.0, 0.3, spec="top1"),
            *ablated("L1U1+L1U2+L1U3", -0.5, 0.0)]  # fmt: skip
    assert [is_confirmation(row) for row in rows] == [True, False, False, False]
    drawn = figure(unit_effects, rows, tmp_path / "x.png")
    (panel,) = drawn.axes
    names = [label.get_text().replace("\n", ", ") for label in panel.get_xticklabels()]
    assert names == ["top1, zero", "L1U1+2 more, zero", "top1, mean", "held out, zero"]
    units, random = ([round(bar.get_height(), 3) for bar in found]
                     for found in panel.containers if hasattr(found, "patches"))  # fmt: skip
    assert sorted(units) == [-2.965, -1.965, -0.965, -0.465]
    assert sorted(random) == [0.035, 0.135, 0.235, 0.335]
    ends = [segment[:, 1].tolist() for line in panel.collections for segment in line.get_segments()]
    assert len(ends) == 8 and all(low < high for low, high in ends)


def test_as_many_units_as_are_asked_for_the_strongest(tmp_path, figure):
    rows = [row for i in range(5) for row in ablated(f"L0U{i}", -1.0 * i, 0.0)]
    (panel,) = figure(unit_effects, rows, tmp_path / "x.png", shown=2).axes
    names = {label.get_text().partition("\n")[0] for label in panel.get_xticklabels()}
    assert names == {"L0U3", "L0U4"}


def test_a_png_that_repeats_and_differs_with_its_effects(tmp_path):
    out = tmp_path / "out.png"
    first = unit_effects(confirmed(-3.0, 0.2), out).read_bytes()
    assert (
        first.startswith(b"\x89PNG")
        and unit_effects(confirmed(-3.0, 0.2), out).read_bytes() == first
    )
    assert unit_effects(confirmed(-3.0, 1.2), out).read_bytes() != first


@pytest.mark.parametrize("spec", ["$\\evil$", "a\nb", "x" * 500])
def test_hostile_names_are_text(tmp_path, figure, spec):
    (panel,) = figure(unit_effects, ablated("L0U1", 1.0, 0.0, spec=spec), tmp_path / "x.png").axes
    (label,) = (label.get_text() for label in panel.get_xticklabels())
    assert len(label) < 40 and label.count("\n") <= 1
