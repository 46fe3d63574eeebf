"""What was recorded and where it came from. Loads no torch.

- ``rows``: a `Row`, one record of one item, and how what is recorded is sorted into it; of what
  kinds its members are: ``members``.
- ``records``: the `Store` of every row ever recorded. Its files, append-only, one a run:
  ``segments``; what stands in them: ``lines``, ``events``. What of them is kept in SQLite:
  ``index``; how it gets there: ``intake``; what it is asked: ``catalogue``; from there to rows:
  ``reading``. ``runs``: the runs that wrote them. ``packing``: segments as gzip.
- ``shard_runs``: which shards of a whole wrote into a store; ``merging``: results of several
  folders in one; ``contexts``: what rows stand on, and in what they differ.
- ``provenance``: versions, commit and code that numbers come from.
- ``selection``: rows by what they are about; the order of kinds, the strongest.
- ``chances``: whether rows are more than chance; ``tested``: the same, from a table that has it.
- ``item_files``: the JSON files made from rows, written and read back. ``made``: whether files are
  still what would be made of the rows.
- ``importances``: scores of heads in the form of circuit benchmarks.
- ``abridged``: rows without what their reader leaves alone, of which many fit in memory.
- ``blocks``: rows as lines of a table; ``frames``: as pandas frames; ``emolib.load`` makes them.
- ``glossary``: what columns and settings mean, by ``glossary.toml``.
- ``grounds``, ``baselines``: what effects stand on, and the baseline of the regression check.

Public are the names of ``__all__``; numpy and pandas are loaded where they are used.
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.results.baselines import Baseline, DeclaredEffect
    from emolib.results.frames import Frames, load
    from emolib.results.grounds import Ground
    from emolib.results.item_files import read_attention, read_effects, read_scores
    from emolib.results.records import Store
    from emolib.results.rows import Row
    from emolib.results.selection import KindKey, StudyKey, kinds, strongest, studies
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.results.baselines": ["Baseline", "DeclaredEffect"],
            "emolib.results.frames": ["Frames", "load"],
            "emolib.results.grounds": ["Ground"],
            "emolib.results.item_files": ["read_attention", "read_effects", "read_scores"],
            "emolib.results.records": ["Store"],
            "emolib.results.rows": ["Row"],
            "emolib.results.selection": ["KindKey", "StudyKey", "kinds", "strongest", "studies"],
        },
    )

__all__ = [
    "Baseline",
    "DeclaredEffect",
    "Frames",
    "Ground",
    "KindKey",
    "Row",
    "Store",
    "StudyKey",
    "kinds",
    "load",
    "read_attention",
    "read_effects",
    "read_scores",
    "strongest",
    "studies",
]
