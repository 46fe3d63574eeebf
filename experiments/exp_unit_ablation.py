"""What do MLP units do? Ablate and patch them, beside random units of their layers."""

import pytest


@pytest.mark.results("units/unit_ablation/{model}_{emotion}_{units}{variant}.json")
def exp_unit_ablation(run, units, matched_units, ablation, record):
    """Ablate units on emotion prompts: how far do the logits, the tone and the words move?"""
    clean, ablated, random = run(), run(ablation(units)), run(ablation(matched_units))
    record(
        logit_diff=ablated.logit_diff - clean.logit_diff,
        logit_diff_random=random.logit_diff - clean.logit_diff,
        log_odds=ablated.log_odds - clean.log_odds,
        kl=ablated.kl(clean),
        sentiment=ablated.sentiment - clean.sentiment,
        keyword_rate=ablated.keyword_rate - clean.keyword_rate,
        changed=ablated.changed(clean),
        **ablated.own_metrics(clean),
        random_units=str(matched_units),
        prompt=clean.prompts,
        clean_text=clean.texts,
        ablated_text=ablated.texts,
    )


@pytest.mark.results("units/unit_patching/{model}_{emotion}_{units}.json")
def exp_unit_patching(patched, units, matched_units, profile, record):
    """Patch units from one side of the pairs to the other, at the profile's position."""
    place = [profile.position]
    for case, random in zip(patched(units, place), patched(matched_units, place), strict=True):
        clean, run = case.clean, case.run
        more = {"why_no_recovery": case.no_recovery} if case.no_recovery else {}
        record(
            direction=case.direction,
            position=case.position,
            logit_diff=run.logit_diff - clean.logit_diff,
            logit_diff_random=random.run.logit_diff - clean.logit_diff,
            recovery=case.recovery,
            recovery_random=random.recovery,
            kl=run.kl(clean),
            sentiment=run.sentiment - clean.sentiment,
            keyword_rate=run.keyword_rate - clean.keyword_rate,
            changed=run.changed(clean),
            **run.own_metrics(clean),
            random_units=str(matched_units),
            prompt=clean.prompts,
            clean_text=clean.texts,
            patched_text=run.texts,
            **more,
        )
