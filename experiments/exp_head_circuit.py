"""How few heads carry an emotion? Sets of heads, each with all other heads taken away."""

import pytest


@pytest.mark.results("circuits/{model}_{emotion}.json")
def exp_head_circuit(circuit, record):
    """How much is left with the top k heads alone, with as many random ones, with the circuit?"""
    for point in circuit.points():
        record(**point)


@pytest.mark.results("circuits/summary_{model}_{emotion}.json")
def exp_circuit_summary(circuit, record):
    """The circuit, tried on templates that did not choose it, and the areas of the curves."""
    for row in circuit.summary():
        record(**row)


@pytest.mark.results("circuits/importances_{model}_{emotion}.json", shape="importances")
def exp_head_importances(circuit, record):
    """The scores that rank the heads, in the form of circuit benchmarks."""
    for row in circuit.importances():
        record(**row)
