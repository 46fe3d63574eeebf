"""Which way does it go? From the strongest heads through the inputs of later ones to the logits."""

import pytest


@pytest.mark.results("paths/{model}_{emotion}.json")
def exp_head_paths(paths, record):
    """Path patching between the top heads: direct effects, and by q, k, v and all three."""
    for path in paths():
        record(**path.to_record())
