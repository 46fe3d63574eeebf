"""Would the method find something where there is nothing? The controls of the strongest heads."""

import pytest


@pytest.mark.results("controls/{model}_{emotion}.json")
def exp_head_controls(controls, record):
    """Patch the top heads, random heads of their layers, under shuffled labels, with rare words."""
    for controlled in controls:
        record(**controlled.to_record())
