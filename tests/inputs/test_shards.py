"""Shards: how they are typed, and how tasks are dealt out to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.shards import Shard, Task, deal, parse_shard

weights = st.lists(st.floats(0, 1e6), max_size=30)


def tasks(found):
    return [Task(f"t{i}", weight) for i, weight in enumerate(found)]


def loads(dealt, made):
    weight = {task.name: task.weight for task in made}
    return [sum(weight[name] for name in part) for part in dealt]


@given(st.integers(1, 999), st.integers(0, 999))
def test_a_shard_reads_as_it_is_written(number, more):
    shard = Shard(number, number + more)
    assert parse_shard(str(shard)) == shard


@pytest.mark.parametrize(
    "text",
    ["", "3", "3/", "/8", "0/8", "9/8", "3/0", "-1/8", "3/8/8", "a/b", "1.0/2", "03/8", "³/8"],
)
def test_what_is_no_shard_is_refused_in_a_line(text):
    with pytest.raises(InputError, match="--shard: expected I/N") as caught:
        parse_shard(text)
    assert repr(text) in str(caught.value) and "\n" not in str(caught.value)


@given(weights, st.integers(1, 40))
def test_every_task_is_of_one_part(found, parts):
    dealt = deal(tasks(found), parts)
    assert len(dealt) == parts
    assert sorted(name for part in dealt for name in part) == sorted(
        task.name for task in tasks(found)
    )


@given(weights, st.integers(1, 9), st.randoms())
def test_the_order_of_tasks_decides_nothing(found, parts, random):
    made = tasks(found)
    mixed = random.sample(made, len(made))
    assert deal(mixed, parts) == deal(made, parts)


@given(weights, st.integers(1, 9))
def test_no_part_is_above_the_mean_by_more_than_the_heaviest_task(found, parts):
    made = tasks(found)
    sums = loads(deal(made, parts), made)
    assert max(sums) <= (sum(found) / parts + max(found, default=0.0)) * (1 + 1e-9)


needing = st.lists(
    st.tuples(st.floats(0, 100), st.sampled_from("abc"), st.floats(0, 100)), min_size=1, max_size=12
)


@given(needing, st.integers(1, 6))
def test_what_tasks_need_is_never_had_more_often_than_it_pays(found, parts):
    """No part is heavier than all of the tasks in one, each thing that they need had once."""
    setups = {needs: setup for _, needs, setup in found}
    made = [Task(f"t{i}", w, needs, setups[needs]) for i, (w, needs, _) in enumerate(found)]
    by_name = {task.name: task for task in made}
    loads = [
        sum(by_name[name].weight for name in part)
        + sum(setups[needs] for needs in {by_name[name].needs for name in part})
        for part in deal(made, parts)
    ]
    assert max(loads) <= (sum(w for w, *_ in found) + sum(setups.values())) * (1 + 1e-9)


def test_equal_tasks_are_dealt_out_evenly():
    made = tasks([1.0] * 12)
    assert loads(deal(made, 4), made) == [3.0] * 4


def test_tasks_that_need_one_thing_share_a_part_where_that_is_dear():
    made = [Task(f"{model}{i}", 1.0, model, 100.0) for model in "ab" for i in range(4)]
    assert [sorted({name[0] for name in part}) for part in deal(made, 2)] == [["a"], ["b"]]
    cheap = [Task(task.name, 1.0, task.needs, 0.0) for task in made]
    assert [len(part) for part in deal(cheap, 2)] == [4, 4]
