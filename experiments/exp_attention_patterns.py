"""Where do heads look from the last token? On emotion prompts beside their neutral pairs."""

import pytest


@pytest.mark.results("attention/{model}_{emotion}_{heads}.json")
def exp_attention_patterns(attention, head, record):
    """Attention to the slot, the start, the token before and itself, and over every token."""
    record(**attention.of(head))
