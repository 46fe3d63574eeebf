"""Names of the project's own experiments: each is a function that there is."""

from __future__ import annotations

import ast
from pathlib import Path

from emolib.reporting import experiments

FOLDER = Path(__file__).parents[2] / "experiments"


def test_every_name_is_that_of_a_function_of_the_project():
    written = {
        node.name.removeprefix("exp_")
        for path in FOLDER.glob("exp_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef)
    }
    names = {value for name, value in vars(experiments).items() if name.isupper()}
    names -= {experiments.UNITS, experiments.KNOWN, experiments.CONTROLS, experiments.ORDERS}
    assert len(names) == 15 and names <= written
    # A function that is new there and not here would be told as the user's own.
    assert written == experiments.KNOWN
    of_units = {name for name in written if name.startswith(experiments.UNITS)}
    assert {experiments.UNITS_SCREENED, experiments.UNIT_LAYERS} < of_units
    # What is not of units the report knows by its own name: none would be among other experiments.
    assert written - of_units <= names


def test_what_is_said_to_be_run_is_a_file_that_there_is():
    """Sections without rows name ``experiments/exp_<name>.py``."""
    for name in (experiments.SCREENED, experiments.ABLATED, experiments.PATCHED,
                 experiments.STEERED, experiments.CIRCUIT, experiments.PATHS,
                 experiments.SPECIFIC, experiments.PROBED, experiments.ATTENTION,
                 experiments.CONTROLLED, experiments.UNITS_SCREENED,
                 "unit_ablation"):  # fmt: skip
        assert (FOLDER / f"exp_{name}.py").is_file(), name
