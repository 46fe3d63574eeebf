"""Both ways through a model do all that the runner asks for, with the same arguments."""

from __future__ import annotations

import inspect

import pytest

from emolib.engine.contracts import Measuring, Path, Reduced
from emolib.engine.layerwise import Layerwise
from emolib.engine.whole import Whole
from emolib.methods import scores


def public(owner):
    return {name: value for name, value in vars(owner).items() if not name.startswith("_")}


@pytest.mark.parametrize(
    ("contract", "kept"),
    [(Path, Layerwise), (Path, Whole), (Measuring, scores.Measuring), (Reduced, scores.Scores)],
)
def test_what_is_promised_is_there(contract, kept):
    promised = public(contract)
    assert promised
    for name, what in promised.items():
        found = inspect.getattr_static(kept, name)
        if inspect.isfunction(what):
            expected, got = (list(inspect.signature(one).parameters) for one in (what, found))
            assert got == expected, name
