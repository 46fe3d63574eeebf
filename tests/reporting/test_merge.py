"""Results of several folders in one: what is refused, what is told, what is made anew."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made import rows_of

from emolib.errors import InputError
from emolib.reporting.merge import merge, ranks_that_differ
from emolib.results.records import Store

TOLD = {
    "seed": 0,
    "versions": {"torch": "2.6"},
    "commit": "abc",
    "shape": {"layers": 2, "heads": 2},
}
SCORES = {"path": "alignment/head_scores_one.json", "shape": "scores"}
COMMAND = "pytest experiments"


def items(head, context="c", value=1.0, **told):
    """Give the rows of an ablation and of the scores of one head."""
    output = {"path": f"patching/one_joy_{head}.json", "shape": "item"}
    made = (
        ("head_ablation", {"logit_diff": [value] * 8, "text": ["a"] * 8}, output),
        ("head_screening", {"atp_ig": [value] * 8}, SCORES),
    )
    for experiment, record, where in made:
        (row,) = rows_of(experiment, record, heads=head)
        key = f"{context}-{row.key}"
        yield [replace(row, key=key, context=context, output=where, provenance=TOLD | told)]


def record(folder, *heads, shard=None, expected=None, host="here", **fields):
    store = Store(folder)
    command = f"{COMMAND} --shard {shard} --results-dir=/s" if shard else COMMAND
    expected = 2 * len(heads) if expected is None else expected
    about = {"command": command, "expected": expected if shard else None, "host": host}
    store.open(shard=shard, about=lambda: about)
    for head in heads:
        for rows in items(head, **fields):
            store.append(rows)
    store.close()
    return folder


def joined(into, *places, mixed=False):
    return list(merge([Path(place) for place in places], into, "demo", mixed=mixed))


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name != "records"
    }


@pytest.fixture
def shards(tmp_path):
    return [
        record(tmp_path / "a/demo", "L0H0", "L1H1", shard="1/2"),
        record(tmp_path / "b/demo", "L0H1", shard="2/2"),
    ]


def test_tables_scores_and_files_of_items_are_those_of_one_run(shards, tmp_path):
    into = tmp_path / "into"
    assert joined(into, *shards) == [
        f"{into}: 2 runs, 6 items; new: 2 runs, 6 items",
        "all 2 shards of pytest experiments",
    ]
    whole = record(tmp_path / "whole", "L0H0", "L1H1", "L0H1")
    joined(whole)
    assert files(into) == files(whole) and len(files(into)) == 3 + 1 + 4
    scores = json.loads((into / SCORES["path"]).read_text("utf-8"))["scores"]
    assert [(entry["layer"], entry["head"]) for entry in scores] == [(0, 0), (0, 1), (1, 1)]


def test_once_more_is_no_more(shards, tmp_path):
    into = tmp_path / "into"
    joined(into, *shards)
    before = files(into)
    assert joined(into, *shards)[0] == f"{into}: 2 runs, 6 items; new: 0 runs, 0 items"
    assert files(into) == before
    assert joined(into)[0] == f"{into}: 2 runs, 6 items"


def test_what_shards_in_one_folder_left_is_made_whole(tmp_path):
    into = record(tmp_path / "r/demo", "L0H0", shard="1/2")
    joined(into)
    record(into, "L0H1", shard="2/2")
    assert joined(into, into)[1] == "all 2 shards of pytest experiments"
    assert len(json.loads((into / SCORES["path"]).read_text("utf-8"))["scores"]) == 2


def test_a_shard_that_is_missing_or_was_killed_is_named_with_its_command(shards, tmp_path):
    into = tmp_path / "into"
    lines = joined(into, shards[1])
    assert lines[1:] == [
        "shard 1/2 is missing; run: pytest experiments --results-dir=/s --shard 1/2"
    ]
    record(into, "L0H0", shard="1/2", expected=4, host="node7")
    assert (
        joined(into)[1:]
        == [
            "shard 1/2 lacks 2 of its 4 items (on here); run: pytest experiments --results-dir=/s "
            "--shard 1/2"
        ]
        or "node7" in joined(into)[1]
    )


def test_what_stands_on_something_else_is_refused_before_anything_is_written(shards, tmp_path):
    other = record(tmp_path / "c/demo", "L1H0", context="d", seed=1, versions={"torch": "2.7"})
    into = tmp_path / "into"
    with pytest.raises(InputError) as caught:
        joined(into, *shards, other)
    said, _, lines = str(caught.value).partition("recorded last: ")
    assert "--mixed" in said
    a, b = (f"{folder} (shard {n}/2 on here)" for n, folder in enumerate(shards, 1))
    assert lines == (f"seed: 0 in {a}, {b}; 1 in {other}; torch: 2.6 in {a}, {b}; 2.7 in {other}")
    assert not into.exists()
    found = joined(into, *shards, other, mixed=True)
    assert found[0] == f"{into}: 3 runs, 8 items; new: 3 runs, 8 items"
    assert {row.dims["heads"] for row in Store(into).rows()} == {"L1H0"}


def test_shards_in_one_folder_that_differ_are_refused_too(tmp_path):
    into = record(tmp_path / "r/demo", "L0H0", shard="1/2")
    record(into, "L0H1", shard="2/2", context="d", commit="def")
    with pytest.raises(InputError, match=r"commit: abc in .*shard 1/2 on here\); def in .*2/2"):
        joined(into)
    assert not files(into)


def test_items_of_several_shards_are_told_with_how_far_they_are_apart(shards, tmp_path):
    other = record(tmp_path / "c/demo", "L0H1", value=1.5)
    lines = joined(tmp_path / "into", *shards, other)
    assert lines[1] == (
        "2 items were recorded more than once: their numbers differ by 0.5 at most (logit_diff of "
        "exp_x.py::exp_head_ablation[one-joy-L0H1])"
    )


def test_baselines_stay_where_they_are(shards, tmp_path):
    baseline = shards[0] / "effects/baseline.json"
    baseline.parent.mkdir()
    baseline.write_text("{}")
    joined(tmp_path / "into", *shards)
    assert not (tmp_path / "into/effects").exists()


def test_where_nothing_was_recorded_it_says_so(tmp_path):
    with pytest.raises(InputError, match="nothing was recorded there"):
        joined(tmp_path / "into")
    with pytest.raises(InputError, match="no results there"):
        joined(tmp_path / "into", tmp_path)


def test_of_many_items_no_files_are_written_but_those_that_are_there(shards, tmp_path, monkeypatch):
    into = tmp_path / "into/demo"
    joined(into, *shards)
    paths = sorted((into / "patching").iterdir())
    whole = paths[0].read_bytes()
    paths[0].write_text("an older one")
    for path in paths[1:]:
        path.unlink()
    monkeypatch.setattr("emolib.reporting.merge.MOST", 2)
    told = joined(into)[1]
    assert told == (
        "2 items without a results file; to write them: python -m emolib export --format files "
        f"--results-dir {into.parent}"
    )
    assert [path.exists() for path in paths] == [True, False, False]
    assert paths[0].read_bytes() == whole


@settings(max_examples=6)
@given(
    st.lists(st.integers(0, 2), min_size=4, max_size=4), st.permutations(range(3)), st.booleans()
)
def test_whatever_the_parts_and_their_order_the_rows_are_the_same(
    tmp_path_factory, of, order, twice
):
    heads = ["L0H0", "L0H1", "L1H0", "L1H1"]
    base = tmp_path_factory.mktemp("merged")
    parts = []
    for part in range(3):
        mine = [head for head, number in zip(heads, of, strict=True) if number == part]
        parts.append(record(base / f"{part}/demo", *mine, shard=f"{part + 1}/3"))
    into = base / "into"
    for _ in range(1 + twice):
        joined(into, *(parts[number] for number in order))
    rows = [(row.item, row.key, row.values) for row in Store(into).rows()]
    whole = Store(record(base / "whole", *heads)).rows()
    assert rows == [(row.item, row.key, row.values) for row in whole]
    shutil.rmtree(base)


def ranked(spec, head, value=None):
    (row,) = rows_of("head_ablation", {"logit_diff": [1.0] * 8}, heads=head)
    return replace(row, labels={"spec": spec})


def test_ranks_that_shards_made_otherwise_are_told():
    scores = [
        rows_of("head_screening", {"atp_ig": [value] * 8}, heads=head)[0]
        for head, value in (("L0H0", -3.0), ("L0H1", 2.0))
    ]
    right = [ranked("top1", "L0H0"), ranked("top2", "L0H1")]
    assert list(ranks_that_differ(scores + right)) == [] == list(ranks_that_differ(right))
    (line,) = ranks_that_differ([*scores, ranked("top2", "L1H1")])
    assert line.startswith("top2 of one, joy is L0H1 or L1H1, by who ranked")
    (line,) = ranks_that_differ([*right, ranked("top1", "L1H1")])
    assert line.startswith("top1 of one, joy is L0H0 or L1H1")


def test_a_place_behind_links_that_go_round_is_told(shards, tmp_path):
    (tmp_path / "into").symlink_to("into")
    with pytest.raises((InputError, OSError), match="into"):
        joined(tmp_path / "into", *shards)
