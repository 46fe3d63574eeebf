"""Which worker of xdist runs an item: those of one model and emotion share one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from folders import INI
from pytest_emolib.scheduling import CaseScheduling, scope
from xdist.remote import Producer


@pytest.mark.parametrize("where", ["argument", "ini", "environment", "d"])
def test_an_own_choice_of_dist_stands(light, where):
    light.write(
        "exp_effect.py",
        "def exp_it(emotion, heads, record, worker_id): record(worker=worker_id)\n",
    )
    args = {"argument": ["--dist", "worksteal"], "d": ["-d"]}.get(where, [])
    if where == "ini":
        light.write("pytest.ini", INI + "addopts = --dist=worksteal\n")
    elif where == "environment":
        light.env["PYTEST_ADDOPTS"] = "--dist worksteal"
    done = light.process("-n", "2", "-v", *args)
    name = "LoadScheduling" if where == "d" else "WorkStealingScheduling"
    assert f"scheduling tests via {name}" in done.stdout
    assert "8 recorded" in done.stdout


def test_items_of_one_model_and_emotion_share_a_worker(light):
    light.write(
        "exp_effect.py",
        "def exp_it(emotion, heads, record, worker_id): record(worker=worker_id)\n",
    )
    light.process("-n", "2")
    workers = {}
    for row in light.rows():
        key = row["dims"]["model"], row["dims"]["emotion"]
        workers.setdefault(key, set()).add(row["labels"]["worker"])
    assert len(workers) == 4 and all(len(found) == 1 for found in workers.values())
    assert set.union(*workers.values()) == {"gw0", "gw1"}


def of(parameters, models=("tiny", "tiny-neo"), emotions=("joy", "fear")):
    return scope(f"exp.py::exp_it[{parameters}]", models, emotions)


def test_items_that_differ_in_heads_and_kinds_alone_are_of_one_scope():
    expected = "exp.py::exp_it[tiny][joy]"
    assert {of(f"tiny-joy-{rest}") for rest in ("L0H1", "L2H0+L3H1", "L0H1-mean", "top1-0.5")} == {
        expected
    }


def test_scopes_differ_by_function_model_and_emotion():
    scopes = {of("tiny-joy-L0H1"), of("tiny-fear-L0H1"), of("tiny-neo-joy-L0H1"),
              scope("exp.py::exp_other[tiny-joy-L0H1]", ["tiny"], ["joy"]),
              scope("more.py::exp_it[tiny-joy-L0H1]", ["tiny"], ["joy"])}  # fmt: skip
    assert len(scopes) == 5


def test_a_name_that_begins_with_another_is_not_taken_for_it():
    for models in (("tiny", "tiny-neo"), ("tiny-neo", "tiny")):
        assert of("tiny-neo-joy-L0H1", models) == "exp.py::exp_it[tiny-neo][joy]"
        assert of("tiny-joy-L0H1", models) == "exp.py::exp_it[tiny][joy]"
    # Nor a part of one: names stand between hyphens.
    assert of("tinyish-joyful-L0H1") == "exp.py::exp_it[][]"
    for emotions in (("joy", "joy-low"), ("joy-low", "joy")):
        assert of("tiny-joy-low-L0H1", emotions=emotions) == "exp.py::exp_it[tiny][joy-low]"
        assert of("tiny-joy-L0H1", emotions=emotions) == "exp.py::exp_it[tiny][joy]"


def test_items_of_a_model_or_an_emotion_alone_and_of_neither():
    assert of("tiny-L0H1") == "exp.py::exp_it[tiny][]" and of("joy") == "exp.py::exp_it[][joy]"
    assert of("0.5") == "exp.py::exp_it[][]"
    plain = "tests/test_plain.py::TestIt::test_plain"
    assert scope(plain, ["tiny"], ["joy"]) == plain


def test_the_scheduler_deals_out_by_scope():
    config = SimpleNamespace(getvalue={"tx": ["popen", "popen"]}.__getitem__)
    made = CaseScheduling(config, Producer("test"), ["tiny", "tiny-neo"], ["joy"])
    ids = [f"exp.py::exp_it[{m}-joy-L0H{h}]" for m in ("tiny", "tiny-neo") for h in range(2)]
    assert [made._split_scope(name) for name in ids] == [
        of(f"{model}-joy") for model in ("tiny", "tiny", "tiny-neo", "tiny-neo")
    ]
