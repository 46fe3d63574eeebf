"""Are heads about one emotion, or about any? Ablate them and read the words of every emotion."""

import pytest


@pytest.mark.results("specificity/{model}_{emotion}_{heads}.json")
def exp_head_specificity(specificity, record):
    """Effects on the words of every emotion, and beside those on the other emotions' prompts."""
    record(**specificity.to_record())
