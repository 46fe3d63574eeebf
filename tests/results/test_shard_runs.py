"""Shards that wrote into a store: which lack, and what runs them."""

from __future__ import annotations

import pytest

from emolib.results.runs import Run
from emolib.results.shard_runs import common, shard_sets

COMMAND = "/bin/pytest experiments -k 'a b'"


def run(shard, items=4, *, replayed=0, expected=4, command=COMMAND, host="node"):
    whole = f"{command} --shard {shard}" if shard else command
    return Run("id", "t", "t", whole, host, "c", shard, {}, items, replayed, expected)


def test_runs_without_a_shard_are_of_no_set():
    assert shard_sets([run("")]) == []


def test_shards_of_one_command_are_a_set_wherever_they_wrote():
    other = f"{COMMAND} --results-dir=/scratch/2 -n 4"
    (found,) = shard_sets([run("1/2"), run("2/2", command=other)])
    assert found.command == "pytest experiments -k 'a b'" and found.of == 2
    assert found.missing == [] == found.unfinished == found.complaints()


def test_what_is_missing_or_unfinished_is_named_with_its_command():
    runs = [run("1/4"), run("3/4", 3), run("4/4", 2, replayed=2)]
    (found,) = shard_sets(runs)
    assert found.complaints() == [
        "shard 2/4 is missing; run: pytest experiments -k 'a b' --shard 2/4",
        "shard 3/4 lacks 1 of its 4 items (on node); run: pytest experiments -k 'a b' --shard 3/4",
    ]


def test_a_run_that_never_heard_of_its_items_is_unfinished():
    (found,) = shard_sets([run("1/1", 0, expected=None)])
    assert found.complaints()[0].startswith("shard 1/1 did not come to its items (on node); run: ")


def test_an_empty_shard_is_there():
    (found,) = shard_sets([run("1/2"), run("2/2", 0, expected=0)])
    assert found.complaints() == []


def test_the_last_run_of_a_shard_counts():
    (found,) = shard_sets([run("1/1", 2), run("1/1", 2, replayed=2)])
    assert found.complaints() == []
    (found,) = shard_sets([run("1/1"), run("1/1", 0)])
    assert found.unfinished == [1]


def test_of_another_number_of_parts_the_later_one_counts():
    (found,) = shard_sets([run("1/4"), run("1/2"), run("2/2")])
    assert found.of == 2 and found.complaints() == []


def test_other_commands_are_other_sets():
    sets = shard_sets([run("1/2"), run("1/2", command="pytest experiments -k joy")])
    assert [found.missing for found in sets] == [[2], [2]]


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["/data", "/data"], "pytest x --results-dir=/data --shard 3/3"),
        (["/a", "/b"], "pytest x --shard 3/3"),
        (["", ""], "pytest x --shard 3/3"),
    ],
)
def test_where_all_went_to_one_place_so_does_what_is_missing(places, expected):
    commands = [f"pytest x --results-dir {place}" if place else "pytest x" for place in places]
    runs = [run(f"{i}/3", command=command) for i, command in enumerate(commands, 1)]
    assert shard_sets(runs)[0].again(3) == expected


@pytest.mark.parametrize(
    "command",
    [
        "/a/b/pytest x --shard 1/2 -q",
        "/venv/lib/pytest/__main__.py x --shard=1/2 -q --fresh",
        "py.test x -n 2 -q", "pytest x -n4 --numprocesses=3 -q --results-dir /d",
    ],
)  # fmt: skip
def test_what_shards_of_a_command_have_in_common(command):
    assert common(command) == "pytest x -q"
