"""Do heads carry an emotion over? Patch their z from one side of the pairs to the other."""

import pytest


@pytest.mark.effects("logit_diff", position="last")
@pytest.mark.results("patching/head_patching/{model}_{emotion}_{heads}.json")
def exp_head_patching(patched, heads, profile, record):
    """Patch heads both ways at every position; text at the profile's own."""
    for case in patched(heads):
        clean, run = case.clean, case.run
        more = {"why_no_recovery": case.no_recovery} if case.no_recovery else {}
        if case.position == profile.position:
            more |= dict(
                sentiment=run.sentiment - clean.sentiment,
                keyword_rate=run.keyword_rate - clean.keyword_rate,
                **run.keyword_changes(clean),
                changed=run.changed(clean),
                fluency=run.fluency - clean.fluency,
                margin=run.margin,
                **run.own_metrics(clean, of="texts"),
                prompt=clean.prompts,
                clean_text=clean.texts,
                patched_text=run.texts,
            )
        record(
            direction=case.direction,
            position=case.position,
            logit_diff=run.logit_diff - clean.logit_diff,
            recovery=case.recovery,
            log_odds=run.log_odds - clean.log_odds,
            kl=run.kl(clean),
            **run.own_metrics(clean, of="logits"),
            **more,
        )
