"""Whether models are as they were loaded: what an item puts on one, and what it leaves there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_emolib.fixture_table import FIXTURES
from pytest_emolib.loaded import Loaded

if TYPE_CHECKING:
    from emolib.models.snapshot import Snapshot

SUPPORTED = "traced "
"""How what the fixture ``traced`` puts on a model is told: it stands in the experiment's file."""


def may_replay(under: Sequence[str]) -> bool:
    """Tell whether rows can be taken from the store again.

    What `traced` did stands in the file of the experiment, whose hash is in the key of its rows.
    Other hooks, forwards and weights may come from anywhere.

    Args:
        under: What rows say that the model carried.
    """
    return all(what.startswith(SUPPORTED) for what in under)


def reaches_weights(item: pytest.Item) -> bool:
    """Tell whether an item's function, or a fixture of the user's own, is given a model.

    Weights are read before and after such items alone: it takes longer than recording a row.
    """
    # Fixtures of emolib ask for `request` too; a function's own may give it any fixture.
    own = set(getattr(item, "fixturenames", ())) - (FIXTURES.keys() - {"model"}) - {"request"}
    asked = getattr(getattr(item, "_fixtureinfo", None), "argnames", ())
    return bool(own) or "study" in asked or "request" in asked


class Intact:
    """Watches the models in memory from the start of an item to its end."""

    def __init__(self, loaded: Loaded) -> None:
        """Hold what is in memory."""
        self._loaded = loaded
        self._reaches = False

    def _snapshots(self) -> list[tuple[str, Snapshot]]:
        return [(model.name, model.as_loaded) for model in self._loaded.models]

    def begin(self, item: pytest.Item) -> None:
        """Begin an item."""
        self._reaches = reaches_weights(item)
        self._loaded.begin()
        for _, snapshot in self._snapshots():
            snapshot.begin(values=self._reaches)

    def on_models(self) -> list[str]:
        """Return what the models carry now that is not their own."""
        return [str(change) for _, snapshot in self._snapshots() for change in snapshot.changes()]

    def under(self) -> list[str]:
        """Return what of the item's own the models carried while anything ran, or carry now."""
        return [what for _, snapshot in self._snapshots() for what in snapshot.told()]

    def unseen(self, item: pytest.Item) -> str | None:
        """Return a message where an item edited weights in a way that no run could notice."""
        for name, snapshot in self._snapshots():
            if weights := snapshot.unseen_edits():
                return (
                    f"{item.nodeid}: weights of {weights[0]} were edited through .data, which "
                    f"torch does not count: runs of {name} may have been taken from those before, "
                    "so that nothing is recorded; edit weights under torch.no_grad(), without .data"
                )
        return None

    def left(self, item: pytest.Item) -> str | None:
        """Return a message where an item left something on a model, None where it left nothing.

        A model that is not as it was loaded is forgotten, so that the next item has it loaded
        anew.
        """
        messages = []
        for name, snapshot in self._snapshots():
            if left := snapshot.left():
                messages.append(
                    f"{item.nodeid} left {', '.join(left)} on {name}: close traces (`with`), "
                    "remove hooks and put weights back where the item ends; the next one has the "
                    "model loaded anew"
                )
                self._loaded.forget(name)
        return "; ".join(messages) or None
