"""Results files: their content, whole or not at all."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.files import safe, to_json
from emolib.results.item_files import is_of, item_file, per_prompt, scores_file, write_output
from emolib.results.records import Row

SCORES = {"shape": "scores", "path": "alignment/head_scores_tiny.json"}
SHAPE = {"layers": 2, "heads": 4}


def mean(value):
    return {"mean": value, "ci": [value - 1, value + 1], "n": 3, "d_z": 0.5}


def row(heads="L0H1", emotion="joy", **fields):
    dims = {"model": "tiny", "emotion": emotion, "heads": heads}
    fields = {"provenance": {"shape": SHAPE, "seed": 0}, "time": "t"} | fields
    return Row(f"x[{heads}]", "x", heads, 0, 1, dims, **fields)


def scored(heads, atp_ig, emotion="joy"):
    values = {"atp_ig": atp_ig, "delta_attn": mean(0.25), "reliability": 0.9}
    return row(heads, emotion, values=values, output=SCORES)


@given(st.text("aé_Ω/\\.- :*\n+7", max_size=8))
def test_safe_names_are_names_of_files(name):
    found = safe(name)
    assert found and found == safe(found)
    assert not set(found) & set("/\\: *\n") and not found.startswith((".", "-"))


def test_a_row_is_told_prompt_by_prompt():
    found = per_prompt(row(texts={"prompt": ["a", "b"]}, vectors={"ld": [1.0, 2.0], "top": [9.0]}))
    assert found == [{"prompt": "a", "ld": 1.0}, {"prompt": "b", "ld": 2.0}]
    assert per_prompt(row()) == []


def test_the_file_of_an_item():
    one = row(labels={"split": "a"}, values={"ld": mean(1.5)}, vectors={"ld": [1.0, 2.0]})
    record = {
        "labels": {"split": "a"},
        "summary": {"ld": mean(1.5)},
        "prompts": [{"ld": 1.0}, {"ld": 2.0}],
    }
    head = {"key": one.key, "experiment": "x", "item": "x[L0H1]"} | one.dims
    provenance = {"provenance": {"shape": SHAPE, "seed": 0, "time": "t"}}
    assert item_file([one]) == head | record | provenance
    two = row(values={"n": 3.0})
    records = [record, {"summary": {"n": 3.0}, "prompts": []}]
    assert item_file([one, two]) == head | {"records": records} | provenance


def test_a_file_tells_which_rows_it_is_of(tmp_path):
    one = row(output={"path": "a/x.json", "shape": "item"})
    path = write_output(tmp_path, [one], ())
    assert is_of(path, one.key) and not is_of(path, one.key + "0")
    assert not is_of(tmp_path / "none.json", one.key)


def test_the_file_of_a_model_s_scores():
    found = scores_file([scored("L0H1", -2.0), scored("L1H3", 1.0, "fear")])
    assert found["scores"][0] == {
        "layer": 0, "head": 1, "emotion": "joy", "atp_ig": -2.0, "delta_attn": 0.25,
        "delta_attn_ci": [-0.75, 1.25], "reliability": 0.9,
    }  # fmt: skip
    assert (found["model"], found["layers"], found["heads_per_layer"]) == ("tiny", 2, 4)
    ranking = {"by": "|atp_ig|", "reliability": 0.9, "rank_correlation": None}
    assert found["rankings"] == {"joy": ranking, "fear": ranking}
    assert found["provenance"]["fear"] == {"shape": SHAPE, "seed": 0, "time": "t"}


def test_items_that_share_a_file_write_all_that_is_stored(tmp_path):
    stored = [scored("L0H1", -2.0), row("L1H0"), scored("L0H0", 0.5)]
    path = write_output(tmp_path, stored[2:], stored)
    assert path == tmp_path / SCORES["path"]
    assert [score["head"] for score in json.loads(path.read_text("utf-8"))["scores"]] == [1, 0]


def test_files_are_replaced_whole_and_leave_nothing_beside_them(tmp_path):
    output = {"shape": "item", "path": "own/é.json"}
    for time in ("first, and longer", "now"):
        found = row(time=time, output=output)
        path = write_output(tmp_path, [found], [])
    assert path is not None and json.loads(path.read_text("utf-8")) == item_file([found])
    assert list(path.parent.iterdir()) == [path]
    assert write_output(tmp_path, [row()], []) is None


def test_an_unwritable_place_is_named(tmp_path):
    (tmp_path / "own").write_text("in the way")
    with pytest.raises(InputError) as error:
        write_output(tmp_path, [row(output={"shape": "item", "path": "own/a.json"})], [])
    assert str(error.value) == (
        f"{tmp_path}/own/a.json: cannot be written (File exists); choose another --results-dir"
    )


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3) | st.sampled_from(["prompts", "scores"]), inner)
    ),
    max_leaves=8,
)


@given(values.filter(lambda value: "inf" not in repr(value)))
def test_json_for_people_is_the_same_json(value):
    assert json.loads(to_json(value)) == value


def test_an_entry_is_a_line():
    entries = [{"text": "a\nb", "kl": [1, 2]}, {"text": "c", "kl": []}]
    text = to_json({"records": [{"summary": {"kl": {"ci": [0, 1]}}, "prompts": entries}]})
    assert sum('"text"' in line for line in text.splitlines()) == 2
    assert '"ci": [0, 1]' in text
