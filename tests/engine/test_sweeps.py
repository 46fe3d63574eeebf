"""Many runs as rows of one batch: each equal to the whole model run for it alone."""

from __future__ import annotations

import logging

import pytest
import torch
from tiny import CONFIGS, HEADS, clean_runs, profile, study_of, tiny_emotion, tiny_model

from emolib.engine import batch_sizes, decoding, hooked, sweeps
from emolib.engine.layers import Layer
from emolib.errors import InputError
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.units import Unit, UnitSet
from emolib.interventions import edit, mean, patch, resample, scale, zero
from emolib.methods.study import Study

POSITIONS = ("last", "slot", "after_slot", "all")
UNITS = UnitSet((Unit(0, 1), Unit(0, 7), Unit(1, 3)))
NEAR = 1e-4
"""How far logits may be apart in float32."""


def study_in(dtype, kind, **fields):
    return Study(tiny_model(kind, dtype), tiny_emotion(), profile(**fields))


def every_kind(study, position):
    """Give runs of every intervention, alone and together, on heads and units of both layers."""
    z, units = study.activations("neutral"), study.activations("neutral", UNITS)
    reference, alike = study.reference, position in ("last", "all")
    runs = [
        (),
        (zero(HEADS[0]),),
        (zero(HEADS[5]),),
        (zero(HeadSet((HEADS[2], HEADS[7]))),),
        (mean(HEADS[1], reference),),
        (patch(HEADS[6], z),),
        (patch(HEADS[3], z, every_step=True),),
        (zero(UNITS),),
        (patch(UNITS, units),),
        (scale(HEADS[4], 0.5), zero(UNITS)),
    ]
    return [*runs, (resample(HEADS[3], reference, draws=3),)] if alike else runs


def whole(study, run, position):
    return hooked.last_logits(study.model, study.prompts(), run, position=position)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("position", POSITIONS)
def test_rows_say_what_the_whole_model_says(kind, position):
    study = study_in(torch.float32, kind)
    runs = every_kind(study, position)
    found = dict(sweeps.sweep(clean_runs(study.model, study.prompts()), runs, position=position))
    assert found.keys() == set(range(len(runs)))
    for index, run in enumerate(runs):
        expected = whole(study, run, position)
        assert found[index].shape == expected.shape
        assert (found[index] - expected).abs().max() < NEAR
        # Each does something: equal to the clean run, a missed edit would pass.
        assert (
            not run
            or (found[index][0] - found[0][0]).abs().max() > 10 * NEAR
            or (position == "slot" and run[0].targets == HeadSet((HEADS[5],)))
            or _in_last_layer(run)
        )


def _in_last_layer(run):
    return all(target.layer == 1 for one in run for target in one.targets)


@pytest.mark.parametrize("kind", CONFIGS)
@pytest.mark.parametrize("position", POSITIONS)
def test_one_decode_of_all_gives_the_texts_of_each(kind, position):
    study = study_in(torch.float32, kind)
    runs, model, prompts = every_kind(study, position), study.model, study.prompts()
    settings = {"max_new_tokens": 6, "position": position}
    for index, found in decoding.generate(clean_runs(model, prompts, more=5), runs, **settings):
        expected = hooked.generate(model, prompts, runs[index], **settings)
        assert found.margins == pytest.approx(expected.margins, abs=NEAR)
        near = [margin < NEAR for margin in expected.margins]
        same = [a == b for a, b in zip(found.ids, expected.ids, strict=True)]
        assert all(alike or tie for alike, tie in zip(same, near, strict=True))


def test_an_edit_that_sees_whole_prompts_sees_what_it_would_alone():
    """Turning the prompt around mixes positions, and the padding in: of one width for all."""
    study = study_in(torch.float32, "gpt2")
    runs = [(edit(HEADS[1], lambda z: z.flip(1)),), (zero(HEADS[2]),)]
    for position in POSITIONS:
        for index, logits in sweeps.sweep(
            clean_runs(study.model, study.prompts()), runs, position=position
        ):
            assert (logits - whole(study, runs[index], position)).abs().max() < NEAR


@pytest.mark.parametrize("batch_size", [1, 4, None])
@pytest.mark.parametrize("room", [1, 2**29])
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


def test_shared_clean_runs_are_not_changed_by_the_runs_on_them():
    """Edits are made in place, on copies."""
    study = study_in(torch.float64, "gpt2")
    resumed = clean_runs(study.model, study.prompts(), more=3)
    runs = [(zero(head),) for head in HEADS]
    twice = [dict(sweeps.sweep(resumed, runs, position=p)) for p in ("all", "last", "all")]
    assert all(torch.equal(twice[0][index], twice[2][index]) for index in range(len(runs)))


def spied(monkeypatch):
    """Note the (rows, tokens) that each call of a layer computes keys for."""
    seen = []
    qkv = Layer.qkv

    def spy(self, normed, rotary, *, last=False):
        seen.append((normed.shape[0] * normed.shape[1], normed.shape[2]))
        return qkv(self, normed, rotary, last=last)

    monkeypatch.setattr(Layer, "qkv", spy)
    return seen


def test_nothing_is_computed_before_the_edit(monkeypatch):
    """Heads of layer 1 of 2 go through no attention again, those of layer 0 through one layer's."""
    study = study_in(torch.float32, "gpt2")
    resumed = clean_runs(study.model, study.prompts())
    seen = spied(monkeypatch)
    list(sweeps.sweep(resumed, [()]))
    clean, seen[:] = list(seen), []
    list(sweeps.sweep(resumed, [(zero(h),) for h in HEADS if h.layer == 1]))
    assert seen == []
    list(sweeps.sweep(resumed, [(zero(h),) for h in HEADS if h.layer == 0]))
    # Four heads side by side, at the last token alone.
    assert seen == [(4 * rows, 1) for rows, _ in clean[1::2]]


def test_one_run_alone_is_one_row(monkeypatch):
    study = study_in(torch.float32, "gpt2")
    clean, ablated = study.run(), study.run(zero(HEADS[0]))
    assert clean.logits is not None
    seen = spied(monkeypatch)
    assert len(ablated.logit_diff) == len(study.prompts())
    assert sum(rows for rows, _ in seen) == len(study.prompts())


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


@pytest.mark.parametrize("kind", CONFIGS)
def test_fluency_is_that_of_the_whole_model(kind):
    study = study_in(torch.float32, kind)
    ids = study.run(zero(HEADS[0])).continuations.ids
    expected = hooked.log_probs(study.model, study.prompts(), ids)
    assert study.runner.log_probs("emotion", ids) == pytest.approx(expected, abs=NEAR)


def test_an_empty_continuation_has_no_fluency():
    study = study_of("gpt2")
    with pytest.raises(ValueError, match="at least one token"):
        study.runner.log_probs("emotion", [()] * len(study.prompts()))
