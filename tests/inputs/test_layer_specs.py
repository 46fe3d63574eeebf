"""Layers by number and by depth."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.layer_specs import check_layer_spec, chosen_layers


@pytest.mark.parametrize(
    ("specs", "count", "layers"),
    [
        (["50%"], 4, [2]),
        (["50%"], 2, [1]),
        (["50%"], 1, [0]),
        (["50%"], 32, [16]),
        (["0%", "100%", "25%"], 12, [0, 3, 11]),
        (["33.3%"], 12, [4]),
        (["3", "0", "3 "], 4, [0, 3]),
        (["all", "1"], 3, [0, 1, 2]),
        (["100%", "3"], 4, [3]),
    ],
)
def test_what_specs_stand_for(specs, count, layers):
    assert chosen_layers(specs, count, model="a") == layers


@given(st.floats(0, 100).map(lambda share: f"{share:.2f}%"), st.integers(1, 200))
def test_any_model_has_any_depth(spec, count):
    (layer,) = chosen_layers([spec], count, model="a")
    assert 0 <= layer < count
    assert abs(layer - float(spec[:-1]) / 100 * (count - 1)) <= 0.5


@pytest.mark.parametrize(
    "spec", ["", "-1", "1.5", "50", "101%", "%", "middle", "1:2", "1e1%", "\uff11"]
)
def test_what_is_no_layer(spec):
    if spec == "50":
        message = "layer spec '50': a-model has 4 layers, counted from 0; name one of them, or a "
    else:
        message = f"layer spec {spec!r}: expected the number of a layer, from 0, a depth as 50% "
        with pytest.raises(InputError, match=f"^{re.escape(message)}"):
            check_layer_spec(spec)
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        chosen_layers([spec], 4, model="a-model")
