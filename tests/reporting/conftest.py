"""Fixtures of the tests of reporting."""

from __future__ import annotations

import pytest
from made import make_results


@pytest.fixture(scope="session", params=[(1, 1), (12, 12)], ids=str)
def shaped(request, tmp_path_factory):
    """Give the results of models of several shapes, one after the other; the largest alone."""
    models = ("one", "two") if request.param < (12, 12) else ("one",)
    return make_results(tmp_path_factory.mktemp("results"), models, shape=request.param)


@pytest.fixture
def figure(monkeypatch):
    """Give a function that draws and gives the figure, in place of the file it would write."""

    def drawn(plot, *args, **options):
        module = __import__(plot.__module__, fromlist=["save"])
        made = []
        monkeypatch.setattr(module, "save", lambda figure, out: made.append(figure) or out)
        plot(*args, **options)
        (found,) = made
        return found

    return drawn
