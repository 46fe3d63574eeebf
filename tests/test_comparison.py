from __future__ import annotations

import csv
import json
import re

import pytest
from made import make_results

from emolib.comparison import compare, families, markdown, overlap, write_comparison
from emolib.records import Store
from emolib.significance import of_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    store = Store(make_results(tmp_path_factory.mktemp("results")) / "records.jsonl")
    return store.whole_rows("head_ablation")


def test_a_line_has_the_strongest_head_and_how_many_count(rows):
    lines = compare(rows)
    assert [(line["model"], line["emotion"], line["ablation"]) for line in lines] == [
        (model, emotion, kind)
        for model in ("one", "two")
        for emotion in ("fear", "joy")
        for kind in ("mean", "resample", "zero")
    ]
    zero = lines[2]
    assert (zero["strongest"], zero["depth"], zero["heads"]) == ("L1H0", 1.0, 4)
    family = families(rows)["one", "fear", "zero", "", ""]
    effects = {row.dims["heads"]: row.values["logit_diff"]["mean"] for row in family}
    assert zero["effect"] == effects["L1H0"] and zero["ci"][0] < effects["L1H0"] < zero["ci"][1]
    assert zero["mean_abs_effect"] == pytest.approx(sum(map(abs, effects.values())) / 4)
    found = sum(q < 0.05 for _, q in of_rows(family, "logit_diff").values())
    assert zero["significant"] == found / 4 >= 0.25


def test_overlap_is_between_models_of_one_shape():
    def model(name, layers, values):
        scores = [
            {"emotion": "joy", "layer": i, "head": 0, "atp_ig": v} for i, v in enumerate(values)
        ]
        return {"model": name, "layers": layers, "heads_per_layer": 1, "scores": scores}

    models = [model("a", 3, [1, -3, 2]), model("b", 3, [-0.1, 0.3, 0.2]), model("c", 4, [1, 2, 3])]
    assert overlap(models) == [{"models": "a, b", "emotion": "joy", "spearman": pytest.approx(1.0)}]
    assert overlap([model("a", 2, [1, 1]), model("b", 2, [1, 2])])[0]["spearman"] is None


def test_files_hold_every_number(rows, tmp_path):
    lines = compare(rows)
    files = write_comparison(lines, tmp_path)
    with files[0].open(encoding="utf-8") as file:
        read = list(csv.DictReader(file))
    assert [float(line["effect"]) for line in read] == [line["effect"] for line in lines]
    assert all(json.loads(a["ci"]) == b["ci"] for a, b in zip(read, lines, strict=True))
    assert re.match(r"\| model +\| emotion", files[1].read_text("utf-8"))
    assert markdown([{"a": None, "b": [1.0, 0.5]}]).splitlines()[-1] == "| –   | [1, 0.500] |"
