"""What all plots share: figures without a display, grids with room, bytes that repeat."""

from __future__ import annotations

import subprocess
import sys

import pytest

from emolib.errors import InputError
from emolib.reporting.plot_style import COLOURS, canvas, grid, save, short

PNG = b"\x89PNG\r\n\x1a\n"


def drawn(height):
    figure, axes = grid(1, 1, (2, 1))
    axes[0, 0].bar([0], [height], color=COLOURS[0])
    return figure


def test_a_figure_is_the_same_bytes_each_time_and_others_where_it_differs(tmp_path):
    one, again, other = (
        save(drawn(height), tmp_path / "new" / name).read_bytes()
        for height, name in ((1, "a.png"), (1, "b.png"), (2, "c.png"))
    )
    assert one.startswith(PNG) and one == again != other
    # A version of matplotlib in it would change the bytes where nothing that is drawn does.
    assert b"matplotlib" not in one.lower()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file", encoding="utf-8")
    out = tmp_path / "taken/plot.png"
    with pytest.raises(InputError) as error:
        save(drawn(1), out)
    assert str(error.value).startswith(f"{out}: cannot be written (")


def test_a_grid_has_its_panels_and_room_for_the_legend():
    figure, axes = grid(2, 3, (2.0, 1.5))
    assert axes.shape == (2, 3)
    assert tuple(figure.get_size_inches()) == pytest.approx((6.5, 3.4))
    for entries, more in ((1, 0.2), (3, 0.2), (4, 0.4)):
        assert grid(2, 3, (2.0, 1.5), legend=entries)[0].get_size_inches()[1] == pytest.approx(
            3.4 + more
        )
    # A single narrow panel still has the width of a title.
    assert grid(1, 1, (1.0, 1.0))[0].get_size_inches()[0] == 4.5


def test_drawing_needs_no_display_and_reports_no_matplotlib(tmp_path):
    assert tuple(canvas(3, 2).get_size_inches()) == (3, 2)
    script = (
        "import sys; from emolib.reporting import plot_style\n"
        "print('matplotlib' in sys.modules)\n"
        "plot_style.save(plot_style.canvas(1, 1), plot_style.Path(sys.argv[1]))\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "x.png"], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["False", "False"], done.stderr
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)


def test_colours_are_told_apart():
    assert len(set(COLOURS)) == len(COLOURS) >= 6


def test_names_of_large_sets_are_cut_short():
    assert short("L10H11+L2H3") == "L10H11+L2H3"
    assert short("L0H0+L10H1+L2H2") == "L0H0+2 more"
    assert short("L0H0+L1H1+L2") == "L0H0+L1H1+L2"
