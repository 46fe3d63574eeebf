"""Two runs to put beside each other: made results that are whole, altered ones, and effects."""

from __future__ import annotations

import numpy as np

from emolib.reporting.run_pairs import Effect, Moved, Side
from emolib.results.selection import StudyKey
from emolib.stats.regression import judge

SIDES = Side("results/old", "results/old"), Side("results/new", "results/new")


def effect(values, head="L0H0", model="one", emotion="joy", metric="logit_diff"):
    parts = model, emotion, head
    return Effect("ablation", StudyKey(model, emotion), head, parts, metric, values, (), None)


def moved(before, now, head="L0H0", **named):
    """Give an effect of both, on eight pairs around these means."""
    old, new = ([mean + 0.01 * i for i in range(8)] for mean in (before, now))
    new[0] += 1e-3
    verdict = judge(old, new, gap=None, tests=1, replay=before == now)
    return Moved(effect(old, head, **named), effect(new, head, **named), verdict, verdict.why)


def whole(row):
    """Give a row with all in its provenance that a run tells."""
    told = row["provenance"]
    told |= {"device": "cpu", "dtype": "float32", "clean_gap": 10.0}
    told["model"] |= {"config": "c"}
    return row


def altered(change):
    """Give what makes whole rows and changes them."""
    return lambda row: change(whole(row))


def scaled(factor, heads="L1H0", noise=0.0, **told):
    rng = np.random.default_rng(1)

    def change(row):
        row["provenance"] |= told
        if row["dims"].get("heads") == heads and "logit_diff" in row["vectors"]:
            moved = np.asarray(row["vectors"]["logit_diff"]) * factor
            row["vectors"]["logit_diff"] = list(moved + rng.normal(0, noise, len(moved)))
        return row

    return altered(change)
