"""Does adding an emotion's direction bring the emotion about, and at what price? In doses."""

import pytest


@pytest.mark.results("steering/{model}_{emotion}.json")
def exp_steering(steering, record):
    """Add what separates the sides on half of the templates to prompts of the other half."""
    for dose in steering:
        clean, run = dose.clean, dose.run
        record(
            study=steering.study,
            **dose.named,
            logit_diff=run.logit_diff - clean.logit_diff,
            log_odds=run.log_odds - clean.log_odds,
            kl=run.kl(clean),
            sentiment=run.sentiment - clean.sentiment,
            keyword_rate=run.keyword_rate - clean.keyword_rate,
            fluency=run.fluency - clean.fluency,
            distinct_2=run.distinct_2 - clean.distinct_2,
            changed=run.changed(clean),
            **dose.size,
            prompt=clean.prompts,
            clean_text=clean.texts,
            steered_text=run.texts,
        )
