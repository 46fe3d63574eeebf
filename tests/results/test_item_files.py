"""Results files: their content, whole or not at all, and back as rows."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made import PAIRS, TEMPLATES, make_results

from emolib.errors import InputError
from emolib.results.item_files import (
    is_of,
    item_file,
    per_prompt,
    read_effects,
    scores_file,
    write_output,
)
from emolib.results.records import Store
from emolib.results.rows import Row
from emolib.results.selection import kind_of, layer_of

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
    ranking = {"by": "|atp_ig|", "reliability": 0.9, "rank_correlation": None, "missed": None}
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
        f"{tmp_path}/own/a.json: cannot be written (File exists); make room for it, or choose "
        "another --results-dir"
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"), models=("one",))


@pytest.mark.parametrize("experiment", ["head_ablation", "head_patching"])
def test_the_rows_in_files_are_those_that_were_stored(results, experiment):
    """All but what tells which rows can stand in one table and where their file is."""
    stored = [replace(row, context="", output={}) for row in Store(results).whole_rows(experiment)]
    read = read_effects(results / row.output["path"] for row in _firsts(results, experiment))
    assert read == stored
    effect = next(row for row in read if row.dims["heads"] == "L1H0")
    assert layer_of(effect) == 1 and effect.pairs["templates"] == TEMPLATES
    mean = sum(effect.vectors["logit_diff"]) / PAIRS
    assert effect.mean("logit_diff") == pytest.approx(mean)


def _firsts(results, experiment):
    rows = Store(results).rows(experiment)
    return [row for row in rows if row.row == 0]


def test_patching_has_a_row_a_direction_and_position(results):
    rows = read_effects([results / "patching/head_patching/one_joy_L0H0.json"])
    assert [kind_of(row)[1:] for row in rows] == [
        ("denoise", "last"), ("denoise", "slot"), ("noise", "last"), ("noise", "slot")
    ]  # fmt: skip


def test_files_of_older_scripts_are_told_apart(results, tmp_path):
    source = results / "patching/head_ablation/one_joy_L1H0-zero.json"
    content = json.loads(source.read_text("utf-8"))
    old = {k: v for k, v in content.items() if k not in ("key", "item")}
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        path.write_text(json.dumps(old), "utf-8")
    assert [row.item for row in read_effects(paths)] == ["a.json", "b.json"]


@pytest.mark.parametrize("missing", ["heads", "ablation", "summary", "provenance"])
def test_a_file_without_what_an_effect_needs_is_named(results, tmp_path, missing):
    source = results / "patching/head_ablation/one_joy_L1H0-zero.json"
    content = json.loads(source.read_text("utf-8"))
    del content[missing]
    path = tmp_path / "x.json"
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(InputError, match=r"x\.json: not a results file of an item \(KeyError"):
        read_effects([path])


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/a").symlink_to(tmp_path, target_is_directory=True)
    made = row(output={"path": "a/b.json", "shape": "item"})
    with pytest.raises(InputError, match="a link leads out of the results folder"):
        write_output(tmp_path / "results", [made], ())
    assert not (tmp_path / "b.json").exists()


def test_a_file_that_is_cut_off_anywhere_is_not_taken_for_an_item_s(tmp_path):
    output = {"shape": "item", "path": "own/a.json"}
    prompts = {"prompt": ["a}", "b\n}"], "other": ["", "é"]}
    one = row(texts=prompts, values={"ld": mean(1.5)}, output=output)
    path = write_output(tmp_path, [one], [])
    content = path.read_bytes()
    assert is_of(path, one.key) and not is_of(path, "another")
    for end in range(len(content)):
        path.write_bytes(content[:end])
        assert not is_of(path, one.key)
    path.unlink()
    path.mkdir()
    assert not is_of(path, one.key)


def test_links_that_go_round_are_told(tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    made = row(output={"path": "loop/x.json", "shape": "item"})
    with pytest.raises(InputError, match="cannot be written"):
        write_output(tmp_path, [made], ())


def test_rows_of_another_kind_than_their_file_are_named(tmp_path):
    bare = replace(scored("L0H0", 1.0), dims={}, item="x[bare]")
    with pytest.raises(
        InputError, match=r"^x\[bare\]: has not what a file of shape 'scores' takes"
    ):
        write_output(tmp_path, [bare], [bare])
