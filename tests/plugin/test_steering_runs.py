"""exp_steering through pytest: known answers, free lists, a chat, and what the plan says of it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from folders import DATA, INI, pairs, recorded, run_in

from emolib.planted import EMOTION_WORDS, PLANTED, TARGETS, save_planted

EXPERIMENT = Path(__file__).parents[2] / "experiments/exp_steering.py"
SMALL = """
models = ["tiny-neo"]
emotions = ["gratitude"]
max_new_tokens = 3
steering_doses = [-1, 0, 1]
steering_heads = 2
"""
OWN = """
import torch

from emolib.interventions import steer
from emolib.planted import class_features, feature

OUT = feature(len(class_features()))


def exp_own(run, record):
    for alpha in (3, 6):
        steered = run(steer(0, OUT, alpha), on="neutral")
        record(alpha=alpha, logit_diff=steered.logit_diff)
"""


def logit_diff(h):
    """LD(h) = (λh − νs) / σ(h)."""
    return (h - 1) / math.sqrt(1 + h**2 / 64)


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Return the folder of a run on the planted model in float64."""
    folder = tmp_path_factory.mktemp("planted")
    profile = save_planted(folder)
    more = 'steering_layers = ["all"]\nsteering_heads = 1\n'
    profile.write_text(profile.read_text("utf-8") + more, encoding="utf-8")
    shutil.copy(EXPERIMENT, folder / "exp_steering.py")
    (folder / "exp_own.py").write_text(OWN, encoding="utf-8")
    (folder / "pytest.ini").write_text(INI, encoding="utf-8")
    code, printed = run_in(folder, "-q", f"--profile={profile}", "--dtype=float64")
    assert code == 0, printed
    return folder


def test_doses_on_the_planted_model_are_known(planted):
    rows = [r for r in recorded(planted / "results/planted") if r["experiment"] == "steering"]
    assert len(rows) == 3 * 3 * (7 + 6 + 3 + 3)
    for row in rows:
        labels, values = row["labels"], row["values"]
        assert row["pairs"]["templates"] == ["slot-1", "slot-3", "slot-5"]
        assert len(row["texts"]["prompt"]) == len(row["vectors"]["logit_diff"]) == 3
        if labels["direction"] == "random":
            continue
        h, clean = (6, 4) if labels["on"] == "emotion" else (0, -1)
        h += 6 * float(labels["alpha"])
        expected = pytest.approx([logit_diff(h) - clean] * 3, abs=1e-6)
        assert row["vectors"]["logit_diff"] == expected, labels
        word = TARGETS[row["dims"]["emotion"]] if h > 1 else TARGETS["neutral"]
        assert {text.split()[0] for text in row["texts"]["steered_text"]} == {word}
        norm = 3 if labels["place"] == str(PLANTED) else math.sqrt(61)
        assert values["norm"] == pytest.approx(abs(float(labels["alpha"])) * norm, abs=1e-6)
        assert values["cosine"] == pytest.approx(1, abs=1e-6)
    assert {row["labels"]["place"] for row in rows} == {"resid:0", "resid:1", str(PLANTED)}


def test_a_vector_of_one_s_own_through_pytest(planted):
    rows = [r for r in recorded(planted / "results/planted") if r["experiment"] == "own"]
    # A vector is gratitude's: of others the planted head's target is another.
    found = {r["values"]["alpha"]: r for r in rows if r["dims"]["emotion"] == "gratitude"}
    assert len(rows) == 2 * len(EMOTION_WORDS)
    assert found[3]["vectors"]["logit_diff"] == pytest.approx([1.872658] * 8, abs=1e-6)
    assert found[6]["vectors"]["logit_diff"] == pytest.approx([4] * 8, abs=1e-6)


def test_each_emotion_has_a_file_and_a_table(planted):
    folder = planted / "results/planted"
    for emotion in EMOTION_WORDS:
        found = json.loads((folder / f"steering/planted_{emotion}.json").read_text("utf-8"))
        first = found["records"][0]
        assert len(found["records"]) == 57
        assert first["labels"]["place"] == "resid:0"
        assert set(first["prompts"][0]) >= {"id", "template", "prompt", "steered_text", "fluency"}
    header = (folder / "tables/steering.csv").read_text("utf-8").partition("\n")[0].split(",")
    assert {"place", "direction", "on", "alpha", "fluency", "fluency_ci_low"} <= set(header)


@pytest.fixture
def steered(folder):
    folder.write("data/profiles/small.toml", SMALL)
    shutil.copy(EXPERIMENT, folder.path / "exp_effect.py")
    return folder


def rows_of(folder, *args):
    done = folder.pytest(*args)
    done.stdout.fnmatch_lines(["*1 recorded*"])
    return folder.rows()


def of(rows, **labels):
    return [row for row in rows if labels.items() <= row["labels"].items()]


def test_rows_say_where_which_way_and_how_much(steered):
    rows = rows_of(steered)
    assert len(rows) == 2 * (3 + 2 + 1 + 1)
    (up,) = of(rows, place="resid:2", direction="emotion", on="neutral", alpha="1")
    (down,) = of(rows, place="resid:2", direction="emotion", on="emotion", alpha="-1")
    (drawn,) = of(rows, place="resid:2", direction="random", on="neutral", alpha="1")
    (none,) = of(rows, place="resid:2", direction="emotion", on="neutral", alpha="0")
    assert up["values"]["logit_diff"]["mean"] > 2 > -2 > down["values"]["logit_diff"]["mean"]
    assert abs(drawn["values"]["logit_diff"]["mean"]) < up["values"]["logit_diff"]["mean"] / 4
    assert max(map(abs, none["vectors"]["logit_diff"])) < 1e-4
    assert none["texts"]["steered_text"] == none["texts"]["clean_text"]
    # Clusters are the templates of the prompts that ran.
    assert len(up["pairs"]["ids"]) == up["values"]["logit_diff"]["n"]
    assert set(up["pairs"]["ids"]) < {pair["id"] for pair in pairs()["pairs"]}
    assert up["provenance"]["steering_doses"] == [-1, 0, 1]


def test_free_lists_will_do(steered):
    for name, texts in (
        ("e", ["Sarah thanked Anna and", "I am glad that", "He was kind to her and she"]),
        ("n", ["The table was", "They went to the", "Anna met him", "She saw the lake and"]),
    ):
        steered.write(f"{name}.json", json.dumps({"prompts": texts}))
    rows = rows_of(steered, "--emotion-prompts=gratitude=e.json", "--neutral-prompts=n.json")
    assert len(rows) == 14
    assert {row["values"]["logit_diff"]["n"] for row in of(rows, on="neutral")} == {2}
    assert {row["values"]["logit_diff"]["n"] for row in of(rows, on="emotion")} == {1}
    assert all(not row["pairs"] for row in rows)
    assert of(rows, on="neutral")[0]["texts"]["prompt"] == ["They went to the",
                                                            "She saw the lake and"]  # fmt: skip


def test_through_a_chat_template(steered):
    made = shutil.copytree(DATA / "models/tiny-neo", steered.path / "mine")
    template = "{% for m in messages %}{{ m.content }} {% endfor %}Then she felt"
    (made / "chat_template.jinja").write_text(template)
    rows = rows_of(steered, "--model=./mine", "--chat")
    (up,) = of(rows, place="resid:2", direction="emotion", on="neutral", alpha="1")
    assert up["values"]["logit_diff"]["mean"] > 0 and up["provenance"]["chat"] is True
    plain = steered.pytest("--model=./mine")
    assert plain.ret == 0
    (other,) = of(
        steered.rows()[len(rows) :], place="resid:2", direction="emotion", on="neutral", alpha="1"
    )
    assert other["texts"]["prompt"] == up["texts"]["prompt"]
    assert other["vectors"]["logit_diff"] != pytest.approx(up["vectors"]["logit_diff"], abs=1e-3)


def test_a_plan_knows_its_runs(steered):
    lines = steered.pytest("--plan").outlines
    names = next(line for line in lines if line.startswith("model ")).split()
    row = dict(zip(names, next(line for line in lines if line.startswith("tiny-neo")).split(),
                   strict=True))  # fmt: skip
    # Both sides clean with their texts, twice: all prompts, and those that doses are read on; the
    # gradient; of two places the doses, of random ones five draws of logits and a text.
    doses = 2 * (3 + 2 * 5 + 3 + 2) + 2 * (1 + 5 + 1 + 1)
    assert (row["items"], row["rows"]) == ("1", str(2 * 2 + 1 + doses))


def test_too_few_prompts_are_one_line(steered):
    steered.write("data/pairs/gratitude.json", json.dumps(pairs(count=1)))
    done = steered.pytest()
    done.stdout.fnmatch_lines(
        ["*: steering reads directions of one half of the prompts on the other: expected 2 or *"]
    )
    assert done.ret == 1 and not steered.rows()


def test_other_doses_leave_the_rows_of_other_experiments_as_they_are(folder):
    folder.write(
        "exp_effect.py",
        """
from emolib.interventions import zero


def exp_effect(run, head, record):
    record(logit_diff=run(zero(head)).logit_diff - run().logit_diff)


def exp_with_all(run, profile, record):
    record(logit_diff=run().logit_diff, doses=len(profile.steering_doses))
""",
    )
    shutil.copy(EXPERIMENT, folder.path / "exp_steering.py")
    folder.write("data/profiles/small.toml", SMALL + 'heads = ["2:0"]\n')
    files = ["exp_effect.py", "exp_steering.py"]
    folder.pytest(*files).stdout.fnmatch_lines(["*3 recorded*"])
    folder.pytest(*files).stdout.fnmatch_lines(["*, 3 items from the store*"])
    other = SMALL.replace("[-1, 0, 1]", "[0, 1]") + 'heads = ["2:0"]\n'
    folder.write("data/profiles/small.toml", other)
    folder.pytest(*files).stdout.fnmatch_lines(["*, 1 items from the store*"])
