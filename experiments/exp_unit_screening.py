"""Which MLP units carry an emotion? Scores of the strongest, layer by layer, and confirmed."""

import pytest


@pytest.mark.results("units/unit_scores_{model}_{emotion}.json")
def exp_unit_screening(unit_screening, record):
    """The 50 strongest units by |atp|, beside relp; patched and ablated alone, and held out."""
    for row in unit_screening.top:
        record(**row)


@pytest.mark.results("units/unit_layers_{model}_{emotion}.json")
def exp_unit_layers(unit_screening, record):
    """All units of each layer in summary: where in the model they matter, and how many."""
    for row in unit_screening.layers:
        record(**row)


@pytest.mark.results("units/unit_confirmation_{model}_{emotion}.json")
def exp_unit_confirmation(unit_screening, record):
    """The top units of half the templates, ablated together on the other half, beside random."""
    for row in unit_screening.confirmation:
        record(**row)
