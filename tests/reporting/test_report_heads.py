from __future__ import annotations

import re
from dataclasses import replace

from made import make_results

from emolib.reporting.report_heads import ablation, controls, patching
from emolib.reporting.report_units import units
from emolib.results.records import Store
from emolib.results.rows import Row, sort_values
from emolib.stats.summary import summarize


def constant(zero, mean, resample=None, ci=(0.9, 1.1)):
    """Return the section on one head whose kinds of ablation have these effects."""
    effects = {"zero": zero, "mean": mean, "resample": resample}
    rows = [
        Row("i", "head_ablation", "k", 0, 1, {"heads": "L0H0", "ablation": kind},
            values={"logit_diff": {"mean": effect, "ci": sorted(effect * c for c in ci)}})
        for kind, effect in effects.items() if effect is not None
    ]  # fmt: skip
    return re.search(r"^\| L0H0 .*", "\n".join(ablation(rows, 10)), re.MULTILINE)[0]


def test_a_constant_counts_under_zero_alone():
    assert constant(-2.0, 0.1, -0.1).endswith("| constant |")
    assert constant(-2.0, 0.1).endswith("| constant |")
    assert "constant" not in constant(-2.0, 0.1, -1.5)
    assert "constant" not in constant(-2.0, -0.5, 0.0)
    assert "constant" not in constant(-2.0, 0.1, 0.1, ci=(-0.2, 2.0))


def test_patching_has_both_directions_and_positions_side_by_side(tmp_path):
    store = Store(make_results(tmp_path, models=("one",), emotions=("joy",)) / "records.jsonl")
    rows = store.whole_rows("head_patching")
    for row in rows:
        sign = {"denoise": 1, "noise": -1}[row.labels["direction"]]
        row.values["recovery"] = sign * {"last": 0.5, "slot": 0.125}[row.labels["position"]]
    text = "\n".join(patching(rows, 1))
    line = re.search(r"^\| L1H0 .*\]", text, re.MULTILINE)[0]
    cells = re.findall(r"(-?[\d.]+) \[", line)
    assert float(cells[0]) == -float(cells[1]) > 1.5
    assert re.search(r"\| L1H0 +\| denoise +\| 0\.500 +\| 0\.125 +\|", text)
    assert re.search(r"\| L1H0 +\| noise +\| -0\.500 +\| -0\.125 +\|", text)
    assert "noise: Δ joy words" in text and not re.search(r"^\| L0H", text, re.MULTILINE)


PAIRS = 8


def unit_rows(experiment, *records, **dims):
    """Return the rows of one item on units as the store would give them."""
    dims = {"model": "one", "emotion": "joy"} | dims
    name = f"exp_x.py::exp_{experiment}[{'-'.join(dims.values())}]"
    templates = {"ids": [f"p{i}" for i in range(PAIRS)],
                 "templates": [f"t{i}" for i in range(PAIRS)]}  # fmt: skip
    return [
        Row(name, experiment, name, i, len(records), dims, pairs=templates,
            **sort_values(record, summarize))
        for i, record in enumerate(records)
    ]  # fmt: skip


def effects(mean):
    return [mean + 0.01 * i for i in range(PAIRS)]


def screened(unit, atp, zero=None):
    return {"unit": unit, "atp": effects(atp), "zero_effect": None if zero is None else
            effects(zero), "mean_effect": None, "held_out_zero": zero, "held_out_mean": None,
            "dla": 0.5, "delta_act": 2.0, "act_d_z": None, "reliability": 0.9}  # fmt: skip


def test_units_strongest_first_and_without_a_q():
    rows = unit_rows("unit_screening", screened("L0U1", 0.25), screened("L1U7", -3.0, -2.5))
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


def test_layers_by_their_share():
    layers = [{"layer": f"L{i}", "sum_abs_atp": size, "units_for_half": 3 + i}
              for i, size in enumerate((1.0, 6.0, 0.5, 2.5))]  # fmt: skip
    text = "\n".join(units({"unit_layers": unit_rows("unit_layers", *layers)}, 10))
    assert re.search(r"\| one +\| joy +\| 10 +\| L1 60 %, L3 25 %, L0 10 % +\| 4 +\|", text)
    nothing = unit_rows("unit_layers", *[row | {"sum_abs_atp": 0.0} for row in layers])
    assert "Layers" not in "\n".join(units({"unit_layers": nothing}, 10))


def test_the_confirmation_is_a_test():
    row = {"kind": "mean", "top_effect": effects(-2), "random_effect": effects(0.0),
           "difference": [-2.0] * PAIRS, "n_units": 20, "in_both_halves": 18}  # fmt: skip
    text = "\n".join(units({"unit_confirmation": unit_rows("unit_confirmation", row)}, 10))
    line = re.search(r"^\| one .*", text, re.MULTILINE)[0]
    # Eight templates: two of 256 flips are as large.
    assert re.search(r"\| -2 \[-2, -2\] +\| 0\.008 +\|$", line)
    assert re.search(r"\| one +\| joy +\| mean +\| 20 +\| 18 +\|", line)


def test_ablation_of_units_stands_beside_its_control():
    record = {
        "logit_diff": effects(-1.0),
        "logit_diff_random": effects(0.0),
        "random_units": "L0U3",
    }
    rows = unit_rows("unit_ablation", record | {"spec": "top1"}, units="L0U2")
    rows += unit_rows("unit_ablation", record, units="L0U5")
    text = "\n".join(units({"unit_ablation": rows}, 10))
    found = {line.split()[1]: line for line in re.findall(r"^\| L0U.*", text, re.MULTILINE)}
    assert " 0.008 " in found["L0U5"] and " 0.008 " not in found["L0U2"]
    assert "0.035" in found["L0U2"] and "top1" in found["L0U2"]


def test_without_units_the_command_is_named():
    text = "\n".join(units({}, 10))
    command = "pytest experiments/exp_unit_screening.py experiments/exp_unit_ablation.py"
    assert f"Not run: `{command}`." in text


def test_controls_stand_beside_the_effects_without_a_q():
    record = {"head": "L0H2", "other_head": "L0H0", "denoise": effects(10.0),
              "same_layer": effects(0.0), "shuffled_labels": effects(-0.05),
              "lexical": None}  # fmt: skip
    weaker = record | {"head": "L1H0", "denoise": effects(1.0)}
    text = "\n".join(controls(unit_rows("head_controls", weaker, record), 10))
    assert re.findall(r"\| (L\dH\d) +\| L0H0 ", text) == ["L0H2", "L1H0"]
    assert re.search(r"\| L0H0 +\| 10\.035 \[.*\] +\| 0\.035 \[", text) and "| q " not in text
    assert "Not run: `pytest experiments/exp_head_controls.py`." in "\n".join(controls([], 10))
