"""How much goes into one batch: by hand, and no number depends on it, nor on what does not fit."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import every_kind, study_in, whole
from tiny import HEADS, clean_runs, crossed, study_of, tiny_model

from emolib.engine import batch_sizes, decoding, hooked, sweeps
from emolib.engine.batch_sizes import (
    ROOM,
    BatchSize,
    batches_of,
    columns_of,
    fit,
    gradients_at_once,
    texts_at_once,
)
from emolib.engine.edits import branches
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.shapes import Shape
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.interventions import edit, zero


def branched(*runs):
    return branches(tiny_model("gpt2"), [[run] for run in runs], all_draws=True)


WHOLE = edit(HEADS[0], lambda z: z)


@crossed(batch_size=[1, 4, None], room=[1, 2**29])
def test_batches_of_any_size_say_the_same(monkeypatch, batch_size, room):
    monkeypatch.setattr(batch_sizes, "ROOM", room)
    study = study_in(torch.float64, "llama")
    runs = every_kind(study, "all")
    resumed = clean_runs(study.model, study.prompts(), batch_size, more=2)
    for index, logits in sweeps.sweep(resumed, runs, position="all"):
        assert torch.allclose(logits, whole(study, runs[index], "all"), atol=1e-6)
    for index, found in decoding.generate(resumed, runs, max_new_tokens=3, position="all"):
        expected = hooked.generate(
            study.model, study.prompts(), runs[index], max_new_tokens=3, position="all"
        )
        assert found.ids == expected.ids


class Full:
    """A machine that holds so many runs, or prompts, in a batch and no more."""

    def __init__(self, monkeypatch, runs, prompts=1000):
        self.sizes = []
        carry = sweeps.carry

        def limited(model, clean, chunk, position, cache=None):
            self.sizes.append((len(clean.batch.rows), len(chunk)))
            if len(chunk) > runs or len(clean.batch.rows) > prompts:
                raise MemoryError
            return carry(model, clean, chunk, position, cache)

        for module in (sweeps, decoding):
            monkeypatch.setattr(module, "carry", limited)


@pytest.mark.parametrize(("runs", "prompts"), [(2, 1000), (1, 1000), (1, 2), (1, 1)])
def test_a_batch_that_does_not_fit_is_halved(monkeypatch, caplog, runs, prompts):
    study = study_in(torch.float64, "gpt2")
    todo = [(zero(head),) for head in HEADS]
    expected = [whole(study, run, "last") for run in todo]
    texts = [hooked.generate(study.model, study.prompts(), r, max_new_tokens=3) for r in todo]
    full = Full(monkeypatch, runs, prompts)
    with caplog.at_level(logging.WARNING, "emolib"):
        found = dict(sweeps.sweep(clean_runs(study.model, study.prompts()), todo))
        made = dict(
            decoding.generate(
                clean_runs(study.model, study.prompts(), more=2), todo, max_new_tokens=3
            )
        )
    assert max(full.sizes)[1] > 0 and any(count > runs for _, count in full.sizes)
    for index in range(len(todo)):
        assert torch.allclose(found[index], expected[index], atol=1e-9)
        assert made[index].ids == texts[index].ids
    assert "out of memory with 8 runs in a batch: now 4" in caplog.messages
    assert caplog.messages.count("out of memory with 4 runs in a batch: now 2") == 2


def test_what_does_not_fit_by_itself_is_an_error(monkeypatch):
    study = study_in(torch.float64, "gpt2")
    Full(monkeypatch, 0)
    with pytest.raises(InputError, match="not enough memory for one run of one prompt"):
        list(sweeps.sweep(clean_runs(study.model, study.prompts()), [(zero(HEADS[0]),)]))


def test_another_error_is_not_taken_for_a_lack_of_memory():
    study = study_of("gpt2")
    run = (edit(HEADS[0], lambda z: z[:1]),)
    with pytest.raises(RuntimeError, match="must return z of the shape it got"):
        list(sweeps.sweep(clean_runs(study.model, study.prompts()), [run]))
    with pytest.raises(InputError, match="L7H0 does not exist"):
        list(sweeps.sweep(clean_runs(study.model, study.prompts()), [(zero(Head(7, 0)),)]))


def test_batches_are_as_wide_as_their_prompts_or_as_all_where_an_edit_sees_them_whole():
    model, prompts = tiny_model("gpt2"), study_of("gpt2").prompts()
    lengths = [len(ids) for ids in prompts.ids]
    assert lengths == [6, 7, 8, 6, 7, 8]
    for size, widths in ((2, [6, 7, 8]), (None, [8])):
        own = batches_of(model, prompts, branched(zero(HEADS[0])), size)
        assert [batch.width for batch in own] == widths
        assert all(lengths[row] <= batch.width for batch in own for row in batch.rows)
        alike = batches_of(model, prompts, branched(zero(HEADS[0]), WHOLE), size)
        assert [batch.width for batch in alike] == [8] * len(alike)
        assert all(len(batch.rows) <= (size or 6) for batch in (*own, *alike))
        for batches in (own, alike):
            assert sorted(row for batch in batches for row in batch.rows) == list(range(6))


@pytest.mark.parametrize(
    ("position", "columns"), [("last", 1), ("after_slot", 2), ("slot", 3), ("all", 8)]
)
def test_runs_change_the_columns_from_the_first_that_is_edited(position, columns):
    """Prompts are some words, the slot of one, and two more; padded to eight."""
    model = tiny_model("gpt2")
    (batch,) = study_of("gpt2").prompts().batches(99, model.pad, "cpu")
    assert columns_of(batch, branched(zero(HEADS[0])), position) == columns
    assert columns_of(batch, branched(zero(HEADS[0]), WHOLE), position) == batch.width


@pytest.mark.parametrize(
    ("given", "gpu", "count"),
    [
        # Bound by how many start at the same layer, where a batch of them is no small one.
        ({"tokens": 100, "size": 1, "same": 8, "left": 20}, False, 8),
        # A small batch takes later ones with it: 51 times 10 tokens are not more than 512.
        ({"tokens": 10, "size": 1, "same": 2, "left": 200}, False, 51),
        # Bound by the tokens from which products run no faster: 103 times 10 are 1024 or more.
        ({"tokens": 10, "size": 1, "same": 200, "left": 200}, False, 103),
        ({"tokens": 10, "size": 1, "same": 200, "left": 200}, True, 200),
        # Bound by memory, but for one.
        ({"tokens": 10, "size": ROOM // 4, "same": 200, "left": 200}, False, 4),
        ({"tokens": 10, "size": 2 * ROOM, "same": 200, "left": 200}, False, 1),
        ({"tokens": 5000, "size": 1, "same": 200, "left": 200}, False, 1),
    ],
)
def test_runs_of_a_batch_by_hand(given, gpu, count):
    assert fit(**given, gpu=gpu) == count


@given(*[st.integers(1, 10**6)] * 2, *[st.integers(1, 300)] * 2, st.booleans())
def test_a_batch_has_a_run_and_room_for_all_of_its_runs(tokens, size, same, more, gpu):
    left = same + more
    count = fit(tokens, size, same, left, gpu=gpu)
    assert 1 <= count <= left
    assert count == 1 or count * size <= ROOM
    # A run more would bring nothing: without the last one tokens are not yet enough.
    assert count == 1 or (count - 1) * tokens < batch_sizes.TOKENS[gpu]


def test_passes_and_texts_by_hand():
    small = Shape(2, 4, 2, 3, 5, 7, 3, 11, 4)
    sizes = [gradients_at_once(small, n, n, gpu=False) for n in (1, 100, 1024, 5000)]
    assert sizes == [1024, 10, 1, 1]
    assert gradients_at_once(small, 100, 100, gpu=True) == 655
    # Of 20 layers, each 10**6 numbers a token and what it needs twice, none has room.
    large = Shape(20, 4, 2, 3, 5, 10**6, 3, 11, 4)
    assert gradients_at_once(large, 1, 1, gpu=False) == 1
    assert texts_at_once(10, small) == ROOM // (4 * small.layer_floats(10, 20))
    assert texts_at_once(1000, large) == 1


def sized(heads=HEADS):
    """Give a size, batches of prompts and runs that were put into one batch by it."""
    model = tiny_model("gpt2")
    size = BatchSize(LayerwiseModel(model).shape, "last", gpu=False)
    batches = list(study_of("gpt2").prompts().batches(99, model.pad, "cpu"))
    todo = branched(*map(zero, heads))
    assert size.of_runs(batches, todo) == len(heads)
    return size, batches, todo


LACKS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
]


@pytest.mark.parametrize("error", LACKS, ids=lambda error: type(error).__name__)
def test_a_lack_of_memory_halves_runs_and_then_prompts(error):
    size, batches, todo = sized()
    for runs in (4, 2, 1):
        assert size.smaller(error, batches) == batches
        assert size.of_runs(batches, todo) == size.of_texts(batches, todo, 3) == runs
    halves = size.smaller(error, batches)
    assert [list(batch.rows) for batch in halves] == [[0, 1, 2], [3, 4, 5]]
    assert {batch.width for batch in halves} == {8}
    quarters = size.smaller(error, halves)
    assert [list(batch.rows) for batch in quarters] == [[0, 1], [2], [3, 4], [5]]
    ones = size.smaller(error, quarters)
    assert [list(batch.rows) for batch in ones] == [[row] for row in range(6)]
    with pytest.raises(InputError, match="not enough memory for one run of one prompt") as raised:
        size.smaller(error, ones)
    assert raised.value.__cause__ is error


def test_an_error_that_is_no_lack_of_memory_is_raised_as_it_is():
    size, batches, todo = sized()
    error = RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError) as raised:
        size.smaller(error, batches)
    assert raised.value is error
    assert size.of_runs(batches, todo) == len(todo)


def test_texts_of_a_batch_have_room_for_their_keys_and_values(monkeypatch):
    size, batches, todo = sized()
    shape = LayerwiseModel(tiny_model("gpt2")).shape
    one = 6 * shape.decode_floats(1 + 3) * shape.size
    for room, count in ((8 * one, 8), (3 * one, 3), (one // 2, 1)):
        monkeypatch.setattr(batch_sizes, "ROOM", room)
        assert size.of_texts(batches, todo, 3) == count
