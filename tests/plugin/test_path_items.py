"""Paths and self-repair through pytest, on planted models of two layers whose answers are known."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from folders import recorded, run_in
from planted_backup import backed, backup_model, logit_diff, written
from planted_relay import relay_model, relayed

from emolib.planted import save_planted

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
CLOSE = 1e-6


def run_on(folder, model, *experiments, more=()):
    """Run experiments on a planted model; return the results folder."""
    profile = save_planted(folder)
    model.hf.save_pretrained(folder / "planted")
    for name in experiments:
        shutil.copy(EXPERIMENTS / name, folder / name)
    ini = "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n"
    (folder / "pytest.ini").write_text(ini, encoding="utf-8")
    options = ["-q", f"--profile={profile}", "--dtype=float64", "-k=gratitude", *more]
    code, printed = run_in(folder, *options)
    assert code == 0, printed
    return folder / "results/planted"


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return run_on(tmp_path_factory.mktemp("relay"), relay_model(), "exp_head_paths.py")


def of(rows, **labels):
    [row] = [row for row in rows if labels.items() <= row["labels"].items()]
    return row


def at_four(row, name="effect"):
    """Give the value of the pair whose slot is the fifth token."""
    return row["vectors"][name][row["pairs"]["ids"].index("gratitude-3")]


@pytest.mark.parametrize(
    ("name", "expected"), [("q", 0), ("k", 0), ("v", 0.526445), ("all", 4.403975)]
)
def test_the_path_of_the_relay(paths, name, expected):
    row = of(recorded(paths), sender="L0H1", receiver="L1H2", input=name)
    assert at_four(row) == pytest.approx(expected, abs=CLOSE)
    assert at_four(row, "total") == pytest.approx(4.403975, abs=CLOSE)
    assert row["values"]["effect"]["n"] == 8


def test_every_other_path_of_the_relay(paths):
    """All heads are senders here: of each to the logits, and to each of the next layer."""
    rows = recorded(paths)
    assert len(rows) == 8 + 4 * 4 * 4
    for row in rows:
        sender, receiver = (row["labels"][name] for name in ("sender", "receiver"))
        if (sender, receiver) == ("L0H1", "L1H2"):
            continue
        there = logit_diff(relayed(4)) + 1 if (sender, receiver) == ("L1H2", "logits") else 0
        assert at_four(row) == pytest.approx(there, abs=CLOSE), row["labels"]


def test_the_file_has_every_path(paths):
    content = json.loads((paths / "paths/planted_gratitude.json").read_text("utf-8"))
    assert len(content["records"]) == len(recorded(paths))
    first = content["records"][0]
    assert first["labels"].keys() >= {"sender", "receiver", "input"}
    assert len(first["prompts"]) == 8 and "effect" in first["prompts"][0]


def test_self_repair_of_a_head_with_a_backup(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backup")
    rows = recorded(run_on(folder, backup_model(), "exp_head_ablation.py"))
    h, b = written(), backed(written())
    clean = logit_diff(h + b)
    # Of the mean over both sides half is left of what a head writes.
    left = {"zero": 0, "mean": h / 2}
    assert len(rows) == 2 * 8
    for row in rows:
        heads, kind = row["dims"]["heads"], row["dims"]["ablation"]
        direct = total = 0.0
        if heads == "L0H1":
            direct = logit_diff(left[kind] + b) - clean
            total = logit_diff(left[kind] + backed(left[kind])) - clean
        elif heads == "L1H2":
            direct = total = logit_diff(h + (0 if kind == "zero" else b / 2)) - clean
        assert row["values"]["direct"]["mean"] == pytest.approx(direct, abs=CLOSE), row["item"]
        assert row["values"]["logit_diff"]["mean"] == pytest.approx(total, abs=CLOSE)
        if abs(direct) < 0.1:
            assert row["values"]["self_repair"] is None
            assert "below 0.1" in row["labels"]["why_no_self_repair"]
        else:
            repair = 1 - abs(total) / abs(direct)
            assert row["values"]["self_repair"] == pytest.approx(repair, abs=CLOSE)


OWN = """
from emolib.inputs.heads import Head


HEADS = [Head(2, 0), Head(3, 1)]


def exp_own(paths, record):
    for path in paths(HEADS, freeze_mlps=True):
        record(**path.to_record())


def exp_own_repair(self_repair, ablation, record):
    record(**self_repair(ablation(HEADS)).to_record())
"""


def test_heads_of_ones_own(folder):
    folder.write("exp_own.py", OWN)
    assert folder.pytest("-k", "own").ret == 0
    *rows, repair = folder.rows()
    ends = [(row["labels"]["sender"], row["labels"]["receiver"]) for row in rows]
    assert ends == [("L2H0", "logits"), *[("L2H0", "L3H1")] * 4, ("L3H1", "logits")]
    assert all(row["values"]["effect"]["n"] == 12 for row in rows)
    assert abs(repair["values"]["direct"]["mean"]) > 1


def test_what_a_plan_says_they_take(folder):
    for name in ("exp_head_paths.py", "exp_head_ablation.py"):
        shutil.copy(EXPERIMENTS / name, folder.path / name)

    def rows(*args):
        printed = folder.pytest("--plan", *args).outlines
        header, _, line = printed[[line.startswith("model") for line in printed].index(True) :][:3]
        return int(dict(zip(header.split(), line.split(), strict=True))["rows"])

    # Clean runs with their texts, seven backward passes of the ranking, one head by itself.
    assert rows("-k", "paths") == 2 + 7 + 2
    # Three sets: logits, direct effects, texts.
    assert rows("-k", "head_ablation") == 2 + 3 * 3
    assert rows("-k", "head_ablation", "--position", "slot") == 2 + 3 * 2
