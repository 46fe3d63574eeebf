"""Paths between heads: closed forms on the planted model of two steps, and what has to add up."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_relay import MARKER, READER, relay_model, relayed
from tiny import FAMILIES, HEADS, profile, study_of, tiny_emotion, tiny_model, tokenizer

from emolib.engine import hooked
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.errors import InputError
from emolib.interventions import alone, edit, patch
from emolib.methods.paths import INPUTS, head_paths
from emolib.methods.study import Study
from emolib.models.language_model import LanguageModel
from emolib.models.miniatures import miniature
from emolib.planted import (
    EMOTION_WORDS,
    SCORE,
    STRENGTH,
    WIDTH,
    Plan,
    planted_emotion,
    planted_model,
)

CLOSE = 1e-6


def logit_diff(h):
    """LD(h) = (λh − νs) / σ(h)."""
    return (h - 1) / math.sqrt(1 + h**2 / WIDTH)


def effects(study, heads, **options):
    """Give what was found by sender, receiver and input."""
    found = head_paths(study, heads, **options)
    return {(one.sender, one.receiver, one.input): one for one in found}


@pytest.fixture(scope="module", params=EMOTION_WORDS)
def relay(request):
    return Study(relay_model(), planted_emotion(request.param), profile())


def test_the_relay_is_the_closed_form(relay):
    found = effects(relay, [READER, MARKER])
    before = [slot[0] for slot in relay.pairs.emotion.slots]
    marks = [2 * STRENGTH * math.exp(SCORE) / (math.exp(SCORE) + i) for i in before]
    normed = [mark / math.sqrt(1 + mark**2 / WIDTH) for mark in marks]
    # It finds nothing by keys alone, whose values are not there, and reads a tenth by values.
    alone = [logit_diff(mark / 10) + 1 for mark in normed]
    whole = [logit_diff(relayed(i)) + 1 for i in before]
    expected = {None: {"all": 0}, READER: {"q": 0, "k": 0, "v": alone, "all": whole}}
    for receiver, by_input in expected.items():
        for name, values in by_input.items():
            one = found[MARKER, receiver, name]
            assert one.effect == pytest.approx(values, abs=CLOSE), (receiver, name)
            assert one.total == pytest.approx(whole, abs=CLOSE)
    # The figures of the page, of a slot that is the fifth token.
    at = before.index(4)
    assert found[MARKER, READER, "v"].effect[at] == pytest.approx(0.526445, abs=CLOSE)
    assert found[MARKER, READER, "all"].effect[at] == pytest.approx(4.403975, abs=CLOSE)
    assert found[MARKER, READER, "all"].share == pytest.approx(1)
    # The reader is the last step, and all of it is direct.
    assert found[READER, None, "all"].effect == pytest.approx(whole, abs=CLOSE)
    assert len(found) == 2 + len(INPUTS)


def test_the_way_to_the_logits_comes_first_and_no_head_twice(relay):
    found = head_paths(relay, [READER, MARKER, READER])
    assert [(one.sender, one.receiver) for one in found] == [
        (MARKER, None), *[(MARKER, READER)] * 4, (READER, None)
    ]  # fmt: skip
    assert [one.input for one in found[1:5]] == list(INPUTS)
    assert head_paths(relay, []) == []


def linear(mlp):
    """Give a GPT-2 whose last layer and logits are linear in what its heads write.

    Args:
        mlp: Whether the MLP of the first layer is there, which no head is behind of.
    """
    hf = copy.deepcopy(tiny_model("gpt2", torch.float64).hf)
    hf.transformer.ln_f = torch.nn.Identity()
    with torch.no_grad():
        for block in hf.transformer.h[0 if not mlp else 1 :]:
            block.mlp.c_proj.weight.zero_()
    return LanguageModel(hf, tokenizer(), "linear")


@pytest.mark.parametrize("mlp", [True, False])
def test_paths_add_up_where_all_else_is_linear(mlp):
    """Total = direct + the paths by all inputs of every head of the next, last layer.

    What two inputs of one head do together is in its path; no head of the last layer reads
    another.
    """
    study = Study(linear(mlp), tiny_emotion(), profile())
    found = effects(study, HEADS)
    for sender in HEADS[:4]:
        parts = [found[sender, other, "all"].effect for other in (None, *HEADS[4:])]
        total = found[sender, None, "all"].total
        assert sum(parts) == pytest.approx(total, abs=1e-6)
        assert np.abs(total - parts[0]).max() > 0.01
    for sender in HEADS[4:]:
        one = found[sender, None, "all"]
        assert one.effect == pytest.approx(one.total, abs=1e-9)
        assert np.abs(one.total).max() > 0.01


@pytest.mark.parametrize("kind", FAMILIES)
def test_totals_are_those_of_patching_and_frozen_mlps_change_the_rest(kind):
    study = study_of(kind)
    found, frozen = (effects(study, HEADS[1:6], freeze_mlps=f) for f in (False, True))
    assert found.keys() == frozen.keys() and len(found) == 5 + 3 * 2 * len(INPUTS)
    before = study.run(on="neutral").logit_diff
    for path, one in found.items():
        edit = patch(one.sender, study.activations("emotion"))
        total = study.run(edit, on="neutral", position="all").logit_diff - before
        assert one.total == pytest.approx(total, abs=1e-9) == frozen[path].total
    moved = [np.abs(found[path].effect - frozen[path].effect).max() for path in found]
    assert max(moved) > 1e-3


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gpt_neox"])
def test_with_mlps_frozen_the_direct_way_adds_to_the_last_stream_alone(kind):
    study = study_of(kind)
    found = effects(study, HEADS[2:5], freeze_mlps=True)
    model, final = LayerwiseModel(study.model), study.streams_at_last("neutral")[-1]
    for head in HEADS[2:5]:
        emotion, neutral = (study.activations(s).of(head, 1)[:, 0] for s in ("emotion", "neutral"))
        moved = final + (emotion - neutral) @ study.model.w_o(head)
        expected = study.logit_diff(model.logits(moved)) - study.logit_diff(model.logits(final))
        assert found[head, None, "all"].effect == pytest.approx(expected.numpy(), abs=1e-6)
        assert expected.abs().max() > 1e-3


def test_in_the_relay_there_are_no_mlps_to_freeze(relay):
    found, frozen = (effects(relay, [READER, MARKER], freeze_mlps=f) for f in (False, True))
    for path, one in found.items():
        assert frozen[path].effect == pytest.approx(one.effect, abs=CLOSE)


def test_under_hooks_of_others_single_inputs_are_null_by_name(relay):
    known = effects(relay, [READER, MARKER])
    with relay.traced("resid:0", edit_output=lambda resid: resid + 0.0):
        found = effects(relay, [READER, MARKER])
    one = found[MARKER, READER, "q"]
    assert one.effect is None and one.share is None
    record = one.to_record()
    assert (
        record["effect"] is None
        and "planted-relay runs through its own modules" in (record["why_no_effect"])
    )
    for path in ((MARKER, READER, "all"), (MARKER, None, "all"), (READER, None, "all")):
        assert found[path].effect == pytest.approx(known[path].effect, abs=CLOSE)


def test_records(relay):
    found = effects(relay, [READER, MARKER])
    direct = found[MARKER, None, "all"].to_record()
    assert direct["sender"] == "L0H1" and direct["receiver"] == "logits"
    assert direct["share"] == pytest.approx(0, abs=CLOSE) and "why_no_effect" not in direct
    study = Study(planted_model(), planted_emotion(), profile())
    small = effects(study, [READER])[READER, None, "all"].to_record()
    assert small["share"] is None and "below 0.1" in small["why_no_share"]


def test_a_model_of_one_step_has_the_direct_path_alone():
    study = Study(planted_model(plan=Plan()), planted_emotion(), profile())
    for (sender, receiver, _), one in effects(study, HEADS).items():
        there = 5 if (str(sender), receiver) == ("L0H1", None) else 0
        assert one.effect == pytest.approx(there, abs=CLOSE), (sender, receiver)


def test_what_cannot_be_had_is_refused():
    study = study_of("gpt2")
    emotion = tiny_emotion()
    lists = tuple(tuple(pair.written(side) for pair in emotion.pairs)
                  for side in ("emotion", "neutral"))  # fmt: skip
    free = Study(study.model, replace(emotion, pairs=None, free=lists), profile())
    with pytest.raises(InputError, match="needs aligned pairs"):
        head_paths(free, HEADS)


@pytest.mark.parametrize("kind", ["apertus", "mixtral", "bamba"])
def test_of_every_way_all_three_inputs_are_had(kind):
    """Through its own modules, experts among them, or under hooks, layers without heads among them.

    Against the whole model, run with the receiver at what it reads and all else as it comes.
    """
    model = LanguageModel(miniature(kind).hf, tokenizer(), kind)
    study = Study(model, tiny_emotion(), profile())
    found = effects(study, model.heads)
    source, clean = study.activations("emotion"), study.activations("neutral")
    prompts, before = study.prompts("neutral"), study.run(on="neutral").logit_diff
    for (sender, receiver, name), one in found.items():
        if name != "all":
            assert one.effect is None and "q, k and v are not apart" in one.no_effect
            continue
        send = [alone(patch(sender, source), clean)]
        if receiver is not None:
            z = hooked.received(model, prompts, send, [receiver])[receiver]
            send = [edit(receiver, lambda _, z=z: z)]
        logits = hooked.last_logits(model, prompts, send, position="all")
        moved = study.logit_diff(logits)[0].numpy() - before
        assert one.effect == pytest.approx(moved, abs=1e-5)
    if kind == "mixtral":
        with pytest.raises(InputError, match="layer 0 of mixtral has no MLP units to hold"):
            head_paths(study, model.heads, freeze_mlps=True)
