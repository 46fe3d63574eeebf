"""Sections of the report on MLP units, from rows as a store would give them."""

from __future__ import annotations

import re
from dataclasses import replace

from made import FEW, HOSTILE, around, lines_of, rows_of

from emolib.reporting.report_units import units


def screened(unit, atp, zero=None):
    return {"unit": unit, "atp": around(atp), "zero_effect": None if zero is None else
            around(zero), "mean_effect": None, "held_out_zero": zero, "held_out_mean": None,
            "dla": 0.5, "delta_act": 2.0, "act_d_z": None, "reliability": 0.9}  # fmt: skip


def test_units_strongest_first_and_without_a_q():
    rows = rows_of("unit_screening", screened("L0U1", 0.25), screened("L1U7", -3.0, -2.5))
    text = "\n".join(units({"unit_screening": rows}, 10))
    names = re.findall(r"^\| (L\dU\d) ", text, re.MULTILINE)
    assert names == ["L1U7", "L0U1"]
    assert "Split-half reliability 0.900." in text and "no q" in text
    assert not re.search(r"\| q +\|", text)
    assert re.search(
        r"^\| L1U7 +\| -2\.965 \[.*\] +\| -2\.465 \[.*\] +\| -2\.500", text, re.MULTILINE
    )
    doubted = [replace(row, labels=row.labels | {"ranking": "reliability 0.3 < 0.8"})
               for row in rows]  # fmt: skip
    doubt = "\n".join(units({"unit_screening": doubted}, 1))
    assert "No ranking: reliability 0.3 &lt; 0.8." in doubt and "L0U1" not in doubt


def test_how_well_the_scores_rank_is_told_and_why_one_is_lacking():
    more = {"patch_effect": around(-2.0), "relp": -2.25, "atp_correlation": 0.75}
    row = screened("L0U1", 0.25) | more | {"relp_correlation": 0.9375}
    text = "\n".join(units({"unit_screening": rows_of("unit_screening", row)}, 10))
    told = "Rank correlation with exact patching on held-out templates: atp 0.750, relp 0.938."
    assert told in text
    assert re.search(r"^\| L0U1 +\| 0\.285 \[.*\] +\| -1\.965 \[.*\] +\| -2\.250 +\|", text, re.M)
    lacking = row | {"relp": None, "relp_correlation": None, "why_no_relp": "no relevance: its <x>"}
    text = "\n".join(units({"unit_screening": rows_of("unit_screening", lacking)}, 10))
    assert "atp 0.750, relp – (no relevance: its &lt;x&gt;)." in text


def test_layers_by_their_share():
    layers = [{"layer": f"L{i}", "sum_abs_atp": size, "units_for_half": 3 + i}
              for i, size in enumerate((1.0, 6.0, 0.5, 2.5))]  # fmt: skip
    text = "\n".join(units({"unit_layers": rows_of("unit_layers", *layers)}, 10))
    assert re.search(r"\| one +\| joy +\| 10 +\| L1 60 %, L3 25 %, L0 10 % +\| 4 +\|", text)
    nothing = rows_of("unit_layers", *[row | {"sum_abs_atp": 0.0} for row in layers])
    assert "Layers" not in "\n".join(units({"unit_layers": nothing}, 10))


def test_the_confirmation_is_a_test():
    row = {"kind": "mean", "top_effect": around(-2), "random_effect": around(0.0),
           "difference": [-2.0] * FEW, "n_units": 20, "in_both_halves": 18}  # fmt: skip
    text = "\n".join(units({"unit_confirmation": rows_of("unit_confirmation", row)}, 10))
    line = re.search(r"^\| one .*", text, re.MULTILINE)[0]
    # Eight templates: two of 256 flips are as large.
    assert re.search(r"\| -2 \[-2, -2\] +\| 0\.008 +\|$", line)
    assert re.search(r"\| one +\| joy +\| mean +\| 20 +\| 18 +\|", line)


def test_ablation_of_units_stands_beside_its_control():
    record = {
        "logit_diff": around(-1.0),
        "logit_diff_random": around(0.0),
        "random_units": "L0U3",
    }
    rows = rows_of("unit_ablation", record | {"spec": "top1"}, units="L0U2")
    rows += rows_of("unit_ablation", record, units="L0U5")
    text = "\n".join(units({"unit_ablation": rows}, 10))
    found = {line.split()[1]: line for line in re.findall(r"^\| L0U.*", text, re.MULTILINE)}
    assert " 0.008 " in found["L0U5"] and " 0.008 " not in found["L0U2"]
    assert "0.035" in found["L0U2"] and "top1" in found["L0U2"]


def test_without_units_the_command_is_named():
    text = "\n".join(units({}, 10))
    command = "pytest experiments/exp_unit_screening.py experiments/exp_unit_ablation.py"
    assert f"Not run: `{command}`." in text


def test_as_many_units_as_are_asked_for_a_study_at_a_time():
    rows = rows_of("unit_screening", *(screened(f"L0U{i}", i + 1.0) for i in range(4)))
    rows += rows_of("unit_screening", screened("L5U5", 1.0), model="two", emotion="fear")
    text = "\n".join(units({"unit_screening": rows}, 2))
    assert re.findall(r"^### (.*)", text, re.MULTILINE) == ["one, joy", "two, fear"]
    assert re.findall(r"^\| (L\dU\d) ", text, re.MULTILINE) == ["L0U3", "L0U2", "L5U5"]


def test_every_part_stands_once_in_its_order():
    """What is of no part of its own stands last, whatever came first."""
    layer = {"layer": "L0", "sum_abs_atp": 1.0, "units_for_half": 3}
    confirmed = {"kind": "zero", "n_units": 20, "in_both_halves": 18, "difference": around(0.0),
                 "top_effect": around(0.0), "random_effect": around(0.0)}  # fmt: skip
    experiments = {
        "unit_patching": rows_of("unit_patching", {"logit_diff": around(1.0)}, units="L0U2"),
        "unit_confirmation": rows_of("unit_confirmation", confirmed),
        "unit_layers": rows_of("unit_layers", layer),
        "unit_screening": rows_of("unit_screening", screened("L0U1", 1.0)),
    }
    text = "\n".join(units(experiments, 5))
    assert re.findall(r"^##+ (.*)", text, re.MULTILINE) == [
        "Units", "one, joy", "Layers", "Confirmation on held-out templates",
        "unit_patching, one, joy",
    ]  # fmt: skip
    assert "Not run" not in text


def test_hostile_names_break_no_table():
    rows = rows_of("unit_screening", screened(HOSTILE, 1.0), model="a|<b>")
    rows += rows_of("unit_layers", {"layer": "L0|<i>", "sum_abs_atp": 1.0, "units_for_half": 1})
    for name in ("unit_screening", "unit_layers"):
        found = [row for row in rows if row.experiment == name]
        text = "\n".join(units({name: found}, 5))
        assert not re.search(r"<(b|i|script)>", text)
        (line,) = lines_of(text)
        assert r"\|" in "".join(line.values())


def test_a_confirmation_without_a_number_per_pair_has_no_p():
    row = {"kind": "mean", "n_units": 20, "in_both_halves": 18, "top_effect": -2.0,
           "random_effect": 0.0, "difference": -2.0}  # fmt: skip
    (line,) = lines_of("\n".join(units({"unit_confirmation": rows_of("x", row)}, 5)))
    assert line["difference"] == "-2" and "p" not in line
