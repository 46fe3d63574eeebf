from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest
from made import make_results

from emolib.reporting.comparison import compare, overlap, write_comparison
from emolib.results.chances import of_rows
from emolib.results.records import Store
from emolib.results.selection import kinds, studies


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    store = Store(make_results(tmp_path_factory.mktemp("results")))
    return list(store.whole_rows("head_ablation"))


def test_a_line_has_the_strongest_head_and_how_many_count(rows):
    lines = compare(rows)
    assert [(line["model"], line["emotion"], line["ablation"]) for line in lines] == [
        (model, emotion, kind)
        for model in ("one", "two")
        for emotion in ("fear", "joy")
        for kind in ("zero", "mean", "resample")
    ]
    zero = lines[0]
    assert (zero["strongest"], zero["depth"], zero["heads"]) == ("L1H0", 1.0, 4)
    family = kinds(studies(rows)["one", "fear"])["zero", "", ""]
    effects = {row.dims["heads"]: row.values["logit_diff"]["mean"] for row in family}
    assert zero["effect"] == effects["L1H0"] and zero["ci"][0] < effects["L1H0"] < zero["ci"][1]
    assert zero["mean_abs_effect"] == pytest.approx(sum(map(abs, effects.values())) / 4)
    found = sum(q < 0.05 for _, q in of_rows(family, "logit_diff").values())
    assert zero["significant"] == found / 4 >= 0.25
    order = sorted(effects, key=lambda heads: -abs(effects[heads]))
    assert (zero["next"], zero["clean_gap"]) == (", ".join(order[1:3]), None)


def test_no_share_of_heads_that_a_rank_chose(rows):
    chosen = [replace(row, labels={"spec": "top1"}) for row in rows]
    assert {line["significant"] for line in compare(chosen)} == {None}
    first = [row for row in rows if row.dims["ablation"] == "zero"][:1]
    assert compare([*first, *chosen])[0]["significant"] in (0.0, 1.0)


def test_joint_sets_and_rows_without_the_metric_stay_out(rows):
    joint = replace(rows[0], dims=rows[0].dims | {"heads": "L0H0+L1H0"})
    without = replace(rows[0], vectors={}, values={})
    bare = replace(rows[0], dims={}, provenance={})
    assert compare([joint, without, bare]) == []


def test_the_clean_gap_is_what_recovery_is_a_share_of(rows):
    patched = replace(rows[0], values={"logit_diff": {"mean": 3.0}, "recovery": 0.25})
    weak = replace(rows[0], values={"logit_diff": {"mean": 0.1}, "recovery": 0.009})
    unknown = replace(rows[0], values={"logit_diff": {"mean": 1.0}, "recovery": None})
    study = (rows[0].dims["model"], rows[0].dims["emotion"])
    gaps = {
        line["clean_gap"]
        for line in compare(rows, [weak, patched, unknown])
        if (line["model"], line["emotion"]) == study
    }
    assert gaps == {12.0}


def test_overlap_is_between_models_of_one_shape():
    def model(name, layers, values):
        scores = [
            {"emotion": "joy", "layer": i, "head": 0, "atp_ig": v} for i, v in enumerate(values)
        ]
        return {"model": name, "layers": layers, "heads_per_layer": 1, "scores": scores}

    models = [model("a", 3, [1, -3, 2]), model("b", 3, [-0.1, 0.3, 0.2]), model("c", 4, [1, 2, 3])]
    assert overlap(models) == [{"models": "a, b", "emotion": "joy", "spearman": pytest.approx(1.0)}]
    assert overlap([model("a", 2, [1, 1]), model("b", 2, [1, 2])])[0]["spearman"] is None


def test_overlap_leaves_out_scores_that_older_scripts_did_not_have():
    entry = {"emotion": "joy", "layer": 0, "head": 0, "delta_attn": 0.1}
    old = {"model": "m", "layers": 1, "heads_per_layer": 1, "scores": [entry]}
    assert overlap([old, old]) == []


def test_files_hold_every_number(rows, tmp_path):
    lines = compare(rows)
    ranks = [{"models": "a|b, c", "emotion": "joy", "spearman": None}]
    files = write_comparison(lines, ranks, tmp_path)
    assert [path.name for path in files] == [
        "model_comparison.csv", "rank_overlap.csv", "model_comparison.md"
    ]  # fmt: skip
    with files[0].open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [float(line["effect"]) for line in read] == [line["effect"] for line in lines]
    assert [float(line["effect_ci_low"]) for line in read] == [line["ci"][0] for line in lines]
    shown = files[2].read_text("utf-8")
    assert re.match(r"\| model +\| emotion", shown) and r"a\|b, c" in shown
    assert len(write_comparison(lines, [], tmp_path)) == 2
