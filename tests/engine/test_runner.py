"""The one way to run a model: which path a run takes, and whose moment it belongs to."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import CONFIGS, HEADS, build, profile, study_of, tiny_emotion

from emolib.engine import runner
from emolib.engine.layerwise import Layerwise
from emolib.errors import InputError
from emolib.interventions import mean, resample, zero
from emolib.methods.attribution import attribution_scores
from emolib.methods.patching import patched
from emolib.methods.study import Study
from emolib.tracing import OwnTrace, hook_count

BLOCK = "transformer.h.0"


@pytest.fixture
def study():
    """Give a study of a model of its own, in float64."""
    model = build("gpt2", CONFIGS["gpt2"], torch.float64)
    return Study(model, tiny_emotion(), profile(max_new_tokens=4))


def steering(study, size=2.0, path=BLOCK, **options):
    """Give a trace that adds a direction to the residual stream, wherever it is asked to."""
    direction = torch.linspace(-size, size, 32, dtype=study.model.hf.dtype)
    return OwnTrace(study.model.hf, path, edit_output=lambda output: output + direction, **options)


def by_hand(study, side="neutral"):
    """Give logit_diff of the whole model as it is now, prompt by prompt."""
    model, values = study.model, []
    for ids in study.prompts(side).ids:
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([ids])).logits[0, -1]
        values.append(float(study.logit_diff(logits)))
    return np.array(values)


def near(values):
    return pytest.approx(values, abs=1e-9)


# a. A trace after the clean run was read


def test_a_run_inside_a_trace_is_not_the_clean_run_that_was_kept(study):
    clean = study.run(on="neutral").logit_diff
    with steering(study):
        steered, expected = study.run(on="neutral").logit_diff, by_hand(study)
    assert steered == near(expected)
    assert np.abs(steered - clean).min() > 1e-3


# b. A trace before anything was read


def test_what_a_run_inside_a_trace_says_is_nobody_else_s(study):
    with steering(study):
        steered = study.run(on="neutral").logit_diff
        ablated = study.run(zero(HEADS[0]), on="neutral").logit_diff
    expected = by_hand(study)
    assert study.run(on="neutral").logit_diff == near(expected)
    other = Study(study.model, tiny_emotion(), profile())
    alone = other.run(zero(HEADS[0]), on="neutral").logit_diff
    assert study.run(zero(HEADS[0]), on="neutral").logit_diff == near(alone)
    assert np.abs(steered - expected).min() > 1e-3 and np.abs(ablated - alone).min() > 1e-3


# c. What came before decides nothing


@pytest.mark.parametrize("position", ["last", "all"])
def test_history_does_not_decide_the_number(study, position):
    fresh = Study(study.model, tiny_emotion(), profile(position=position))
    with steering(fresh):
        alone = fresh.run(on="neutral").logit_diff
        expected = by_hand(fresh)
    after = Study(study.model, tiny_emotion(), profile(position=position))
    with OwnTrace(study.model.hf, BLOCK, edit_output=lambda output: output):
        after.run().logit_diff, after.run(on="neutral").logit_diff
    with steering(after):
        assert after.run(on="neutral").logit_diff == near(expected)
    assert alone == near(expected)
    with OwnTrace(study.model.hf, BLOCK, edit_output=lambda output: output):
        untouched = fresh.run(on="neutral").logit_diff
    assert untouched == near(by_hand(fresh))


# d. Asked for inside, run inside


def test_a_run_that_is_asked_for_inside_runs_inside(study):
    with OwnTrace(study.model.hf, BLOCK) as trace:
        run = study.run()
        assert trace.output.shape[0] == len(study.prompts())
    assert run.logit_diff == near(by_hand(study, "emotion"))


def test_texts_are_generated_under_the_trace_or_refused_by_name(study):
    clean = study.run().texts
    with steering(study, size=8.0):
        steered = study.run()
        texts = steered.texts
        unread = study.run()
    assert texts != clean and steered.texts == texts
    with pytest.raises(InputError, match=r"forward hook on transformer\.h\.0 is no longer on"):
        assert unread.texts
    assert unread.logit_diff == near(steered.logit_diff)


def test_generated_tokens_pass_the_trace_one_by_one(study):
    with OwnTrace(study.model.hf, BLOCK) as trace:
        assert study.run().continuations.ids
        assert trace.output.shape[1] == 1


def test_fluency_is_under_the_model_as_it_was_loaded(study):
    with steering(study, size=8.0):
        steered = study.run()
        ids = steered.continuations.ids
        inside = steered.fluency
    assert inside == pytest.approx(study.runner.log_probs("emotion", ids), abs=1e-9)


def test_a_clean_run_that_was_asked_for_outside_stays_clean_inside(study):
    """Others' hooks are lifted for it, so that what was read before does not matter."""
    outside, expected = study.run(on="neutral"), by_hand(study)
    with steering(study, retain_output=True) as trace:
        assert outside.logit_diff == near(expected)
        assert not hasattr(trace, "output")
        steered = study.run(on="neutral").logit_diff - outside.logit_diff
        kl = study.run(on="neutral").kl(outside)
    assert np.abs(steered).min() > 1e-3 and kl.min() > 1e-6


def test_activations_and_references_inside_are_those_of_the_trace(study):
    z = study.activations("emotion").z[1]
    with steering(study):
        assert (study.activations("emotion").z[1] - z).abs().max() > 1e-3
        moved = study.run(mean(HEADS[5], study.reference)).logit_diff
    assert torch.equal(study.activations("emotion").z[1], z)
    assert np.abs(study.run(mean(HEADS[5], study.reference)).logit_diff - moved).min() > 1e-4


def test_attribution_inside_is_that_of_the_trace_and_outside_as_before(study):
    before = attribution_scores(study)["atp_ig"]
    with steering(study):
        inside = attribution_scores(study)["atp_ig"]
    assert np.abs(inside - before).max() > 1e-4
    assert attribution_scores(study)["atp_ig"] == pytest.approx(before, abs=1e-12)


def test_companions_do_not_come_along_under_a_trace(study):
    asked = []
    study.runner.companions = lambda targets: asked.append(targets) or [targets]
    with steering(study):
        assert study.run(zero(HEADS[0])).logit_diff is not None
    assert not asked
    assert study.run(zero(HEADS[0])).logit_diff is not None
    assert asked


def test_a_sweep_on_its_way_is_not_pulled_through_a_trace(study):
    """What is asked for outside and comes with others goes on without the trace."""
    study.runner.companions = lambda targets: [*map(_set, HEADS)]
    alone = {head: Study(study.model, tiny_emotion(), profile()).run(zero(head)).logit_diff
             for head in (HEADS[6], HEADS[1])}  # fmt: skip
    first, later = study.run(zero(HEADS[6])), study.run(zero(HEADS[1]))
    assert first.logit_diff == near(alone[HEADS[6]])
    with steering(study):
        assert later.logit_diff == near(alone[HEADS[1]])


def _set(head):
    return zero(head).targets


def test_texts_of_a_run_are_read_before_the_next_is_asked_for(study):
    """A hook may do something else by then: one of a dose that is turned up."""
    dose = [0.0]
    step = torch.linspace(-1, 1, 32, dtype=torch.float64)
    with OwnTrace(study.model.hf, BLOCK, edit_output=lambda output: output + dose[0] * step):
        first = study.run()
        dose[0] = -8.0
        second = study.run()
        assert second.texts
        with pytest.raises(InputError, match="and another one since: read the texts of a run bef"):
            assert first.texts
    assert np.abs(first.logit_diff - second.logit_diff).min() > 1e-3


def test_draws_under_a_trace_share_nothing(study):
    """An edit of the last token must not reach the one before it."""

    def last(output):
        return torch.cat([output[:, :-1], 3 * output[:, -1:]], dim=1)

    with OwnTrace(study.model.hf, BLOCK, edit_output=last):
        drawn = study.run(resample(HEADS[5], study.reference, draws=2, seed=1)).logits
        alone = study.run(resample(HEADS[5], study.reference, draws=1, seed=1)).logits
    assert torch.allclose(drawn[0], alone[0], atol=1e-9)


def test_recovery_under_a_trace_is_of_the_gap_there(study):
    clean = [case.recovery for case in patched(study, HEADS[0], ["last"])]
    with OwnTrace(study.model.hf, "lm_head", edit_output=lambda output: 3 * output):
        tripled = [case.recovery for case in patched(study, HEADS[0], ["last"])]
    assert tripled == pytest.approx(clean, abs=1e-9)


def test_patching_that_was_begun_elsewhere_is_refused(study):
    cases = patched(study, HEADS[0], ["last"])
    next(cases)
    with steering(study), pytest.raises(InputError, match="what is on the model has changed"):
        next(cases)


def test_what_came_onto_the_model_is_named(study):
    with OwnTrace(study.model.hf, "transformer.h.1"):
        run = study.run()
        with (
            steering(study),
            pytest.raises(InputError, match=r"and forward hook .*h\.0 came on"),
        ):
            assert run.texts


def test_an_interrupted_sweep_goes_on_afresh(study):
    study.runner.companions = lambda targets: [*map(_set, HEADS)]
    expected = Study(study.model, tiny_emotion(), profile()).run(zero(HEADS[6])).logit_diff
    kept, ablated = study.runner._computed, study.run(zero(HEADS[6]))

    def interrupted(requests, **options):
        yield from list(kept(requests[:1], **options))[:0]
        raise KeyboardInterrupt

    study.runner._computed = interrupted
    with pytest.raises(KeyboardInterrupt):
        assert ablated.logit_diff is not None
    study.runner._computed = kept
    assert ablated.logit_diff == near(expected)


# Weights and forwards


def test_weights_edited_in_place_make_runs_of_their_own(study):
    clean = study.run(on="neutral").logit_diff
    weight = study.model.hf.transformer.h[0].mlp.c_proj.weight
    kept = weight.clone()
    with torch.no_grad():
        weight.mul_(3)
    assert study.run(on="neutral").logit_diff == near(by_hand(study))
    assert np.abs(study.run(on="neutral").logit_diff - clean).min() > 1e-3
    unread = study.run(zero(HEADS[0]), on="neutral")
    with torch.no_grad():
        weight.copy_(kept)
    assert study.run(on="neutral").logit_diff == near(clean)
    with pytest.raises(
        InputError, match=r"under weights of transformer\.h\.0\.mlp\.c_proj\.weight ed"
    ):
        assert unread.texts


def test_a_run_of_before_that_was_not_read_is_refused_under_edited_weights(study):
    before = study.run(on="neutral")
    with torch.no_grad():
        study.model.hf.transformer.h[0].mlp.c_proj.weight.mul_(3)
    with pytest.raises(InputError, match="as it was loaded, and cannot be had: weights of"):
        assert before.logit_diff is not None


def test_a_forward_of_one_s_own_is_run(study):
    clean = study.run(on="neutral").logit_diff
    mlp = study.model.hf.transformer.h[1].mlp
    mlp.forward = lambda x: 0 * x
    patched = study.run(on="neutral").logit_diff
    assert patched == near(by_hand(study)) and np.abs(patched - clean).min() > 1e-3
    del mlp.__dict__["forward"]
    assert study.run(on="neutral").logit_diff == near(clean)


# Paths


def test_it_is_asked_once_whether_layers_agree(monkeypatch):
    calls = []
    check = runner.support_of
    monkeypatch.setattr(runner, "support_of", lambda *of: calls.append(1) or check(*of))
    study = study_of("gpt2")
    study.run(zero(HEADS[0])).logit_diff, study.run(zero(HEADS[1])).logit_diff
    assert len(calls) == 1


def test_the_path_is_chosen_once(study, monkeypatch):
    study.run().logit_diff, study.run(zero(HEADS[0])).texts
    assert isinstance(study.runner._paths[False], Layerwise) and len(study.runner._paths) == 1
    assert hook_count(study.model.hf) == 0
