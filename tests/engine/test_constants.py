"""A metric at constants in place of z, and its gradient: by layers as by hooks, and by hand."""

from __future__ import annotations

import pytest
import torch
from tiny import CONFIGS, HEADS, study_of

from emolib.engine import batch_sizes
from emolib.engine.constants import Constant
from emolib.engine.whole import Whole
from emolib.inputs.heads import Head, HeadSet
from emolib.inputs.targets import target_set
from emolib.inputs.units import Unit
from emolib.interventions import Intervention
from emolib.tracing import hook_count

SETS = (
    HeadSet((Head(0, 1),)),
    HeadSet((Head(1, 3),)),
    HeadSet((Head(0, 0), Head(0, 2), Head(1, 1))),
    target_set([Unit(0, 3), Unit(1, 5), Unit(1, 0)]),
)


def whole(kind, **fields):
    study = study_of(kind, **fields)
    study.runner._paths[False] = Whole(
        study.model, study.prompts, batch_size=None, max_new_tokens=4, share=False
    )
    return study


def constants(study, count=6):
    generator = torch.Generator().manual_seed(0)
    d_head = study.model.w_o(Head(0, 0)).shape[0]
    widths = (d_head, d_head, 3 * d_head, 3)
    drawn = [torch.randn(count, width, generator=generator).double() for width in widths]
    return [Constant(targets, values) for targets, values in zip(SETS, drawn, strict=True)]


def slopes(study, runs):
    return study.runner.constant_slopes("emotion", study.profile.position, study.objective, runs)


@pytest.mark.parametrize("kind", ["gpt2", "gpt_neox", "falcon", "opt", "olmo2", "gemma2"])
@pytest.mark.parametrize("position", ["last", "slot", "all"])
def test_layers_say_what_the_whole_model_says(kind, position):
    study, other = study_of(kind, position=position), whole(kind, position=position)
    runs = constants(study)
    both = zip(runs, slopes(study, runs), slopes(other, runs), strict=True)
    for given, (values, slope), (expected, other_slope) in both:
        assert torch.allclose(values, expected, atol=1e-6)
        assert torch.allclose(slope, other_slope, rtol=1e-5, atol=1e-6 * other_slope.abs().max())
        # Before the last token the last layer's heads move nothing.
        deep = position == "slot" and min(part.layer for part in given.targets) == 1
        assert bool(slope.any()) != deep
    assert hook_count(study.model.hf) == 0
    assert set(CONFIGS) >= {kind}


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2"])
@pytest.mark.parametrize("position", ["last", "all"])
def test_the_model_s_own_layer_modules_say_the_same(kind, position):
    study, other = study_of(kind, position=position), whole(kind, position=position)
    study.runner._way = "own modules"
    runs = constants(study)
    for found, expected in zip(slopes(study, runs), slopes(other, runs), strict=True):
        for one, beside in zip(found, expected, strict=True):
            assert torch.allclose(one, beside, rtol=1e-5, atol=1e-6)
    assert not study.runner._kept()._model.apart


@pytest.mark.parametrize("position", ["last", "all"])
def test_the_metric_is_that_of_a_run_with_the_constant_put_in(position):
    """As an edit of one's own does it; the gradient as differences of such runs have it."""
    study = study_of("gpt2", position=position)
    runs = constants(study)[:3]

    def run(targets, values):
        parts = dict(zip(targets, values.split(8, dim=1), strict=True))

        def edit(z, site):
            rows = list(site.batch.rows)
            return parts[site.target][rows].to(z)[:, None].expand_as(z)

        found = study.run(Intervention("put", targets, edit, tokenwise=True)).logit_diff
        return torch.from_numpy(found)

    for given, (values, slope) in zip(runs, slopes(study, runs), strict=True):
        assert torch.allclose(values, run(given.targets, given.values), atol=1e-9)
        step = torch.randn(given.values.shape, generator=torch.Generator().manual_seed(1)).double()
        ahead, behind = (run(given.targets, given.values + s * 1e-5 * step) for s in (1, -1))
        assert torch.allclose((slope * step).sum(1), (ahead - behind) / 2e-5, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 10**6])
def test_runs_may_share_a_batch_or_not(monkeypatch, tokens):
    study = study_of("gpt2", position="all")
    runs = constants(study)
    expected = slopes(study, runs)
    monkeypatch.setattr(batch_sizes, "TOKENS", (tokens, tokens))
    for found, others in zip(slopes(study_of("gpt2", position="all"), runs), expected, strict=True):
        for one, other in zip(found, others, strict=True):
            assert torch.allclose(one, other, atol=1e-9)


def test_other_heads_run_on():
    """Held at their clean z they would hide what comes after: here they answer."""
    study = study_of("gpt2")
    clean = study.activations("emotion")
    first = HeadSet((HEADS[0],))
    values = torch.zeros(6, clean.z[0].shape[-1]).double()
    [(found, _)] = slopes(study, [Constant(first, values)])
    run = study.run(study.ablation("zero")(first)).logit_diff
    assert torch.allclose(found, torch.from_numpy(run), atol=1e-9)
