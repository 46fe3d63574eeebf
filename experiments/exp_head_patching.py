"""Do heads carry an emotion over? Patch their z from one side of the pairs to the other."""

import pytest

from emolib.interventions import patch
from emolib.patching import recovery, settings


@pytest.mark.results("patching/head_patching/{model}_{emotion}_{heads}.json")
def exp_head_patching(study, run, heads, profile, record):
    """Patch heads both ways at every position; text at the profile's own."""
    for direction, side, other, position in settings(study):
        edit = patch(heads, study.activations(other), every_step=profile.patch_generated)
        base, patched = run(on=side), run(edit, on=side, position=position)
        text = {}
        if position == profile.position:
            text = dict(
                sentiment=patched.sentiment - base.sentiment,
                keyword_rate=patched.keyword_rate - base.keyword_rate,
                **patched.keyword_changes(base),
                changed=patched.changed(base),
                fluency=patched.fluency - base.fluency,
                margin=patched.margin,
                prompt=base.prompts,
                clean_text=base.texts,
                patched_text=patched.texts,
            )
        record(
            direction=direction,
            position=position,
            logit_diff=patched.logit_diff - base.logit_diff,
            **recovery(study, patched, base),
            log_odds=patched.log_odds - base.log_odds,
            kl=patched.kl(base),
            **text,
        )
