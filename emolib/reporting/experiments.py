"""Names of the project's own experiments whose rows the report and the comparison know."""

SCREENED = "head_screening"
ABLATED = "head_ablation"
PATCHED = "head_patching"
ATTENTION = "attention_patterns"
CONTROLLED = "head_controls"
STEERED = "steering"
CIRCUIT = "head_circuit"
CIRCUITS = "circuit_summary"
IMPORTANCES = "head_importances"
PATHS = "head_paths"
SPECIFIC = "head_specificity"
PROBED = "head_probe"
UNITS = "unit_"
"""What the names of all experiments on units begin with."""
UNITS_SCREENED = "unit_screening"
UNIT_LAYERS = "unit_layers"
UNITS_CONFIRMED = "unit_confirmation"
CONTROLS = ("denoise", "same_layer", "shuffled_labels", "lexical")
"""What controls record of a head: its effect, and what should come to nothing beside it."""
ORDERS = ("ranking", "random", "greedy")
"""In which orders heads are added to a circuit, as its rows call them."""
KNOWN = frozenset({
    SCREENED, ABLATED, PATCHED, ATTENTION, CONTROLLED, STEERED, CIRCUIT, CIRCUITS, IMPORTANCES,
    PATHS, SPECIFIC, PROBED, UNITS_SCREENED, UNIT_LAYERS, UNITS_CONFIRMED, "unit_ablation",
    "unit_patching",
})  # fmt: skip
"""All of them; what is of none of these names is an experiment of the user's own."""
