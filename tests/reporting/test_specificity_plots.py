"""The matrices of the strongest heads: prompts of each emotion by words of each."""

from __future__ import annotations

import numpy as np
import pytest
from made import around, rows_of

from emolib.reporting.specificity_plots import specificity_matrices


def rows(effects, model="one", emotions=("joy", "fear")):
    """Give rows of heads by E[a, b], in the order of the emotions."""
    return [
        row
        for heads, matrix in effects.items()
        for emotion, line in zip(emotions, matrix, strict=True)
        for row in rows_of(
            "head_specificity",
            {"logit_diff": around(line[emotions.index(emotion)]),
             **{f"effect_{b}": value for b, value in zip(emotions, line, strict=True)}},
            model=model,
            emotion=emotion,
            heads=heads,
        )
    ]  # fmt: skip


def test_a_panel_a_head_and_a_cell_for_prompts_and_words(tmp_path, figure):
    of = {"L0H0": [[-1.0, 0.5], [0.0, -2.0]], "L1H1": [[-5.0, -0.2], [-0.3, -4.0]]}
    some = rows(of) + rows({"L0H0": [[1.0, 0.0], [0.0, 1.0]]}, "two")
    drawn = figure(specificity_matrices, some, tmp_path / "x.png", shown=3)
    # A place is left for no more heads than a model has.
    first, second, other, empty, _ = drawn.axes
    assert other.images[0].get_clim() == (-5.0, 5.0)
    assert (first.get_title(), second.get_title()) == ("L1H1", "L0H0")
    assert np.array(first.images[0].get_array()).tolist() == of["L1H1"]
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-5.0, 5.0)
    assert [label.get_text() for label in first.get_xticklabels()] == ["joy", "fear"]
    assert [label.get_text() for label in first.get_yticklabels()] == ["joy", "fear"]
    assert [text.get_text() for text in first.texts] == ["−5.0", "−0.2", "−0.3", "−4.0"]
    assert not empty.axison and not empty.images


def test_emotions_without_targets_of_one_token_have_no_column(tmp_path, figure):
    some = rows({"L0H0": [[-1.0, 0.5], [0.0, -2.0]]})
    for row in some:
        del row.values["effect_fear"]
    drawn = figure(specificity_matrices, some, tmp_path / "x.png", shown=1)
    assert np.array(drawn.axes[0].images[0].get_array()).tolist() == [[-1.0], [0.0]]


def test_a_png_that_repeats_and_differs_with_its_effects(tmp_path):
    out = tmp_path / "out.png"
    some = rows({"L0H0": [[-1.0, 0.5], [0.0, -2.0]]}) + rows({"L0H1": [[0.0, 0.0]] * 2}, "two")
    first = specificity_matrices(some, out).read_bytes()
    assert first.startswith(b"\x89PNG") and specificity_matrices(some, out).read_bytes() == first
    other = rows({"L0H0": [[-1.0, 0.9], [0.0, -2.0]]}) + some[2:]
    assert specificity_matrices(other, out).read_bytes() != first


@pytest.mark.parametrize("emotions", [("joy",), ("joy", "fear", "envy")])
def test_as_many_emotions_as_there_are(tmp_path, figure, emotions):
    size = len(emotions)
    matrix = np.arange(size * size).reshape(size, size).astype(float).tolist()
    drawn = figure(specificity_matrices, rows({"L0H0": matrix}, emotions=emotions),
                   tmp_path / "x.png")  # fmt: skip
    assert np.array(drawn.axes[0].images[0].get_array()).tolist() == matrix
