"""Plots of paths: cells and lines are what the rows say, and from where the rows come."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from made import rows_of
from matplotlib.text import Annotation
from test_report_paths import records

from emolib.errors import InputError
from emolib.reporting import plots
from emolib.reporting.path_plots import path_graph, path_heatmap
from emolib.results.item_files import write_output
from emolib.results.records import Store


def rows(**dims):
    return rows_of("head_paths", *records(), **dims)


def results(folder, **dims):
    """Give a folder with the rows of paths and their file."""
    named = {"model": "one", "emotion": "joy"} | dims
    path = f"paths/{named['model']}_{named['emotion']}.json"
    made = [replace(row, output={"path": path, "shape": "item"}) for row in rows(**dims)]
    store = Store(folder)
    store.append(made)
    store.close()
    write_output(folder, made, ())
    return folder


def test_the_map_has_every_path_by_all_inputs_and_the_totals(figure):
    drawn = figure(path_heatmap, rows(), "x.png")
    panel = drawn.axes[0]
    table = panel.images[0].get_array().filled(np.nan)
    # Of heads that nothing goes to there is no column.
    expected = [[3.035, 0.535, 4.035], [-0.465, 1.035, 1.035], [np.nan, 5.035, 5.035]]
    assert np.allclose(table, expected, equal_nan=True)
    ticks = [label.get_text() for label in panel.get_xticklabels()]
    assert ticks == ["L1H2", "logits", "total"]
    low, high = panel.images[0].get_clim()
    assert -low == high == pytest.approx(5.035)


def test_the_graph_has_a_line_a_path_as_wide_as_it_is_strong(figure):
    drawn = figure(path_graph, rows(), "x.png")
    (panel,) = drawn.axes
    lines = [text for text in panel.texts if isinstance(text, Annotation)]
    widths = sorted(line.arrow_patch.get_linewidth() for line in lines)
    effects = sorted([3.035, 0.535, 0.465, 1.035, 5.035])
    assert widths == pytest.approx([4 * effect / 5.035 for effect in effects])
    lowering = [line for line in lines if line.arrow_patch.get_edgecolor()[0] > 0.5]
    assert len(lowering) == 1
    nodes = {text.get_text() for text in panel.texts} - {""}
    assert nodes == {"L0H1", "L0H3", "L1H2", "logits"}


def test_studies_that_were_not_run_leave_their_panels_empty(figure):
    some = [*rows(), *rows(model="two", emotion="fear")]
    for plot in (path_heatmap, path_graph):
        drawn = figure(plot, some, "x.png")
        assert sum(bool(panel.images or panel.texts) for panel in drawn.axes) >= 2


def test_they_are_drawn_with_the_others_from_the_store_or_from_files(tmp_path):
    made = results(tmp_path / "made")
    results(made, emotion="fear")
    stored = {path.name: path.read_bytes() for path in plots.draw(made)}
    assert stored.keys() == {"path_heatmap.png", "path_graph.png"}
    one = {path.name: path.read_bytes() for path in plots.draw(made, emotion="joy")}
    assert one.keys() == stored.keys() and one["path_graph.png"] != stored["path_graph.png"]
    shutil.rmtree(made / "records")
    for index in made.glob("*.sqlite*"):
        index.unlink()
    assert {path.name: path.read_bytes() for path in plots.draw(made)} == stored
    (made / "paths/one_joy.json").write_text(json.dumps({"experiment": "x"}), "utf-8")
    with pytest.raises(InputError, match="not a file of exp_head_paths"):
        plots.draw(made)


def test_what_others_write_there_is_no_path(tmp_path):
    made = [replace(row, labels={}, output={"path": "paths/own.json", "shape": "item"})
            for row in rows()]  # fmt: skip
    store = Store(tmp_path)
    store.append(made)
    store.close()
    write_output(tmp_path, made, ())
    with pytest.raises(InputError, match="no results to draw"):
        plots.draw(tmp_path)
