"""Frames: what a notebook loads is what was recorded, and texts are read when asked for."""

from __future__ import annotations

import sys

import pandas as pd
import pytest
from made import HOSTILE, PAIRS, make_results

import emolib
from emolib.errors import InputError
from emolib.reporting.export import write_export
from emolib.results.blocks import Block
from emolib.results.chances import columns
from emolib.results.frames import load, to_frame
from emolib.results.records import Store

ONE = 2 * 4  # Emotions × heads of a model.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a results folder of two profiles, of which one has one emotion."""
    folder = tmp_path_factory.mktemp("results")
    make_results(folder / "demo", models=("one",), text=HOSTILE)
    make_results(folder / "mine", models=("two",), emotions=("joy",))
    (folder / "empty").mkdir()
    (folder / "a file").touch()
    return folder


def test_a_line_a_record(folder):
    results = emolib.load(folder / "demo")
    frame = results.rows()
    assert isinstance(frame, pd.DataFrame) and len(frame) == ONE * (1 + 3 + 4 + 1)
    assert list(frame.columns[:6]) == ["profile", "item", "experiment", "model", "emotion", "heads"]
    row = next(Store(folder / "demo").whole_rows("head_ablation"))
    line = frame[frame["item"] == row.item].iloc[0]
    value = row.values["logit_diff"]
    assert (line["profile"], line["ablation"]) == ("demo", row.dims["ablation"])
    assert (line["logit_diff"], line["logit_diff_n"]) == (value["mean"], PAIRS)
    assert [line["logit_diff_ci_low"], line["logit_diff_ci_high"]] == value["ci"]
    assert line["logit_diff_d_z"] == value["d_z"]


def test_lines_have_p_and_q_as_tables_have_them(folder):
    frame = load(folder / "mine").rows("head_ablation").set_index("item")
    rows = list(Store(folder / "mine").whole_rows("head_ablation"))
    for (item, _), tests in columns(rows).items():
        assert frame.loc[item][list(tests)].to_dict() == tests
    everything = load(folder).rows()
    assert everything.groupby("experiment")["logit_diff_q"].count().to_dict() == {
        "attention_patterns": 0, "head_screening": 0,
        "head_ablation": (ONE + 4) * 3, "head_patching": (ONE + 4) * 4,
    }  # fmt: skip


def test_one_experiment_has_its_own_columns_alone(folder):
    frame = load(str(folder / "demo")).rows("head_patching")
    assert set(frame["direction"]) == {"denoise", "noise"} and len(frame) == ONE * 4
    assert "sentiment" not in frame and frame["recovery"].isna().all()


def test_the_folder_above_has_all_profiles(folder):
    results = load(folder)
    assert list(results.profiles) == ["demo", "mine"]
    counts = results.rows("head_ablation").groupby("profile").size().to_dict()
    assert counts == {"demo": ONE * 3, "mine": 4 * 3}
    assert set(results.prompts("head_ablation")["profile"]) == {"demo", "mine"}
    assert repr(results).startswith("<demo, mine: ") and "head_ablation" in repr(results)


def test_prompts_are_what_export_writes(folder, tmp_path):
    results = load(folder / "demo")
    for name in results.experiments:
        frame = results.prompts(name)
        _, path = write_export(folder / "demo", "pickle", tmp_path, experiment=name)
        pd.testing.assert_frame_equal(frame.drop(columns="profile"), pd.read_pickle(path))
    assert results.prompts("head_ablation")["ablated_text"][0] == f"{HOSTILE} 0"


LINES = [
    {"item": "a", "n": 1, "x": 0.5, "ci": 1.5, "text": "p", "both": 2},
    {"item": "b", "n": 2, "x": 1.5, "ci": None, "none": None, "text": "q"},
    {"item": "c", "late": 2, "x": 2.5, "text": None, "both": "t", "n": 3},
]


@pytest.mark.parametrize("lines", [LINES, LINES[::-1], LINES[:1], LINES[1:]])
def test_a_frame_is_what_pandas_makes_of_all_lines_at_once(lines):
    frame = to_frame((Block(1, line, {}) for line in lines), "here")
    pd.testing.assert_frame_equal(frame, pd.DataFrame(lines))
    blocks = [
        Block(2, {"item": "x"}, {"at": range(2), "x": [0.5, 1.5]}),
        Block(2, {"item": "y"}, {"at": range(2), "t": ["p", "q"], "x": [2.5, 3.5]}),
    ]
    flat = [{n: block.column(n)[i] for n in block.names} for block in blocks for i in range(2)]
    pd.testing.assert_frame_equal(to_frame(blocks, "here"), pd.DataFrame(flat))


def test_texts_are_read_when_they_are_asked_for(folder, monkeypatch):
    read = []
    whole_rows = Store.whole_rows
    monkeypatch.setattr(Store, "whole_rows", lambda *of: read.append(of[1]) or whole_rows(*of))
    results = load(folder / "demo")
    frame = results.rows(tests=False)
    assert set(results.experiments) == set(frame["experiment"]) and read == []
    assert "logit_diff_p" not in frame
    results.prompts("head_screening")
    assert read == ["head_screening"]


def test_the_folder_one_is_in(folder, monkeypatch):
    monkeypatch.chdir(folder / "mine")
    assert list(load(".").profiles) == ["mine"]
    monkeypatch.chdir(folder)
    assert list(load("").profiles) == ["demo", "mine"]


@pytest.mark.parametrize(
    ("name", "got"),
    [("none", "nothing"), ("empty", "a folder without any"), ("a file", "a file")],
)
def test_another_path_is_one_line(folder, name, got):
    with pytest.raises(InputError) as error:
        load(folder / name)
    assert str(error.value) == (
        f"{folder / name}: expected a results folder with records/, or the folder above some, got "
        f"{got}; run `pytest experiments` first, or name the folder of its --results-dir"
    )


@pytest.mark.parametrize("ask", ["rows", "prompts"])
def test_another_experiment_is_one_line(folder, ask):
    with pytest.raises(InputError) as error:
        getattr(load(folder / "demo"), ask)("screening")
    assert str(error.value) == (
        "experiment 'screening': no rows in demo; expected one of attention_patterns, "
        "head_ablation, head_patching, head_screening"
    )


def test_without_pandas_the_extra_is_named(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(InputError) as error:
        load(folder / "demo")
    assert str(error.value) == (
        "emolib.load needs pandas; install emolib's extra: pip install 'emolib[export]'"
    )
