"""Logits a few rows at a time: what is kept of them is that of all at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import every_kind
from tiny import study_of, tiny_model

from emolib.engine import slices
from emolib.engine.layerwise_model import LayerwiseModel
from emolib.engine.slices import measured, reduced, rows_at_once


@given(st.integers(1, 7), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9))
def test_blocks_are_whole_prompts_or_some_runs_of_one(prompts, runs, made, wide):
    resid, numbers = torch.randn(prompts, runs, 3), list(range(10, 10 + prompts))
    unembed, seen = torch.randn(3, 4), []

    def measure(logits, rows):
        seen.append(logits.shape[0] * logits.shape[1])
        return torch.stack([logits.sum(-1), logits[..., 0] * torch.tensor(rows)[:, None]], -1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slices, "LOGITS", made * 4 * 4)
        patch.setattr(slices, "WIDE", wide * 4 * 8)
        found = measured(lambda part: part @ unembed, resid, numbers, 4, measure)
        assert rows_at_once(4, 4) == made
    assert max(seen) <= min(made, wide)
    logits = resid @ unembed
    expected = torch.stack(
        [logits.sum(-1), logits[..., 0] * torch.tensor(numbers, dtype=torch.float32)[:, None]], -1
    )
    torch.testing.assert_close(found, expected)


def test_without_a_measure_the_logits_are_kept():
    resid = torch.randn(2, 3, 4)
    assert torch.equal(measured(lambda part: 2 * part, resid, [0, 1], 4, None), 2 * resid)
    assert torch.equal(reduced(resid, [0, 1], lambda logits, rows: logits), resid)


@pytest.mark.parametrize("kind", ["gpt2", pytest.param("gemma2", marks=pytest.mark.slow)])
def test_scores_of_slices_are_those_of_all_logits(kind, monkeypatch):
    """One row at a time, clean logits never kept, no clean run either, whatever the position."""
    whole = study_of(kind)
    expected = [whole.run(*run) for run in every_kind(whole, "last")]
    monkeypatch.setattr(slices, "LOGITS", 1)
    monkeypatch.setattr(slices, "WIDE", 1)
    for module in ("runner.CLEAN_LOGITS", "clean_runs.KEPT", "layerwise.KEPT"):
        monkeypatch.setattr(f"emolib.engine.{module}", 0)
    study = study_of(kind)
    for run, theirs in zip(every_kind(study, "last"), expected, strict=True):
        ours = study.run(*run)
        for name in ("logit_diff", "log_odds", "prob_mass"):
            assert getattr(ours, name) == pytest.approx(getattr(theirs, name), abs=1e-9)
        assert ours.kl(study.run()) == pytest.approx(theirs.kl(whole.run()), abs=1e-9)
        assert ours.texts == theirs.texts and ours.fluency == pytest.approx(theirs.fluency)


def test_a_model_says_its_logits_in_slices(monkeypatch):
    model = LayerwiseModel(tiny_model("llama"))
    resid = torch.randn(5, 32)
    monkeypatch.setattr(slices, "LOGITS", 2 * 48 * 4)
    parts = list(model.logits_in_slices(resid))
    assert [len(part) for part in parts] == [2, 2, 1]
    torch.testing.assert_close(torch.cat(parts), model.logits(resid))
    some = torch.tensor([3, 7])
    torch.testing.assert_close(model.logits(resid, some), model.logits(resid)[:, some])
