"""Which heads carry an emotion? Every screening score of every head."""

import pytest


@pytest.mark.results("alignment/head_scores_{model}.json", shape="scores")
def exp_head_screening(screening, head, record):
    """Score a head: where it looks, what it writes and what that moves."""
    record(**screening.of(head))
