"""The project's own experiments, run through pytest, on the model whose answers are known."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from folders import recorded, run_in

from emolib.planted import DECOY, EMOTION_WORDS, PLANTED, TARGETS, save_planted

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
RUN = ("exp_head_screening.py", "exp_head_ablation.py", "exp_head_patching.py")
LEVELS = """
def exp_levels(run, record):
    for side in ("emotion", "neutral"):
        clean = run(on=side)
        record(side=side, logit_diff=clean.logit_diff, text=clean.texts)


def exp_on_neutral(run, head, ablation, record):
    record(logit_diff=run(ablation(head), on="neutral").logit_diff - run(on="neutral").logit_diff)
"""


def logit_diff(h):
    """LD(h) = (λh − νs) / σ(h)."""
    return (h - 1) / math.sqrt(1 + h**2 / 64)


# SCIENCE §8, per quantity the planted head and the decoy; every other head has 0.
SCORES = {
    "delta_attn": (0.65, 0.65),
    "delta_out": (6, 5),
    "dla": (4.8, 0),
    "atp_denoise": (6, 0),
    "atp_noise": (-3.36, 0),
    "patch_denoise": (5, 0),
    "patch_noise": (-5, 0),
}
# Of what the table gives four decimals of.
ROUNDED = {"atp_ig": (5.0065, 0)}


@pytest.fixture(scope="module", params=["float64", "float32"])
def results(request, tmp_path_factory):
    """Return the rows of a run of everything in that precision, and its tolerance."""
    folder = tmp_path_factory.mktemp("planted")
    profile = save_planted(folder)
    for name in RUN:
        shutil.copy(EXPERIMENTS / name, folder / name)
    (folder / "exp_levels.py").write_text(LEVELS, encoding="utf-8")
    ini = "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\n"
    (folder / "pytest.ini").write_text(ini, encoding="utf-8")
    code, printed = run_in(folder, "-q", f"--profile={profile}", f"--dtype={request.param}")
    assert code == 0, printed
    return recorded(folder / "results/planted"), {"float64": 1e-6, "float32": 1e-4}[request.param]


def known(pair, heads):
    """Return what one of the table's pairs says of a head."""
    return {str(PLANTED): pair[0], str(DECOY): pair[1]}.get(heads, 0)


def of(rows, experiment, **dims):
    found = [
        row for row in rows
        if row["experiment"] == experiment
        and all((row["dims"] | row["labels"]).get(name) == want for name, want in dims.items())
    ]  # fmt: skip
    assert found
    return found


def mean(row, name):
    value = row["values"][name]
    return value["mean"] if isinstance(value, dict) else value


def test_screening(results):
    rows, tolerance = results
    screened = of(rows, "head_screening")
    assert len(screened) == 3 * 8
    for row in screened:
        heads = row["dims"]["heads"]
        for name, pair in SCORES.items():
            assert mean(row, name) == pytest.approx(known(pair, heads), abs=tolerance), (
                heads,
                name,
            )
        # Where a head does not look for emotions it looks everywhere, at ten tokens.
        attention = 0.1 if known((1, 1), heads) == 0 else 0.75
        assert mean(row, "emotion_mean_attn") == pytest.approx(attention, abs=tolerance)
        assert mean(row, "neutral_mean_attn") == pytest.approx(0.1, abs=tolerance)
        for name, pair in ROUNDED.items():
            assert mean(row, name) == pytest.approx(known(pair, heads), abs=6e-5), (heads, name)


@pytest.mark.parametrize(
    ("experiment", "kind", "expected"),
    [
        ("head_ablation", "zero", -5.0),
        ("head_ablation", "mean", logit_diff(3) - 4),
        ("on_neutral", "zero", 0.0),
    ],
)
def test_ablation(results, experiment, kind, expected):
    rows, tolerance = results
    for row in of(rows, experiment, ablation=kind):
        effect = known((expected, 0), row["dims"]["heads"])
        assert mean(row, "logit_diff") == pytest.approx(effect, abs=tolerance), row["item"]


@pytest.mark.parametrize(("direction", "expected"), [("denoise", 5.0), ("noise", -5.0)])
def test_patching_and_its_share_of_the_gap(results, direction, expected):
    """The head writes at END, the last token: at the slot alone there is nothing to patch."""
    rows, tolerance = results
    for position, there in (("last", 1), ("all", 1), ("slot", 0)):
        for row in of(rows, "head_patching", direction=direction, position=position):
            effect = known((there * expected, 0), row["dims"]["heads"])
            assert mean(row, "logit_diff") == pytest.approx(effect, abs=tolerance), row["item"]
            assert mean(row, "recovery") == pytest.approx(effect / 5, abs=tolerance), row["item"]


def test_levels_and_texts(results):
    rows, tolerance = results
    for emotion in EMOTION_WORDS:
        for side, level, target in (("emotion", 4, emotion), ("neutral", -1, "neutral")):
            [row] = of(rows, "levels", emotion=emotion, side=side)
            assert mean(row, "logit_diff") == pytest.approx(level, abs=tolerance)
            assert {text.split()[0] for text in row["texts"]["text"]} == {TARGETS[target]}
        [row] = of(rows, "head_ablation", emotion=emotion, heads=str(PLANTED), ablation="zero")
        assert {text.split()[0] for text in row["texts"]["ablated_text"]} == {TARGETS["neutral"]}
