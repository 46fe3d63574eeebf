"""Items of MLP units: their ids, what they record, and the experiments of the project on them."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from folders import ids, pairs, rounded

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ABLATE = """
import pytest


@pytest.mark.results("own/{model}_{emotion}_{units}{variant}.json")
def exp_ablate(run, units, matched_units, ablation, record):
    clean, ablated, random = run(), run(ablation(units)), run(ablation(matched_units))
    record(
        logit_diff=ablated.logit_diff - clean.logit_diff,
        random=random.logit_diff - clean.logit_diff,
        random_units=str(matched_units),
        text=ablated.texts,
    )
"""
SCREEN = """

def exp_screen(unit_screening, record):
    for row in unit_screening.top:
        record(**row)
"""


def test_ids_are_what_a_person_would_type(folder):
    folder.write("exp_effect.py", ABLATE)
    specs = ["--unit-spec", "3:77", "--unit-spec", "3:201,3:77", "--unit-spec", "top:2"]
    result = folder.pytest("--collect-only", "-q", *specs, "--ablation", "zero",
                           "--ablation", "mean")  # fmt: skip
    names = ["L3U77", "L3U77+L3U201", "top1", "top2"]
    assert ids(result) == [
        f"tiny-neo-gratitude-{name}{variant}" for name in names for variant in ("", "-mean")
    ]


def test_the_profile_s_units_are_the_top_five_and_five_random_ones(folder):
    folder.write("exp_effect.py", ABLATE)
    found = ids(folder.pytest("--collect-only", "-q"))
    assert found[:5] == [f"tiny-neo-gratitude-top{rank}" for rank in range(1, 6)]
    assert len(found) == 10 and all("-gratitude-L" in name for name in found[5:])
    again = ids(folder.pytest("--collect-only", "-q", "--seed", "1"))
    assert again[:5] == found[:5] and set(again[5:]) != set(found[5:])


def test_a_large_set_gets_a_short_name_and_keeps_every_unit_on_record(folder):
    folder.write("exp_effect.py", ABLATE)
    spec = ",".join(f"1:{index}" for index in range(9))
    folder.pytest("--unit-spec", spec)
    (row,) = folder.rows()
    assert row["dims"]["units"].startswith("9units-")
    assert row["provenance"]["units"] == [f"L1U{index}" for index in range(9)]


def test_heads_and_units_of_one_function_are_crossed(folder):
    folder.write("exp_effect.py", "def exp_both(heads, units, record): record(n=1)")
    result = folder.pytest("--unit-spec", "0:1", "--unit-spec", "0:2")
    result.stdout.fnmatch_lines(["*6 recorded*"])
    dims = [(row["dims"]["heads"], row["dims"]["units"]) for row in folder.rows()]
    assert dims[:2] == [("L2H0", "L0U1"), ("L2H0", "L0U2")]


def test_top_units_come_from_screening(folder):
    """They have ids of their own and show the unit they turn out to stand for."""
    folder.write("exp_effect.py", ABLATE + SCREEN)
    folder.pytest("--unit-spec", "top:1", "-k", "exp_screen")
    screened = [row for row in folder.rows() if row["experiment"] == "screen"]
    best = [row["labels"]["unit"] for row in screened[:2]]
    assert len(screened) == 50
    result = folder.pytest("--unit-spec", "top:2", "-k", "exp_ablate")
    result.stdout.fnmatch_lines([f"tiny-neo*gratitude*{unit}*top{i + 1}*" for i, unit in
                                 enumerate(best)])  # fmt: skip
    rows = folder.rows()[-2:]
    for rank, (row, unit) in enumerate(zip(rows, best, strict=True), 1):
        assert row["item"].endswith(f"[tiny-neo-gratitude-top{rank}]")
        assert row["dims"]["units"] == unit and row["labels"]["spec"] == f"top{rank}"
        assert row["provenance"]["units"] == [unit]
        alone = screened[rank - 1]["values"]["zero_effect"]["mean"]
        assert row["values"]["logit_diff"]["mean"] == pytest.approx(alone, abs=1e-5)
        assert row["labels"]["random_units"].split("U")[0] == unit.split("U")[0]
        content = json.loads(
            folder.results(f"own/tiny-neo_gratitude_top{rank}.json").read_text("utf-8")
        )
        assert content["units"] == unit and len(content["prompts"]) == 12
    # Named, it is the same item but for its name.
    folder.pytest("--unit-spec", best[0], "-k", "exp_ablate")
    named = folder.rows()[-1]
    effects = named["vectors"]["logit_diff"], rows[0]["vectors"]["logit_diff"]
    assert rounded(effects[0]) == rounded(effects[1]) and "spec" not in named["labels"]


def test_a_top_unit_of_an_unreliable_ranking_says_so(folder):
    folder.write("data/pairs/gratitude.json", json.dumps(pairs(count=3)))
    folder.write("exp_effect.py", ABLATE)
    folder.pytest("--unit-spec", "top:1")
    (row,) = folder.rows()
    doubt = "no reliability: too few pairs"
    assert (row["labels"]["spec"], row["labels"]["ranking"]) == ("top1", doubt)


def test_named_units_need_no_pairs(folder):
    folder.write("exp_effect.py", ABLATE)
    folder.write("free.json", '{"prompts": ["Anna thanked him", "He was glad and she"]}')
    result = folder.pytest("--emotion-prompts", "gratitude=free.json", "--unit-spec", "3:5,2:1")
    result.stdout.fnmatch_lines(["*1 recorded*"])


def test_the_project_s_experiments_have_their_files(folder):
    """Every file where it is said to be; `test_parallel` runs a unit's items under -n."""
    for name in ("exp_unit_screening.py", "exp_unit_ablation.py"):
        shutil.copy(EXPERIMENTS / name, folder.path / name)
    (folder.path / "exp_effect.py").unlink()
    specs = ["--unit-spec", "top:1", "--unit-spec", "2:5,3:7"]
    result = folder.pytest(*specs, "--ablation", "mean")
    result.stdout.fnmatch_lines(["*7 recorded*"])
    units = ("top1", "L2U5+L3U7")
    assert {name for name in folder.files() if name.startswith("units/")} == {
        *(f"units/unit_{name}_tiny-neo_gratitude.json" for name in
          ("scores", "layers", "confirmation")),
        *(f"units/unit_ablation/tiny-neo_gratitude_{unit}-mean.json" for unit in units),
        *(f"units/unit_patching/tiny-neo_gratitude_{unit}.json" for unit in units),
    }  # fmt: skip
    scores = json.loads(
        folder.results("units/unit_scores_tiny-neo_gratitude.json").read_text("utf-8")
    )
    assert len(scores["records"]) == 50
    assert scores["records"][0]["labels"]["unit"].startswith("L")
    assert {"atp", "act_d_z", "dla", "held_out_zero"} <= set(scores["records"][0]["summary"])
    with folder.results("tables/unit_confirmation.csv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert [row["kind"] for row in table] == ["zero", "mean"]
