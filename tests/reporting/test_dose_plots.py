"""The plot of doses: lines by place and direction, panels by emotion, metric and model."""

from __future__ import annotations

import pytest
from made import make_results, rows_of

from emolib.reporting import plots
from emolib.reporting.dose_plots import dose_response
from emolib.results.records import Store

ALPHAS = (-1.0, 0.0, 1.0)


def doses(place="resid:1", direction="emotion", on="neutral", slope=2.0, cost=-0.5, **dims):
    """Give rows of doses, each of four prompts around a line."""
    records = [
        {"place": place, "direction": direction, "on": on, "alpha": f"{alpha:g}",
         "logit_diff": [slope * alpha + 0.1 * i for i in range(8)],
         "fluency": [cost * abs(alpha) + 0.1 * i for i in range(8)]}
        for alpha in ALPHAS
    ]  # fmt: skip
    return rows_of("steering", *records, **dims)


def test_a_line_a_place_and_direction_above_and_what_it_costs_below(tmp_path, figure):
    rows = doses() + doses(direction="random", slope=0.1) + doses(on="emotion", slope=99)
    above, below = figure(dose_response, rows, tmp_path / "x.png").axes
    lines = [line for line in above.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in lines] == [
        pytest.approx([-1.65, 0.35, 2.35]), pytest.approx([0.25, 0.35, 0.45]),
    ]  # fmt: skip
    assert [line.get_linestyle() for line in lines] == ["-", ":"]
    assert list(lines[0].get_xdata()) == list(ALPHAS)
    fluency = next(line for line in below.lines if len(line.get_xdata()) == 3)
    assert list(fluency.get_ydata()) == pytest.approx([-0.15, 0.35, -0.15])
    assert len(above.collections) == 1, "a band around the emotion direction alone"
    assert above.get_ylabel() == "joy\nΔ logit_diff" and below.get_ylabel() == "joy\nΔ fluency"
    assert above.get_title() == "one" and below.get_xlabel() == "α"


def test_models_are_columns_and_emotions_two_rows_each(tmp_path, figure):
    rows = [row for model in ("one", "two") for emotion in ("joy", "fear")
            for row in doses(model=model, emotion=emotion)]  # fmt: skip
    drawn = figure(dose_response, rows, tmp_path / "x.png")
    assert len(drawn.axes) == 2 * 2 * 2
    (legend,) = drawn.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "resid:1", "emotion direction", "random direction",
    ]  # fmt: skip


def test_the_heads_of_every_study_are_one_line(tmp_path, figure):
    rows = doses("L0H1+L2H0") + doses("L1H3", emotion="fear") + doses(emotion="fear")
    drawn = figure(dose_response, rows, tmp_path / "x.png")
    (legend,) = drawn.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["heads", "resid:1", "emotion direction", "random direction"]
    first, _, second, _ = drawn.axes
    colours = [{line.get_color() for line in panel.lines if len(line.get_xdata()) == 3}
               for panel in (first, second)]  # fmt: skip
    assert len(colours[0] & colours[1]) == 1 and len(colours[0] | colours[1]) == 2


def test_of_many_places_those_that_move_the_most_are_drawn(tmp_path, figure):
    rows = [row for i in range(9) for row in doses(f"resid:{i}", slope=float((i * 5) % 9))]
    above, _ = figure(dose_response, rows, tmp_path / "x.png").axes
    lines = [line for line in above.lines if len(line.get_xdata()) == 3]
    steep = sorted(line.get_ydata()[2] - line.get_ydata()[1] for line in lines)
    assert steep == pytest.approx([3, 4, 5, 6, 7, 8])


def test_a_place_without_a_number_is_left_out(tmp_path, figure):
    rows = doses()
    for row in rows:
        row.values["fluency"] = None
    _, below = figure(dose_response, rows, tmp_path / "x.png").axes
    assert not [line for line in below.lines if len(line.get_xdata()) == 3]


def stored(folder, rows):
    store = Store(folder)
    for i, row in enumerate(rows):
        row.output.update(path="steering/one_joy.json", shape="item")
        rows[i] = row
    store.append(rows)
    store.close()
    return folder


def test_draw_takes_them_from_the_store_the_same_each_time(tmp_path):
    made = stored(tmp_path / "made", doses())
    (path,) = plots.draw(made)
    assert path == made / "plots/steering/dose_response.png"
    first = path.read_bytes()
    assert first.startswith(b"\x89PNG") and plots.draw(made) == [path]
    assert path.read_bytes() == first


@pytest.mark.usefixtures("sketched")
def test_draw_leaves_them_out_of_a_folder_of_one_s_own(tmp_path):
    beside = stored(make_results(tmp_path / "beside", ("one",), ("joy",)), doses())
    name = "dose_response.png"
    assert name in {drawn.name for drawn in plots.draw(beside)}
    assert name not in {drawn.name for drawn in plots.draw(beside, tmp_path / "out")}


@pytest.mark.usefixtures("sketched")
def test_rows_of_somebody_s_own_that_go_there_and_are_no_doses_are_left_alone(tmp_path):
    rows = rows_of("mine", {"logit_diff": [1.0, 2.0]})
    made = stored(make_results(tmp_path / "made", ("one",), ("joy",)), rows)
    assert not any("dose" in path.name for path in plots.draw(made))
