"""What ``record`` takes, and which files it ends in."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from folders import pairs

from emolib.stats.summary import summarize

EXPERIMENTS = Path(__file__).parents[2] / "experiments"


def test_templates_are_the_clusters_of_the_interval(folder):
    """An effect that is constant within a template: the interval is that of the templates."""
    folder.write(
        "exp_effect.py",
        """
import numpy as np
from emolib.methods.scores import Apart

def exp_it(pairs, record):
    names = sorted({pair.template for pair in pairs.pairs})
    values = np.array([float(names.index(pair.template)) for pair in pairs.pairs])
    record(clustered=values, shorter=values[:-1].view(Apart))
""",
    )
    folder.pytest()
    values = folder.rows()[0]["values"]
    clustered, shorter = (np_width(values[name]["ci"]) for name in ("clustered", "shorter"))
    assert clustered > 1.2 * shorter


def np_width(interval):
    return interval[1] - interval[0]


def test_results_files(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest
from emolib.interventions import zero

@pytest.mark.results("patching/own/{model}_{emotion}_{heads}{variant}.json")
def exp_own(run, ablation, heads, record):
    clean, ablated = run(), run(ablation(heads))
    record(logit_diff=ablated.logit_diff - clean.logit_diff, text=ablated.texts)

@pytest.mark.results("alignment/head_scores_{model}.json", shape="scores")
def exp_scores(head, emotion, record):
    record(atp_ig=[head.index + 1.0, head.index + 3.0], delta_out=2.0)
""",
    )
    folder.pytest("--head-spec", "2:0", "--head-spec", "2:1", "--ablation", "mean")
    own = json.loads(
        folder.results("patching/own/tiny-neo_gratitude_L2H0-mean.json").read_text("utf-8")
    )
    assert own["model"] == "tiny-neo" and own["heads"] == "L2H0" and own["ablation"] == "mean"
    assert len(own["prompts"]) == 12 and set(own["prompts"][0]) == {
        "id",
        "template",
        "logit_diff",
        "text",
    }
    assert own["prompts"][0]["id"] == pairs()["pairs"][0]["id"]
    mean = sum(prompt["logit_diff"] for prompt in own["prompts"]) / 12
    assert own["summary"]["logit_diff"]["mean"] == pytest.approx(mean)
    provenance = own["provenance"]
    assert provenance["model"]["id"] == "tiny-neo" and len(provenance["model"]["weights"]) == 16
    assert provenance["position"] == "last" and provenance["heads"] == ["L2H0"]
    assert provenance["versions"]["torch"].startswith("2.") and provenance["time"]

    scores = json.loads(folder.results("alignment/head_scores_tiny-neo.json").read_text("utf-8"))
    assert (scores["model"], scores["layers"], scores["heads_per_layer"]) == ("tiny-neo", 4, 4)
    assert [(s["layer"], s["head"], s["emotion"], s["atp_ig"]) for s in scores["scores"]] == [
        (2, 0, "gratitude", 2.0),
        (2, 1, "gratitude", 3.0),
    ]
    with folder.results("tables/scores.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [(line["heads"], line["atp_ig"], line["atp_ig_n"]) for line in lines] == [
        ("L2H0", "2.0", "2"),
        ("L2H1", "3.0", "2"),
    ]
    assert "L2H1" in folder.results("tables/own.md").read_text("utf-8")


TOP = """
import pytest
from emolib.interventions import zero

@pytest.mark.results("alignment/head_scores_{model}.json", shape="scores")
def exp_screening(screening, head, record):
    record(**screening.of(head))

@pytest.mark.results("own/{model}_{heads}.json")
def exp_ablate(run, heads, record):
    record(logit_diff=run(zero(heads)).logit_diff - run().logit_diff)
"""


def test_top_heads_come_from_screening(folder):
    """They have ids of their own and show the head they turn out to stand for."""
    folder.write("exp_effect.py", TOP)
    result = folder.pytest("--head-spec", "top:2", "--collect-only", "-q", "-k", "exp_ablate")
    assert [line for line in result.outlines if "::exp_ablate" in line] == [
        f"exp_effect.py::exp_ablate[tiny-neo-gratitude-top{rank}]" for rank in (1, 2)
    ]
    folder.pytest("--head-spec", "all")
    full = {(row["experiment"], row["dims"]["heads"]): row["values"] for row in folder.rows()}
    size = {head: abs(v["atp_ig"]["mean"]) for (name, head), v in full.items() if "atp_ig" in v}
    best = sorted(size, key=size.get)[::-1][:2]
    # Serial and fresh, from the ranking alone and not from a screening in the same run.
    result = folder.pytest("--head-spec", "top:2", "-k", "exp_ablate and top")
    result.stdout.fnmatch_lines([f"tiny-neo*gratitude*{head}*top{i + 1}*" for i, head in
                                 enumerate(best)])  # fmt: skip
    rows = folder.rows()[-2:]
    assert [row["dims"]["heads"] for row in rows] == best
    for rank, row in enumerate(rows, 1):
        assert row["labels"]["spec"] == f"top{rank}"
        assert row["provenance"]["heads"] == [row["dims"]["heads"]]
        effect = full["ablate", row["dims"]["heads"]]["logit_diff"]["mean"]
        assert row["values"]["logit_diff"]["mean"] == pytest.approx(effect, abs=1e-5)
        content = json.loads(folder.results(f"own/tiny-neo_top{rank}.json").read_text("utf-8"))
        assert content["heads"] == row["dims"]["heads"]


def test_a_top_head_of_an_unreliable_ranking_says_so(folder):
    folder.write("data/pairs/gratitude.json", json.dumps(pairs(count=3)))
    folder.write("exp_effect.py", TOP)
    folder.pytest("--head-spec", "top:1", "-k", "exp_ablate and top")
    (row,) = folder.rows()
    assert row["labels"] == {"spec": "top1", "ranking": "no reliability: too few pairs"}


def test_screening_resamples_templates(folder):
    """The intervals of the project's own screening are those of `summarize` with clusters."""
    shutil.copy(EXPERIMENTS / "exp_head_screening.py", folder.path / "exp_effect.py")
    folder.pytest("--head-spec", "2:0")
    (row,) = folder.rows()
    templates = [pair["template"] for pair in pairs()["pairs"]]
    assert len(set(templates)) < len(templates)
    values = row["vectors"]["dla"]
    assert row["values"]["dla"] == summarize(values, templates)
    assert row["values"]["dla"]["ci"] != summarize(values)["ci"]


def test_patching_has_a_row_for_each_direction_and_position(folder):
    shutil.copy(EXPERIMENTS / "exp_head_patching.py", folder.path / "exp_effect.py")
    folder.pytest("--head-spec", "2:0", "--position", "slot")
    rows = folder.rows()
    assert [(row["labels"]["direction"], row["labels"]["position"]) for row in rows] == [
        (direction, position)
        for direction in ("denoise", "noise")
        for position in ("slot", "last", "after_slot", "all")
    ]
    assert [bool(row["texts"]) for row in rows] == [True, *[False] * 3] * 2
    for row in rows:
        assert len(row["vectors"]["logit_diff"]) == 12
        sign = {"denoise": 1, "noise": -1}[row["labels"]["direction"]]
        if row["labels"]["position"] in ("last", "all"):
            assert 0.1 < sign * row["values"]["recovery"] < 1
    content = json.loads(
        folder.results("patching/head_patching/tiny-neo_gratitude_L2H0.json").read_text("utf-8")
    )
    assert content["records"][0]["labels"]["direction"] == "denoise"
    assert {"prompt", "clean_text", "patched_text"} <= set(content["records"][0]["prompts"][0])
    assert "keyword_rate_gratitude" in content["records"][0]["summary"]


def test_attention_is_recorded_with_its_tokens(folder):
    shutil.copy(EXPERIMENTS / "exp_attention_patterns.py", folder.path / "exp_effect.py")
    folder.pytest("--head-spec", "2:0")
    path = folder.results("attention/tiny-neo_gratitude_L2H0.json")
    content = json.loads(path.read_text("utf-8"))
    assert 0 <= content["summary"]["emotion_slot"]["mean"] <= 1
    for prompt, pair in zip(content["prompts"], pairs()["pairs"], strict=True):
        text = pair["prompt"].replace("{slot}", pair["emotion"])
        assert "".join(prompt["emotion_tokens"]) == text
        start, end = prompt["slot"]
        assert sum(prompt["emotion_attention"]) == pytest.approx(1, abs=1e-3)
        weights = prompt["emotion_attention"][start:end]
        assert prompt["emotion_slot"] == pytest.approx(sum(weights), abs=1e-3)


def test_a_table_is_of_the_function_that_ran_last(folder):
    folder.write("exp_other.py", "def exp_effect(record): record(n=1)\n")
    folder.pytest("exp_effect.py")
    folder.pytest("exp_other.py")
    assert folder.results("tables/effect.csv").read_text("utf-8") == (
        "item,n\nexp_other.py::exp_effect,1\n"
    )
    assert len(folder.rows()) == 4
    folder.pytest("exp_effect.py")
    assert "exp_other" not in folder.results("tables/effect.csv").read_text("utf-8")


def test_rows_of_an_older_context_leave_the_tables(folder):
    source = (folder.path / "exp_effect.py").read_text("utf-8")
    folder.pytest()
    folder.write("exp_effect.py", source + "\n# another version\n")
    folder.pytest("-k", "L2H0")
    table = folder.results("tables/effect.csv").read_text("utf-8")
    assert "L2H0" in table and "L3H1" not in table
    assert len(folder.rows()) == 4


def test_the_table_of_a_run(folder):
    result = folder.pytest("--table-format", "github")
    result.stdout.fnmatch_lines(
        ["*- effect -*", "| model*| emotion*| heads*| n*| logit_diff*", "| tiny-neo*L2H0*| 12*|*",
         "written to results/small", "*3 recorded in *"]
    )  # fmt: skip


def test_words_of_several_tokens_are_named_once_for_all_models(folder):
    result = folder.pytest("--model=tiny-neo", "--model=tiny-gpt2", "--head-spec=0:1")
    lines = [line for line in result.outlines if "several tokens" in line]
    assert lines == [
        "gratitude: 9 words are several tokens each (gratefully, thankfully, …) and stay out of "
        "the logit metrics of tiny-neo, tiny-gpt2"
    ]
    provenance = folder.rows()[0]["provenance"]
    assert provenance["in_pieces"][0] == "gratefully" and provenance["text_draws"] == 1


def test_pairs_that_do_not_align_are_named(folder):
    data = pairs()
    data["pairs"][3]["neutral"] = "ate with a very large wooden spoon and"
    folder.write("data/pairs/gratitude.json", json.dumps(data))
    result = folder.pytest("-k", "L2H0")
    name = data["pairs"][3]["id"]
    result.stdout.fnmatch_lines([f"tiny-neo, gratitude: 1 pairs left out ({name}: * tokens)"])
    row = folder.rows()[0]
    assert row["provenance"]["left_out"][0][0] == name and row["values"]["logit_diff"]["n"] == 11


def test_a_design_that_can_tell_nothing_from_chance_is_told(folder):
    """12 pairs of 3 templates; told again where rows come from the store, which one reads then."""
    line = (
        "effect: 3 templates and 3 tests: the least possible p is 2/2^3 = 0.25, so nothing can be "
        "significant at 0.05 (it takes 6 templates, for one of 3 alone 7 templates)"
    )
    for _ in range(2):
        assert folder.pytest().outlines.count(line) == 1
    text = "def exp_effect(emotion, record): record(logit_diff=[1.0] * 8, tone=[1.0] * 8)"
    folder.write("exp_effect.py", text)
    assert not [line for line in folder.pytest().outlines if "least possible p" in line]
    folder.write("exp_effect.py", text.replace("[1.0] * 8", "[1.0] * 5"))
    assert [line for line in folder.pytest().outlines if line.startswith("effect: 5 prompts: ")]
    folder.write("exp_effect.py", text.replace("logit_diff=[1.0] * 8, ", ""))
    assert not [line for line in folder.pytest().outlines if "least possible p" in line]
