"""Proofs: what holds of every type, and which of them a wrong row fails."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny import CONFIGS, profile, tiny_emotion, tiny_model

from emolib.engine import proofs
from emolib.engine.proofs import Proof, check, prove
from emolib.errors import InputError
from emolib.methods.direct_effects import check_sum
from emolib.methods.study import Study
from emolib.models import architectures
from emolib.models.architectures import ARCHITECTURES, register
from emolib.models.encoding import Prompts
from emolib.models.language_model import LanguageModel
from emolib.models.miniatures import miniature, tokenizer
from emolib.tracing import hook_count

NAMES = ["identity", "slice", "bias", "sum", "apart", "causal", "padding", "cache", "stream"]


@pytest.fixture
def by_hand():
    """Register rows, and take them back."""
    before = dict(architectures._GIVEN)
    yield register
    architectures._GIVEN.clear()
    architectures._GIVEN.update(before)


def failed(model):
    return [proof.name for proof in prove(model) if not proof.holds]


@pytest.mark.parametrize("kind", CONFIGS)
def test_they_hold_of_every_row_of_the_table(kind):
    model = tiny_model(kind)
    found = prove(model)
    assert [proof.name for proof in found] == NAMES
    # Falcon cuts its queries into groups.
    assert failed(model) == (["apart"] if kind == "falcon" else [])
    assert hook_count(model.hf) == 0 and not model.changes


@pytest.mark.parametrize("kind", sorted(set(ARCHITECTURES) - set(CONFIGS)))
def test_they_hold_of_the_other_rows(kind):
    # Real CodeGen cuts queries for the parts of a cluster; that z is of heads it says itself.
    assert set(failed(miniature(kind))) <= {"apart"}


def test_heads_that_are_not_apart_are_found_out():
    """DiffLlama's z is of half as many heads of twice the width."""
    model = miniature("diffllama")
    assert failed(model) == ["apart"]
    with pytest.raises(InputError) as error:
        check(model)
    told = str(error.value)
    assert told.startswith(
        "model tiny-diffllama: its heads are not proven to be where they were taken for, so "
        "nothing is computed: what a head is made of reaches its slice of z and no other (apart: "
    )
    assert 'diffllama: layers = "model.layers", attn_out = "self_attn.o_proj"' in told
    assert "give its row by hand" in told and "\n" not in told
    with pytest.raises(InputError, match="not proven"):
        Study(model, tiny_emotion(), profile())


def test_a_row_that_names_another_projection_fails():
    model = miniature("llama")
    wrong = copy.copy(model)
    wrong.arch = dataclasses.replace(model.arch, attn_out="self_attn.q_proj")
    assert {"apart", "stream"} <= set(failed(wrong))


def test_a_projection_that_nothing_runs_through_is_told():
    model = miniature("llama")
    projection = model.module(model.attn_out(0))
    model.hf.model.layers[0].self_attn.forward = _around(model.hf.model.layers[0].self_attn)
    found = {proof.name: proof for proof in prove(LanguageModel(model.hf, tokenizer(), "around"))}
    assert not found["identity"].holds and "never ran" in found["identity"].why
    assert projection.weight.shape == (32, 32)


def _around(attention):
    def forward(hidden_states, *args, **options):
        return torch.nn.functional.linear(hidden_states, attention.o_proj.weight), None

    return forward


def test_a_model_that_looks_ahead_is_told():
    model = miniature("llama")
    layer = model.hf.model.layers[0]
    own = type(layer.mlp).forward
    layer.mlp.forward = lambda x: own(layer.mlp, x) + x.mean(1, keepdim=True)
    assert "causal" in failed(LanguageModel(model.hf, tokenizer(), "ahead"))


def test_positions_that_count_padding_are_told():
    assert "padding" in failed(miniature("blenderbot"))


def test_a_row_by_hand_is_proven_and_a_right_one_passes(by_hand):
    by_hand(ARCHITECTURES["gpt2"])
    model = miniature("gpt2")
    check(model)
    assert model in proofs._KNOWN
    by_hand(dataclasses.replace(ARCHITECTURES["gpt2"], attn_out="attn.c_fc"))
    with pytest.raises(InputError, match=r"it has no transformer.h.0.attn.c_fc, where its row"):
        miniature("gpt2")


@pytest.mark.parametrize(
    "wrong",
    [{"attn_out": "self_attn.q_proj"}, {"mlp_out": "mlp.up_proj"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_wrong_row_by_hand_fails_by_name(by_hand, wrong):
    by_hand(dataclasses.replace(ARCHITECTURES["llama"], **wrong))
    # Square, so that the shapes alone tell nothing.
    model = miniature("llama", intermediate_size=32)
    with pytest.raises(InputError, match=r"not proven to be where .*\(stream: not shown"):
        check(model)


def test_rows_of_the_table_are_not_proven_again():
    model = miniature("gpt2")
    check(model)
    assert model not in proofs._KNOWN


def test_a_proof_that_could_not_be_tested_does_not_hold():
    assert not Proof("x", "y", None, 1.0).holds
    assert not Proof("x", "y", float("nan"), 1.0).holds
    assert Proof("x", "y", 0.0, 0.0).holds
    assert str(Proof("x", "y", None, 1.0, why="z")) == "x: not shown (limit 1), z"


def test_what_is_no_number_proves_nothing():
    """As padding gives in float64, where a type makes its masks itself."""
    model = LanguageModel(copy.deepcopy(tiny_model("gpt2").hf), tokenizer(), "broken")
    with torch.no_grad():
        model.hf.transformer.ln_f.weight[0] = torch.nan
    lacking = {"identity", "slice", "causal", "padding", "cache"}
    assert lacking <= set(failed(model))
    sides = [Prompts(("one",), ((1, 2, 3),))]
    assert check_sum(model, sides, (torch.tensor([2]), torch.tensor([3]))).reason
