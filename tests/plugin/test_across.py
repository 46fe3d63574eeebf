"""Specificity and probes through pytest: known answers, one item alone, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from folders import pairs, recorded, rounded, run_in

from emolib.planted import DECOY, EMOTION_WORDS, PLANTED, save_planted

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RUN = ("exp_head_specificity.py", "exp_head_probe.py")
INI = "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n"
OTHERS = {"logit_diff", "p", "which_p"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Give a folder with both experiments and the planted model."""
    folder = tmp_path_factory.mktemp("planted")
    save_planted(folder)
    for name in RUN:
        shutil.copy(EXPERIMENTS / name, folder / name)
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    return folder


def ran(place, *args, where="results"):
    profile = place / "planted.toml"
    how = f"--profile={profile}", "--dtype=float64", f"--results-dir={where}"
    code, printed = run_in(place, "-q", *how, *args)
    assert code == 0, printed
    return recorded(place / where / "planted")


@pytest.fixture(scope="module")
def rows(place):
    return ran(place)


def values(row):
    return {name: value["mean"] if isinstance(value, dict) else value
            for name, value in row["values"].items()}  # fmt: skip


def of(rows, experiment):
    found = [row for row in rows if row["experiment"] == experiment]
    assert len(found) == 3 * 8
    return found


def test_specificity_has_the_closed_forms(rows):
    for row in of(rows, "head_specificity"):
        emotion, is_planted = row["dims"]["emotion"], row["dims"]["heads"] == str(PLANTED)
        found = values(row)
        for name in EMOTION_WORDS:
            expected = (-5 if name == emotion else -0.2) if is_planted else 0
            assert found[f"effect_{name}"] == pytest.approx(expected, abs=1e-6), row["item"]
        assert found["logit_diff"] == found[f"effect_{emotion}"]
        assert found["specificity"] == pytest.approx(-4.8 if is_planted else 0, abs=1e-6)
        assert found["specificity_prompts"] == pytest.approx(0, abs=1e-6)
        assert row["labels"] == {"kind": "zero"}
        assert row["values"]["specificity"]["n"] == 8
        assert row["values"]["specificity_prompts"]["n"] == 7
        path = f"specificity/planted_{emotion}_{row['dims']['heads']}.json"
        assert row["output"]["path"] == path


def test_probes_tell_what_is_there(rows):
    for row in of(rows, "head_probe"):
        heads, found = row["dims"]["heads"], values(row)
        if heads in (str(PLANTED), str(DECOY)):
            assert found["accuracy"] == found["auroc"] == 1
            # All labellings that swap every template or none tell as well: two of 2^7.
            assert 0.01 <= found["p"] < 0.1
            assert (found["accuracy_folds_low"], found["accuracy_folds_high"]) == (1, 1)
        else:
            assert found["accuracy"] is found["auroc"] is found["p"] is None
            assert row["labels"]["why_no_accuracy"] == "z is the same on all prompts"
        if heads == str(PLANTED):
            assert found["which_accuracy"] == found["which_accuracy_all"] == 1
            assert found["which_p"] == 0.01
        else:
            assert found["which_accuracy"] is None
            assert row["labels"]["why_no_which_accuracy"].startswith("z is the same on the prompts")
        effect = -5 if heads == str(PLANTED) else 0
        assert found["logit_diff"] == pytest.approx(effect, abs=1e-6)
        assert "test_accuracy" not in found


def test_one_item_alone_says_the_same(place, rows):
    alone = ran(place, "-k", f"anger and {PLANTED}", where="alone")
    assert len(alone) == 2
    for row in alone:
        (known,) = [other for other in rows if other["item"] == row["item"]]
        for part in ("values", "vectors", "labels"):
            assert rounded(row[part]) == rounded(known[part])


SMALL = """
models = ["tiny-neo"]
emotions = ["gratitude", "anger"]
heads = ["2:0", "3:1"]
max_new_tokens = 3
verify = 1
probe_folds = 2
probe_swaps = 9
"""


@pytest.fixture
def small(folder):
    """Give a profile of two emotions, with both experiments."""
    (folder.path / "exp_effect.py").unlink()
    for name in RUN:
        shutil.copy(EXPERIMENTS / name, folder.path / name)
    folder.write("data/profiles/small.toml", SMALL)
    folder.write("data/pairs/anger.json", json.dumps(pairs("anger")))
    return folder


def refused(folder, *args):
    result = folder.pytest(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not folder.results().exists()
    (line,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    return line.removeprefix("ERROR: ")


def test_specificity_of_one_emotion_is_refused(small):
    small.write("data/profiles/small.toml", SMALL.replace(', "anger"', ""))
    item = "exp_head_specificity.py::exp_head_specificity[tiny-neo-gratitude-L2H0]"
    assert refused(small) == (
        f"{item} compares emotions (specificity), and the profile small has gratitude alone; add "
        "one to its emotions, or leave the experiment out with --ignore=exp_head_specificity.py"
    )
    # A probe of one emotion tells it from neutral.
    result = small.pytest("--ignore=exp_head_specificity.py", "-k", "L2H0")
    assert result.ret == 0
    (row,) = small.rows()
    assert row["values"]["accuracy"]["n"] == 12 and row["values"]["which_accuracy"] is None
    assert row["labels"]["why_no_which_accuracy"].startswith("the profile has one emotion")


def test_fewer_templates_than_folds_are_refused(small):
    small.write("data/profiles/small.toml", SMALL.replace("folds = 2", "folds = 4"))
    item = "exp_head_probe.py::exp_head_probe[tiny-neo-gratitude-L2H0]"
    assert refused(small, "exp_head_probe.py") == (
        f"{item}: probes in 4 folds need at least 4 templates, got 3; lower probe_folds in the "
        "profile, or give more prompts"
    )
    assert small.pytest("exp_head_specificity.py", "-k", "L2H0").ret == 0


def test_prompts_of_another_file_are_told_by_what_was_fitted_on_these(small):
    more = pairs("gratitude", 40)
    small.write("more.json", json.dumps(more | {"pairs": more["pairs"][20:]}))
    small.pytest("exp_head_probe.py", "--probe-test", "more.json", "-k", "L2H0")
    by_emotion = {row["dims"]["emotion"]: row for row in small.rows()}
    found = by_emotion["gratitude"]["values"]
    assert 0 <= found["test_accuracy_low"] <= found["test_accuracy"] <= 1
    assert 0 <= found["test_auroc"] <= 1 and 0 < found["test_p"] <= 1
    assert "test_accuracy" not in by_emotion["anger"]["values"]
    told = by_emotion["gratitude"]["provenance"]
    assert told["probe_test"] != told["prompts"]
    assert "probe_test" not in by_emotion["anger"]["provenance"]
    # Another file of that name is another test; what was fitted is not in question.
    small.write("more.json", json.dumps(more | {"pairs": more["pairs"][12:30]}))
    again = small.pytest("exp_head_probe.py", "--probe-test", "more.json", "-k", "L2H0")
    assert again.ret == 0 and len(small.rows()) == 3


def test_a_prompt_of_that_file_beyond_the_context_is_refused(small):
    more = pairs("gratitude", 2)
    more["pairs"][1]["neutral"] = "met me " * 90
    small.write("more.json", json.dumps(more))
    said = refused(small, "--probe-test", "more.json")
    assert said.startswith("model 'tiny-neo': more.json: pair 'gratitude-001': prompt 'Omar")


def test_free_lists_do(small):
    texts = {
        "e": ["Sarah thanked him for", "I am so glad that", "He was grateful and"],
        "n": ["The table is", "They went to", "Rain fell on the"],
    }
    for name, prompts in texts.items():
        small.write(f"{name}.json", json.dumps({"prompts": prompts}))
    lists = ["--emotion-prompts", "gratitude=e.json", "--neutral-prompts", "n.json"]
    result = small.pytest(*lists, "-k", "gratitude and L2H0")
    assert result.ret == 0, result.stdout.str()
    specific, probed = sorted(small.rows(), key=lambda row: row["experiment"], reverse=True)
    assert isinstance(specific["values"]["specificity_prompts"], float)
    assert "fewer than two templates" in specific["labels"]["why_no_specificity_prompts_ci"]
    assert probed["values"]["accuracy"]["n"] == 6 and probed["values"]["logit_diff"]["n"] == 3


def test_heads_of_a_rank_are_those_of_the_item_s_emotion(small):
    result = small.pytest("--head-spec", "top:2")
    assert result.ret == 0, result.stdout.str()
    parts = ("emotion", "heads")
    named = {(row["experiment"], row["labels"]["spec"], *(row["dims"][part] for part in parts))
             for row in small.rows()}  # fmt: skip
    assert len(named) == 8


def test_the_plan_counts_a_run_of_each_head(small):
    result = small.pytest("--plan", "exp_head_specificity.py", "-k", "gratitude")
    (line,) = [line for line in result.outlines if line.startswith("tiny-neo ")]
    # Two clean runs with their texts, and two heads.
    assert line.split()[1:4] == ["2", "0", "4"]


def test_rows_follow_from_all_that_is_compared(small):
    """The kind of ablation that no item is for, and the prompts of the other emotions."""
    one = "-k", "gratitude and L2H0"

    def stored():
        printed = small.pytest(*one).stdout.str()
        return [line for line in printed.split("\n") if "items from the store" in line]

    assert not stored() and "2 items from" in stored()[0]
    text = (small.path / "data/profiles/small.toml").read_text("utf-8")
    small.write("data/profiles/small.toml", text + 'ablations = ["mean"]\n')
    assert "1 items from" in stored()[0], "probes zero heads under any"
    kinds = [r["labels"]["kind"] for r in small.rows() if r["experiment"] == "head_specificity"]
    assert kinds == ["zero", "mean"]
    small.write("data/pairs/anger.json", json.dumps(pairs("anger", count=11)))
    assert not stored()
