"""What a model carries that it did not when it was loaded."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, build, tiny_model
from torch import nn

from emolib.errors import InputError
from emolib.models import snapshot
from emolib.models.snapshot import Snapshot
from emolib.tracing import OwnTrace


@pytest.fixture
def model():
    return build("gpt2", CONFIGS["gpt2"], torch.float32)


def told(model):
    return [str(change) for change in model.changes]


@pytest.mark.parametrize("kind", CONFIGS)
def test_a_model_as_loaded_has_no_changes_before_or_after_it_ran(kind):
    model = tiny_model(kind)
    assert model.changes == ()
    with torch.no_grad():
        model.hf(input_ids=torch.tensor([[1, 2, 3]]))
    assert model.changes == ()


@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_is_written_down_where_nothing_has_changed(kind, monkeypatch):
    """A look at each module does, which a run takes many times an item."""
    model = tiny_model(kind)
    monkeypatch.setattr(snapshot, "_mark", lambda module: pytest.fail("marked again"))
    assert model.changes == ()


EDITS = {
    "class": lambda block, put: put(block, "__class__", type("Other", (type(block),), {})),
    "forward of the class": lambda block, put: put(type(block), "forward", lambda *_: None),
    "forward": lambda block, put: put(block, "forward", lambda *_: None),
    "mode": lambda block, put: put(block, "training", not block.training),
    "child": lambda block, put: put(block, "mlp", nn.Identity()),
    "one child more": lambda block, put: put(block, "more", nn.Identity()),
    "no child": lambda block, put: put(block, "mlp", None),
    "hook": lambda block, put: put(block, "_forward_hooks", {0: print}),
    "weight": lambda block, put: put(block.ln_1, "weight", nn.Parameter(torch.ones(1))),
    "no weight": lambda block, put: put(block.ln_1, "weight", None),
    "values": lambda block, put: put(block.ln_1.weight, "data", torch.ones(1)),
    "in place": lambda block, put: block.ln_1.weight.detach().mul_(2),
    "buffer": lambda block, put: block.register_buffer("more", torch.ones(1)),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_a_look_at_a_module_says_what_its_mark_says(model, monkeypatch, edit):
    block = model.hf.transformer.h[1]
    marks = [snapshot._mark(module) for module in block.modules()]
    assert all(map(snapshot._is_as, marks))

    def put(of, name, value):
        monkeypatch.setattr(of, name, value, raising=False)

    edit(block, put)
    same = [snapshot._mark(mark.module) == mark for mark in marks]
    assert [snapshot._is_as(mark) for mark in marks] == same and not all(same)


def test_a_trace_is_told_by_its_place_and_gone_with_its_context(model):
    with OwnTrace(model.hf, "transformer.h.1.mlp"):
        assert told(model) == ["forward hook on transformer.h.1.mlp"]
    assert told(model) == []


def test_every_kind_of_hook_is_told(model):
    block = model.hf.transformer.h[0]
    handles = [
        block.register_forward_hook(lambda *_: None),
        block.register_forward_pre_hook(lambda *_: None),
        block.register_full_backward_hook(lambda *_: None),
        block.register_full_backward_pre_hook(lambda *_: None),
        nn.modules.module.register_module_forward_hook(lambda *_: None),
    ]
    try:
        assert sorted(told(model)) == [
            "backward hook on transformer.h.0",
            "backward pre-hook on transformer.h.0",
            "forward hook on every module",
            "forward hook on transformer.h.0",
            "forward pre-hook on transformer.h.0",
        ]
    finally:
        for handle in handles:
            handle.remove()
    assert told(model) == []


def test_what_transformers_leaves_behind_to_record_outputs_is_no_change():
    model = build("llama", CONFIGS["llama"], torch.float32)
    model.hf(input_ids=torch.tensor([[1, 2, 3]]), output_attentions=True)
    assert model.changes == ()


def test_a_forward_of_one_s_own_is_told(model, monkeypatch):
    mlp = model.hf.transformer.h[1].mlp
    with monkeypatch.context() as patched:
        patched.setattr(mlp, "forward", lambda x: x)
        assert told(model) == ["forward of transformer.h.1.mlp replaced"]
    # Put back by hand it is one of the module's own, which does the same.
    mlp.forward = mlp.forward
    assert "forward" in mlp.__dict__ and told(model) == []
    del mlp.__dict__["forward"]
    with monkeypatch.context() as patched:
        patched.setattr(type(mlp), "forward", lambda self, x: x)
        assert told(model) == ["forward of every GPT2MLP replaced"]
    assert told(model) == []


def test_weights_edited_in_place_are_told(model):
    with torch.no_grad():
        model.hf.transformer.h[0].attn.c_proj.weight[:8] = 0
    assert told(model) == ["weights of transformer.h.0.attn.c_proj.weight edited in place"]


def test_weights_and_modules_that_are_exchanged_are_told(model):
    norm = model.hf.transformer.ln_f
    norm.weight = nn.Parameter(norm.weight.clone())
    assert told(model) == ["weights of transformer.ln_f.weight replaced"]
    model.hf.transformer.h[0].mlp = nn.Identity()
    assert "another module at transformer.h.0.mlp" in told(model)


def test_training_mode_is_told(model):
    model.hf.train()
    assert told(model) == ["training mode"]


def test_what_a_model_is_loaded_with_is_its_own():
    """As accelerate does it: forwards of modules that move tensors between devices."""
    hf = build("gpt2", CONFIGS["gpt2"], torch.float32).hf
    old = hf.transformer.h[0].forward
    hf.transformer.h[0].forward = lambda *args, **options: old(*args, **options)
    handle = hf.transformer.register_forward_hook(lambda *_: None)
    assert Snapshot(hf).changes() == ()
    snapshot = Snapshot(hf)
    handle.remove()
    with OwnTrace(hf, "transformer.h.1"):
        assert [str(change) for change in snapshot.changes()] == [
            "forward hook on transformer taken away",
            "forward hook on transformer.h.1",
        ]


def test_an_edit_through_data_is_found_by_its_values(model):
    """Torch does not count such edits."""
    snapshot = model.as_loaded
    snapshot.begin()
    assert snapshot.unseen_edits() == snapshot.left() == []
    model.hf.transformer.h[1].attn.c_attn.weight.data[:, 40:48] *= 0
    assert model.changes == ()
    assert snapshot.unseen_edits() == ["transformer.h.1.attn.c_attn.weight"]
    assert snapshot.left() == ["weights of transformer.h.1.attn.c_attn.weight edited through .data"]


def test_weights_that_were_put_back_are_not_left(model):
    snapshot, weight = model.as_loaded, model.hf.transformer.h[1].attn.c_attn.weight
    snapshot.begin()
    with torch.no_grad():
        weight.mul_(4)
        assert snapshot.left() == ["weights of transformer.h.1.attn.c_attn.weight edited in place"]
        weight.div_(4)
    assert snapshot.left() == [] and snapshot.changes() == ()


def test_what_there_was_is_told_until_the_next_begin(model):
    snapshot = model.as_loaded
    with OwnTrace(model.hf, "transformer.h.1"):
        assert model.changes
    assert snapshot.told() == ["forward hook on transformer.h.1"]
    snapshot.begin()
    assert snapshot.told() == []


def test_hooks_and_forwards_are_lifted_and_put_back_as_they_were(model):
    seen = []
    block = model.hf.transformer.h[0]
    first = block.register_forward_hook(lambda *_: seen.append("first"))
    block.register_forward_hook(lambda *_: seen.append("second"))
    block.mlp.forward = lambda x: 0 * x
    ids, before = torch.tensor([[1, 2, 3]]), model.changes
    assert len(before) == 3
    with torch.no_grad():
        with model.as_loaded.lifted():
            assert model.changes == ()
            clean = model.hf(input_ids=ids).logits
        assert seen == [] and model.changes == before
        assert (model.hf(input_ids=ids).logits != clean).any()
    assert seen == ["first", "second"]
    first.remove()
    assert len(model.changes) == 2


def test_they_are_put_back_after_an_error_too(model):
    with OwnTrace(model.hf, "transformer.h.1") as trace:
        with pytest.raises(ZeroDivisionError), model.as_loaded.lifted():
            raise ZeroDivisionError
        assert told(model) == ["forward hook on transformer.h.1"]
        model.hf(input_ids=torch.tensor([[1, 2]]))
    assert trace.output.shape[:2] == (1, 2)


def test_what_cannot_be_lifted_is_refused_by_name(model):
    with torch.no_grad():
        model.hf.lm_head.weight.mul_(2)
    expected = r"^a run needs the model as it was loaded, and cannot be had: weights of .* edited"
    with pytest.raises(InputError, match=expected):
        model.as_loaded.lifted("a run").__enter__()


def test_a_hook_that_was_there_at_load_and_is_gone_is_told():
    hf = build("gpt2", CONFIGS["gpt2"], torch.float32).hf
    handle = hf.transformer.register_forward_hook(lambda *_: None)
    everywhere = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        snapshot = Snapshot(hf)
        assert snapshot.changes() == ()
    finally:
        everywhere.remove()
    handle.remove()
    assert list(map(str, snapshot.changes())) == [
        "forward hook on every module",
        "forward hook on transformer taken away",
    ]
    with pytest.raises(InputError, match="forward hook on every module"), snapshot.lifted():
        pass


def test_a_class_that_is_exchanged_is_told(model):
    mlp = model.hf.transformer.h[0].mlp

    class Off(type(mlp)):
        def forward(self, x):
            return 0 * x

    mlp.__class__ = Off
    assert told(model) == ["class of transformer.h.0.mlp replaced"]


def test_training_mode_of_one_module_is_told(model):
    model.hf.transformer.h[1].mlp.train()
    assert "training mode of transformer.h.1.mlp" in told(model)


def test_buffers_and_types_and_autocast_are_told():
    model = build("gpt_neox", CONFIGS["gpt_neox"], torch.float32)
    model.hf.gpt_neox.rotary_emb.inv_freq.mul_(0.5)
    assert told(model) == ["weights of gpt_neox.rotary_emb.inv_freq edited in place"]
    other = build("gpt2", CONFIGS["gpt2"], torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert told(other) == ["autocast"]
    assert told(other) == []
    other.hf.to(torch.float64)
    assert any("transformer.wte.weight" in what for what in told(other))


def test_new_data_of_a_weight_is_told(model):
    weight = model.hf.transformer.h[0].mlp.c_proj.weight
    weight.data = weight.data * 0
    assert told(model) == ["weights of transformer.h.0.mlp.c_proj.weight edited in place"]


def test_an_edit_through_data_that_moves_columns_is_found(model):
    model.as_loaded.begin()
    weight = model.hf.transformer.h[0].attn.c_proj.weight.data
    weight[:, 1:] = weight[:, 1:].flip(1)
    assert model.as_loaded.unseen_edits() == ["transformer.h.0.attn.c_proj.weight"]


def test_another_forward_in_the_place_of_one_is_another_change(model):
    mlp = model.hf.transformer.h[0].mlp
    mlp.forward = lambda x: 0 * x
    (first,) = model.changes
    mlp.forward = lambda x: 1 * x
    (second,) = model.changes
    assert str(first) == str(second) and first != second


def test_what_the_model_takes_is_what_its_class_takes(model):
    forward = model.hf.forward
    model.hf.forward = lambda *args, **options: forward(*args, **options)
    assert "position_ids" in model.accepts


def test_weights_that_were_read_when_an_item_ended_are_not_read_again(model, monkeypatch):
    reads, read = [], Snapshot._read
    monkeypatch.setattr(Snapshot, "_read", lambda self: reads.append(1) or read(self))
    taken = model.as_loaded
    taken.begin()
    assert taken.left() == []
    taken.begin()
    assert len(reads) == 2
    # An edit between two items is the next one's: never nobody's.
    assert taken.left() == []
    model.hf.transformer.h[1].attn.c_attn.weight.data *= 2
    taken.begin()
    assert taken.unseen_edits() == ["transformer.h.1.attn.c_attn.weight"]
    # Items that are given no model are not watched; what they leave is not compared with.
    taken.begin(values=False)
    taken.begin()
    assert taken.unseen_edits() == [] and len(reads) == 6
