"""Metrics of one's own, classifiers and optimal ablation in runs: tables, workers, the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from classifier_files import rewrite, save_classifier
from folders import rounded
from test_plan import table

from emolib.methods.optimal_ablation import STARTS, STEPS

SHIPPED = Path(__file__).parents[2] / "experiments"
CONFTEST = """
import emolib


@emolib.metric
def entropy(logits):
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


@emolib.metric(of="texts")
def letters(texts):
    return [len(text) for text in texts]
"""


@pytest.fixture
def ablating(folder):
    """Give a folder with the ablation that is shipped, and metrics in its conftest.py."""
    (folder.path / "exp_effect.py").unlink()
    shutil.copy(SHIPPED / "exp_head_ablation.py", folder.path)
    folder.write("conftest.py", CONFTEST)
    return folder


def vectors(folder):
    """Give by item the vectors of its latest row, rounded."""
    return {row["item"]: rounded(row["vectors"]) for row in folder.rows()}


def test_they_show_in_the_tables_of_the_experiments(ablating):
    result = ablating.pytest("-k", "not L0H0")
    result.stdout.fnmatch_lines(["*2 recorded*"])
    for row in ablating.rows():
        for name in ("entropy", "letters"):
            value = row["values"][name]
            assert value["n"] == 12 and len(row["vectors"][name]) == 12 and "ci" in value
        assert set(row["provenance"]["metrics"]) == {"entropy", "letters"}
    assert any(any(found["entropy"]) for found in vectors(ablating).values())
    header = ablating.results("tables/head_ablation.csv").read_text("utf-8").splitlines()[0]
    assert {"entropy", "entropy_ci_low", "letters_n"} <= set(header.split(","))


@pytest.mark.slow
def test_workers_give_the_same(ablating):
    ablating.pytest("-k", "not L0H0")
    alone = vectors(ablating)
    shutil.rmtree(ablating.results())
    ablating.pytest("-n", "2", "-k", "not L0H0").stdout.fnmatch_lines(["*2 recorded*"])
    assert vectors(ablating) == alone


def test_patching_has_those_of_logits_at_every_position(ablating):
    shutil.copy(SHIPPED / "exp_head_patching.py", ablating.path)
    ablating.pytest("-k", "patching and L2H0").stdout.fnmatch_lines(["*1 recorded*"])
    rows = ablating.rows()
    assert all("entropy" in row["vectors"] for row in rows)
    of_texts = {row["labels"]["position"] for row in rows if "letters" in row["vectors"]}
    assert of_texts == {"last"} and len({row["labels"]["position"] for row in rows}) > 1


def test_rows_stand_while_the_metric_s_file_is_as_it_was(ablating):
    """One that is imported from elsewhere than the folder of experiments."""
    ablating.write("conftest.py", "import lib.mine\n")
    ablating.write("lib/__init__.py", "")
    mine = "import emolib\n\n\n@emolib.metric\ndef first(logits):\n    return logits[:, {}]\n"
    # Of another length each time: python tells sources apart by that and the second.
    ablating.write("lib/mine.py", mine.format(0))
    one = ["-k", "L2H0"]
    ablating.pytest(*one)
    again = ablating.pytest(*one)
    again.stdout.fnmatch_lines(["*1 items from the store*"])
    ablating.write("lib/mine.py", mine.format("1 + 1"))
    other = ablating.pytest(*one)
    other.stdout.no_fnmatch_line("*from the store*")
    first, last = (row["vectors"]["first"] for row in ablating.rows())
    assert first != last


def test_what_is_no_metric_ends_the_run_with_one_line(ablating):
    ablating.write("conftest.py", CONFTEST.replace("def letters", "def logit_diff"))
    result = ablating.process("-q")
    assert result.returncode == 4
    assert "the name is taken; take another one" in result.stdout + result.stderr


def test_a_metric_that_raises_is_the_item_s_error(ablating):
    ablating.write("conftest.py", CONFTEST.replace("return -(", "return 1 / 0 -("))
    result = ablating.pytest("-k", "L2H0")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*L2H0?: metric entropy (*conftest.py:5) raised ZeroDivision*"])
    assert ablating.rows() == []


def test_a_classifier_s_labels_are_metrics(ablating):
    folder = save_classifier(ablating.path / "mood", ("calm", "gratitude"))
    one = ["-k", "L2H0", "--classifier=mood"]
    ablating.pytest(*one).stdout.fnmatch_lines(["*1 recorded*"])
    (row,) = ablating.rows()
    assert {"entropy", "letters", "classifier_gratitude"} <= row["vectors"].keys()
    assert "classifier_calm" not in row["vectors"]
    assert row["provenance"]["classifiers"].keys() == {"mood"}
    ablating.pytest(*one).stdout.fnmatch_lines(["*1 items from the store*"])
    save_classifier(folder, ("calm", "loud"))
    ablating.pytest(*one).stdout.no_fnmatch_line("*from the store*")
    assert {"classifier_calm", "classifier_loud"} <= ablating.rows()[-1]["vectors"].keys()


@pytest.mark.parametrize("what", ["nowhere", "headless", "weightless"])
def test_a_folder_that_is_no_classifier_ends_the_run_before_it_begins(ablating, what):
    folder = save_classifier(ablating.path / "headless")
    if what == "headless":
        rewrite(folder, architectures=["DistilBertModel"])
    if what == "weightless":
        folder = folder.rename(ablating.path / what)
        (folder / "model.safetensors").write_bytes(b"")
    result = ablating.pytest(f"--classifier={what}")
    assert result.ret == 4 and not ablating.results().exists()
    errors = [line for line in result.errlines if line.strip()]
    assert len(errors) == 1 and errors[0].startswith(f"ERROR: --classifier {what}: ")


def test_classifiers_of_a_profile(ablating):
    save_classifier(ablating.path / "mood", ("calm", "loud"))
    profile = ablating.path / "data/profiles/small.toml"
    profile.write_text(profile.read_text("utf-8") + 'classifiers = ["mood"]\n', "utf-8")
    ablating.pytest("-k", "L2H0").stdout.fnmatch_lines(["*1 recorded*"])
    (row,) = ablating.rows()
    assert {"classifier_calm", "classifier_loud"} <= row["vectors"].keys()
    profile.write_text(profile.read_text("utf-8").replace('["mood"]', '"mood"'), "utf-8")
    wrong = ablating.pytest()
    assert wrong.ret == 4
    wrong.stderr.fnmatch_lines(["ERROR: *classifiers: expected a list of names, got 'mood'"])


def test_optimal_ablation_of_pairs_and_of_free_lists(ablating):
    ablating.pytest("--ablation", "optimal", "--ablation", "zero", "-k", "L0H0 or L2H0")
    rows = {row["item"].partition("gratitude-")[2][:-1]: row for row in ablating.rows()}
    assert set(rows) == {"L2H0", "L2H0-optimal", "L0H0+L0H1", "L0H0+L0H1-optimal"}
    assert rows["L2H0-optimal"]["provenance"]["ablation"] == "optimal"
    place = "patching/head_ablation/tiny-neo_gratitude_L2H0-optimal.json"
    assert ablating.results(place).is_file()
    values = {name: row["values"]["logit_diff"]["mean"] for name, row in rows.items()}
    assert values["L2H0-optimal"] != values["L2H0"]
    for name, texts in (
        ("e", ["Anna thanked him", "He was glad and she", "They thanked her"]),
        ("n", ["The table was", "They went and he"]),
    ):
        ablating.write(f"{name}.json", json.dumps({"prompts": texts}))
    free = ["--emotion-prompts", "gratitude=e.json", "--neutral-prompts", "n.json"]
    ablating.pytest("--ablation", "optimal", "-k", "L2H0", *free).assert_outcomes()
    assert len(ablating.rows()[-1]["vectors"]["logit_diff"]) == 3


def test_a_plan_counts_the_fits(ablating):
    def rows(kind):
        return int(table(ablating.pytest("--plan", "--ablation", kind))["tiny-neo"]["rows"])

    # Of three sets, on two sides.
    assert rows("optimal") - rows("zero") == 3 * 2 * (STARTS + STEPS)
