"""Plots of circuits: what is drawn of which rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from circuit_rows import points

from emolib.errors import InputError
from emolib.reporting import plots
from emolib.reporting.circuit_plots import faithfulness_curves
from emolib.results.records import Store


def lines(panel):
    return {line.get_label(): line for line in panel.get_lines()}


def test_a_panel_a_study_with_its_curves(figure):
    rows = points() + points((0, 0.2, 0.5, 1), model="two", emotion="fear")
    made = figure(faithfulness_curves, rows, None)
    assert len(made.axes) == 4
    first = lines(made.axes[0])
    assert {"ranking", "random", "circuit, held out"} < set(first) and "greedy" not in first
    np.testing.assert_allclose(first["ranking"].get_ydata(), [0, 0.7, 0.9, 1])
    np.testing.assert_allclose(first["ranking"].get_xdata(), np.log2([1, 2, 3, 6]))
    np.testing.assert_allclose(first["random"].get_ydata(), [0, 0.175, 0.225, 1])
    assert first["circuit, held out"].get_ydata() == [0.85]
    # Of both orders a band: of the interval, of the draws.
    assert len(made.axes[0].collections) == 2
    assert [text.get_text() for text in made.axes[0].get_xticklabels()] == ["0", "1", "2", "5"]
    np.testing.assert_allclose(lines(made.axes[3])["ranking"].get_ydata(), [0, 0.2, 0.5, 1])
    # Studies that were not run have empty panels.
    assert "ranking" not in lines(made.axes[1])
    assert made.axes[0].get_title() == "one" and made.axes[2].get_ylabel() == "fear"


def test_what_is_undefined_is_left_out(figure):
    rows = [replace(row, values=row.values | {"faithfulness": None, "held_out": None})
            for row in points()]  # fmt: skip
    made = figure(faithfulness_curves, rows, None)
    assert set(lines(made.axes[0])) & {"ranking", "random", "circuit, held out"} == set()


def test_they_are_drawn_from_the_store_for_an_emotion(tmp_path):
    store = Store(tmp_path)
    for emotion in ("joy", "fear"):
        rows = [replace(row, key=f"k {emotion}", context="c", time="2026-01-01T00:00:00")
                for row in points(emotion=emotion)]  # fmt: skip
        store.append(rows)
    store.close()
    (path,) = plots.draw(tmp_path)
    assert path == tmp_path / "plots/heads/faithfulness_curves.png"
    both = path.read_bytes()
    assert plots.draw(tmp_path, emotion="joy")[0].read_bytes() != both
    assert plots.draw(tmp_path)[0].read_bytes() == both
    with pytest.raises(InputError, match="no results to draw for 'envy'"):
        plots.draw(tmp_path, emotion="envy")
