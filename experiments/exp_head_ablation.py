"""What do heads do? Ablate them and read logits and text."""

import pytest


@pytest.mark.effects("logit_diff")
@pytest.mark.results("patching/head_ablation/{model}_{emotion}_{heads}{variant}.json")
def exp_head_ablation(run, heads, ablation, self_repair, record):
    """Ablate heads on emotion prompts: how far do the logits, the tone and the words move?"""
    clean, ablated = run(), run(ablation(heads))
    record(
        logit_diff=ablated.logit_diff - clean.logit_diff,
        log_odds=ablated.log_odds - clean.log_odds,
        kl=ablated.kl(clean),
        **self_repair(ablation(heads)).to_record(),
        sentiment=ablated.sentiment - clean.sentiment,
        keyword_rate=ablated.keyword_rate - clean.keyword_rate,
        **ablated.keyword_changes(clean),
        negated_rate=ablated.negated_rate - clean.negated_rate,
        changed=ablated.changed(clean),
        fluency=ablated.fluency - clean.fluency,
        distinct_2=ablated.distinct_2 - clean.distinct_2,
        margin=ablated.margin,
        **ablated.own_metrics(clean),
        prompt=clean.prompts,
        clean_text=clean.texts,
        ablated_text=ablated.texts,
    )
