"""Fixtures of the tests of reporting."""

from __future__ import annotations

import pytest
from made import make_results
from plot_sketches import sketch

PLOTS = ("panels", *(f"{name}_plots" for name in (
    "attention", "circuit", "control", "dose", "effect", "path", "probe", "score", "specificity",
    "unit",
)))  # fmt: skip


@pytest.fixture(scope="session", params=[(1, 1), (6, 8)], ids=str)
def shaped(request, tmp_path_factory):
    """Give the results of models of several shapes, one after the other; the largest alone."""
    models = ("one", "two") if request.param == (1, 1) else ("one",)
    return make_results(tmp_path_factory.mktemp("results"), models, shape=request.param)


@pytest.fixture
def figure(monkeypatch):
    """Give a function that draws and gives the figure, in place of the file it would write."""

    def drawn(plot, *args, **options):
        made = []
        for name in (plot.__module__, "emolib.reporting.panels"):
            module = __import__(name, fromlist=["save"])
            if hasattr(module, "save"):
                monkeypatch.setattr(module, "save", lambda figure, out: made.append(figure) or out)
        plot(*args, **options)
        (found,) = made
        return found

    return drawn


@pytest.fixture
def sketched(monkeypatch):
    """Have plots written as what is in them, which takes a tenth of the time of drawing."""

    def save(figure, out):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(sketch(figure), encoding="utf-8")
        return out

    for name in PLOTS:
        module = __import__(f"emolib.reporting.{name}", fromlist=["save"])
        if hasattr(module, "save"):
            monkeypatch.setattr(module, "save", save)
