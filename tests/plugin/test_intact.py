"""Whether models are as they were loaded: what an item puts on one, and what it leaves there."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from pytest_emolib.intact import SUPPORTED, Intact, may_replay, reaches_weights

from emolib.engine.traced import traced
from emolib.models import loading, sources

ITEM = SimpleNamespace(nodeid="exp_x.py::exp_x[m]", fixturenames=["model", "record"])
BLOCK, WEIGHT = "transformer.h.1", "transformer.h.1.mlp.c_proj.weight"


class Held:
    """Stands in for what holds the models in memory."""

    def __init__(self, *models):
        self.models, self.forgotten = list(models), []
        self.begun = 0

    def begin(self):
        self.begun += 1

    def forget(self, name):
        self.forgotten.append(name)
        self.models = [model for model in self.models if model.name != name]


@pytest.fixture
def model():
    """Give an embedded model of this test alone."""
    return loading.load(sources.find("tiny-gpt2"))


@pytest.fixture
def held(model):
    return Held(model)


@pytest.fixture
def intact(held):
    """Give the watch over the model, at the beginning of an item."""
    made = Intact(held)
    made.begin(ITEM)
    return made


def hook(model):
    return model.hf.get_submodule(BLOCK).register_forward_hook(lambda *_: None)


def test_rows_under_traced_alone_come_from_the_store_again():
    assert may_replay([]) and may_replay(["traced resid:2", "traced mlp:0"])
    assert not may_replay(["forward hook on transformer.h.1"])
    assert not may_replay(["traced resid:2", f"weights of {WEIGHT} edited in place"])
    assert not may_replay(["forward hook on traced resid:2"])


@pytest.mark.parametrize(
    ("names", "arguments", "reaches"),
    [
        (["run", "heads", "study", "model_source", "record"], ["run", "heads", "record"], False),
        (["run", "study", "request", "record"], ["run", "record"], False),
        (["run", "study", "request", "record"], ["run", "request", "record"], True),
        (["run", "study", "record"], ["run", "study", "record"], True),
        (["model", "record"], ["model", "record"], True),
        (["traced", "model", "run"], ["traced", "run"], True),
        (["mine", "study", "record"], ["mine", "record"], True),
    ],
)
def test_weights_are_read_around_items_that_are_given_a_model(names, arguments, reaches):
    info = SimpleNamespace(argnames=tuple(arguments))
    assert reaches_weights(SimpleNamespace(fixturenames=names, _fixtureinfo=info)) is reaches


def test_around_other_items_weights_are_not_read(held, model):
    intact = Intact(held)
    intact.begin(SimpleNamespace(nodeid="exp_x.py::exp_y", fixturenames=["run", "record"]))
    model.hf.get_parameter(WEIGHT).data.mul_(4)
    assert intact.unseen(ITEM) is None
    with torch.no_grad():
        model.hf.get_parameter(WEIGHT).mul_(4)
    assert f"left weights of {WEIGHT} edited in place" in intact.left(ITEM)


def test_an_item_that_puts_nothing_on_the_model_leaves_it(intact, held, model):
    with torch.no_grad():
        model.hf(input_ids=torch.tensor([[1, 2, 3]]))
    assert intact.under() == [] and intact.unseen(ITEM) is None and intact.left(ITEM) is None
    assert held.forgotten == []


def test_what_traced_puts_there_is_told_as_supported(intact, held, model):
    with traced(model, "resid:1"):
        assert intact.under() == ["traced resid:1"]
    # The rows are made when the trace is closed.
    assert intact.under() == ["traced resid:1"] and may_replay(intact.under())
    assert all(what.startswith(SUPPORTED) for what in intact.under())
    assert intact.left(ITEM) is None and held.forgotten == []


def test_what_a_run_saw_is_told_after_it_is_gone(intact, model):
    with hook(model):
        assert model.changes
    with hook(model):
        pass
    assert intact.under() == [f"forward hook on {BLOCK}"]
    intact.begin(ITEM)
    assert intact.under() == []


def test_a_hook_that_nothing_ran_under_is_not_told(intact, model):
    with hook(model):
        pass
    assert intact.under() == []


def test_a_hook_that_is_left_is_told_and_the_model_forgotten(intact, held, model):
    handle = hook(model)
    assert intact.left(ITEM) == (
        "exp_x.py::exp_x[m] left forward hook on transformer.h.1 on tiny-gpt2: close traces "
        "(`with`), remove hooks and put weights back where the item ends; the next one has the "
        "model loaded anew"
    )
    handle.remove()
    assert held.forgotten == ["tiny-gpt2"] and held.models == []
    # Of what is no longer in memory nothing is said.
    assert intact.under() == [] and intact.left(ITEM) is None


def test_weights_that_were_put_back_leave_nothing_but_are_told(intact, held, model):
    weight = model.hf.get_parameter(WEIGHT)
    with torch.no_grad():
        kept = weight.clone()
        weight.mul_(4)
        assert model.changes
        weight.copy_(kept)
    assert intact.unseen(ITEM) is None
    assert intact.under() == [f"weights of {WEIGHT} edited in place"]
    assert not may_replay(intact.under())
    assert intact.left(ITEM) is None and held.forgotten == [] and model.changes == ()


def test_weights_that_are_left_edited_are_told(intact, held, model):
    with torch.no_grad():
        model.hf.get_parameter(WEIGHT).mul_(4)
    assert intact.unseen(ITEM) is None
    said = intact.left(ITEM)
    assert said.startswith(f"exp_x.py::exp_x[m] left weights of {WEIGHT} edited in place on tiny-")
    assert held.forgotten == ["tiny-gpt2"]


def test_an_edit_that_torch_does_not_count_is_told_as_what_no_run_could_notice(intact, held, model):
    model.hf.get_parameter(WEIGHT).data.mul_(4)
    assert intact.under() == []
    assert intact.unseen(ITEM) == (
        f"exp_x.py::exp_x[m]: weights of {WEIGHT} were edited through .data, which torch does not "
        "count: runs of tiny-gpt2 may have been taken from those before, so that nothing is "
        "recorded; edit weights under torch.no_grad(), without .data"
    )
    assert intact.left(ITEM).startswith(
        f"exp_x.py::exp_x[m] left weights of {WEIGHT} edited through .data on tiny-gpt2: "
    )
    assert held.forgotten == ["tiny-gpt2"]


def test_what_stood_there_before_the_item_is_none_of_its_edits(held, model):
    """Values are compared with those at the beginning of the item, not of the model."""
    model.hf.get_parameter(WEIGHT).data.mul_(4)
    intact = Intact(held)
    intact.begin(ITEM)
    assert intact.unseen(ITEM) is None and intact.left(ITEM) is None


def test_only_the_model_that_is_not_as_it_was_is_forgotten(model):
    other = loading.load(sources.find("tiny-neo"))
    held = Held(other, model)
    intact = Intact(held)
    intact.begin(ITEM)
    with hook(model):
        assert " on tiny-gpt2: " in intact.left(ITEM)
    assert held.forgotten == ["tiny-gpt2"] and held.models == [other]


def test_a_model_that_an_item_loaded_is_watched_from_then_on(model):
    held = Held()
    intact = Intact(held)
    intact.begin(ITEM)
    model.as_loaded.begin()
    held.models.append(model)
    with hook(model):
        assert intact.under() == [f"forward hook on {BLOCK}"]
        assert intact.left(ITEM) is not None
