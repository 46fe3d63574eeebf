"""What can be read from z of a head? Linear probes for the emotion, tested on other templates."""

import pytest


@pytest.mark.results("probes/{model}_{emotion}_{heads}.json")
def exp_head_probe(probe, head, record):
    """Tell emotion from neutral, and which emotion it is; beside what ablating the head does."""
    record(**probe(head))
