"""What is verified of types and models, and the page of it."""

from __future__ import annotations

import pytest
from tiny import tiny_model

from emolib.engine import support
from emolib.errors import InputError
from emolib.methods import verification
from emolib.methods.verification import Verified, page, path_of, verify, verify_types, write_page

TYPES = ("gpt2", "mixtral", "qwen3_5_text", "diffllama", "bert", "blt")


@pytest.fixture(scope="module")
def found():
    return {one.name: one for one in verify_types(TYPES)}


def test_every_type_is_told_how_it_runs(found):
    assert {name: one.runs for name, one in found.items()} == {
        "gpt2": "own layers",
        "mixtral": "own modules",
        "qwen3_5_text": "hooks",
        "diffllama": "refused",
        "bert": "refused",
        "blt": "not built",
    }


def test_heads_units_and_direct_effects_are_told(found):
    assert (found["gpt2"].heads, found["gpt2"].units) == ("all layers", "128 a layer")
    assert found["gpt2"].dla.startswith("adds up (")
    assert found["mixtral"].units == "none: layer 0 of it is a mixture of experts"
    assert found["qwen3_5_text"].heads == "layers 1"


def test_what_is_refused_is_told_why(found):
    assert found["diffllama"].reason.startswith("apart: 0.")
    assert found["bert"].reason.startswith("bert: no projection of bert.encoder.layer puts out")
    assert "weights at its smallest" in found["blt"].reason


def test_a_line_has_what_held_with_the_largest_deviation(found):
    cells = found["gpt2"].cells()
    assert len(cells) == len(verification.HEADERS)
    assert cells[2] == "identity, slice, bias, sum, apart, causal, padding, cache, stream"
    assert 0 < float(cells[3]) < 1e-5


def test_the_page_has_every_type_once(found, tmp_path):
    written = write_page(tmp_path / "docs/models.md", list(found.values()))
    text = written.read_text("utf-8")
    assert text == page(list(found.values()))
    assert "## Supported (3)" in text and "## Refused (2)" in text
    for name in TYPES:
        assert text.count(f"\n| {name} |") == 1


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^--write .*; name another file$"):
        write_page(tmp_path / "file/models.md", [])


def test_a_model_whose_layers_are_far_from_its_own_runs_whole(monkeypatch):
    monkeypatch.setattr(support, "disagreement", lambda *_, apart=True: 0.5)
    with pytest.warns(UserWarning, match="report the model's config.json"):
        runs, why = path_of(tiny_model("gpt2"))
    assert runs == "hooks" and why == (
        "layers taken apart are 0.5 (relative) from transformers', over 0.0001; its modules run "
        "one by one are 0.5 (relative) from all at once"
    )


def test_a_model_with_its_own_weights_is_verified(load):
    one = verify(load("tiny-neo"))
    assert one.supported and one.units == "256 a layer"
    assert one.row.startswith('layers = "transformer.h"')


def test_a_type_that_is_refused_has_no_figures():
    assert Verified("x", "refused", reason="y").cells() == ["x", "refused", "y", "", "", "", ""]
