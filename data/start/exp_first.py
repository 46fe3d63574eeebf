"""A first experiment: what becomes of an emotion when a head is silenced?

An experiment is a function called `exp_…`. What it asks for by name it is given: `run` runs the
model on the emotion's prompts, `head` is one attention head, `ablation` makes an edit of it. pytest
makes an item of every model, emotion and head of the profile, here `data/profiles/mine.toml`:

    pytest --profile mine                     all of them
    pytest --profile mine -k L0H2             one head
    pytest --profile mine --plan              what would run, and what that costs
"""


def exp_silence(run, head, ablation, record):
    """Silence one head: how far does the next word move, and what is written instead?"""
    clean = run()  # the model as it is
    silenced = run(ablation(head))  # the same prompts, without what this head writes

    # A value a prompt: the table shows the mean, its 95 % interval and d_z.
    # logit_diff is how much likelier the words of the emotion are than neutral ones, in logits:
    # less than 0 here means that the head was for the emotion.
    record(
        logit_diff=silenced.logit_diff - clean.logit_diff,
        sentiment=silenced.sentiment - clean.sentiment,
        clean_text=clean.texts,
        silenced_text=silenced.texts,
    )
