"""Statistics on plain arrays, which know nothing of models, rows or files.

- ``summary``: mean, SD, d_z, cluster-bootstrap CI, split-half reliability.
- ``bootstrap``: the BCa interval of a mean over clusters, from draws that metrics share.
- ``faithfulness``: how much of a whole some heads are, as a curve with its areas and bands.
- ``significance``: sign flips, Benjamini–Hochberg, max-T, and what a design can find at all.
- ``missed``: how many of those that a ranking passed over may matter, by a random sample.
- ``regression``: whether an effect has drifted from its baseline.
- ``noise``: below which size a number is rounding.

Public are the names of ``__all__``; numpy and scipy are loaded where they are used, since runs
that record no vector do without them.
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.stats.regression import Verdict, judge, tolerance
    from emolib.stats.significance import Reach, benjamini_hochberg, max_t, reach, sign_flip
    from emolib.stats.summary import rank_correlation, split_half, summarize, unreliable
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.stats.regression": ["Verdict", "judge", "tolerance"],
            "emolib.stats.significance": [
                "Reach",
                "benjamini_hochberg",
                "max_t",
                "reach",
                "sign_flip",
            ],
            "emolib.stats.summary": ["rank_correlation", "split_half", "summarize", "unreliable"],
        },
    )

__all__ = [
    "Reach",
    "Verdict",
    "benjamini_hochberg",
    "judge",
    "max_t",
    "rank_correlation",
    "reach",
    "sign_flip",
    "split_half",
    "summarize",
    "tolerance",
    "unreliable",
]
