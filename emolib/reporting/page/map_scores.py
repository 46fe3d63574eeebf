"""The scores that a map of heads can show: which metrics of which rows, and how they are named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emolib.reporting.experiments import (
    ABLATED,
    ATTENTION,
    PATCHED,
    PROBED,
    SCREENED,
    SPECIFIC,
)
from emolib.reporting.page.page_words import Told, told_of
from emolib.results.rows import Row
from emolib.results.selection import is_at_home, kind_of

# In the order of the list to choose from; the first metric is the one that is shown pair by pair.
_SHOWN: Mapping[str, Sequence[str]] = {
    SCREENED: (
        "atp_ig", "delta_attn", "dla", "delta_proj", "delta_out", "atp_denoise", "atp_noise",
        "patch_denoise", "patch_noise",
    ),
    ABLATED: (
        "logit_diff", "kl", "direct", "self_repair", "sentiment", "keyword_rate", "changed",
        "fluency",
    ),
    PATCHED: ("logit_diff", "recovery", "kl", "keyword_rate", "changed"),
    SPECIFIC: ("specificity", "specificity_prompts"),
    PROBED: ("accuracy", "auroc", "which_accuracy"),
    ATTENTION: ("delta_slot", "emotion_slot", "neutral_slot"),
}  # fmt: skip
# Of patching at positions that the profile does not ask for.
_ELSEWHERE = ("logit_diff", "recovery")
# Metrics of an experiment that is not the project's own.
_OTHERS = 6
_TITLES = {
    SCREENED: "Screening",
    ABLATED: "Ablation",
    PATCHED: "Patching",
    SPECIFIC: "Specificity",
    PROBED: "Probes",
    ATTENTION: "Attention",
}
# What says nothing: a probe that guesses.
_BASES = {(PROBED, "accuracy"): 0.5, (PROBED, "auroc"): 0.5}
# Values per pair that are no effects on pairs.
_NOT_BY_PAIR = (PROBED,)
_KNOWN_DIMS = ("model", "emotion", "heads", "ablation")


@dataclass(frozen=True)
class Score:
    """What a map shows: a metric of one experiment under one kind of intervention.

    Attributes:
        experiment: The experiment.
        kind: The kind of intervention, ``zero`` or ``denoise, last``; empty where there is none.
        metric: The metric.
        is_home: Whether it is of the position that the run asks for.
    """

    experiment: str
    kind: str
    metric: str
    is_home: bool = True

    @property
    def id(self) -> str:
        """What names it among all scores."""
        return "/".join(filter(None, (self.experiment, self.kind, self.metric)))

    @property
    def group(self) -> str:
        """The heading under which it can be chosen."""
        title = _TITLES.get(self.experiment, self.experiment)
        return f"{title}: {self.kind}" if self.kind else title

    @property
    def words(self) -> Told:
        """What the glossary says of its metric."""
        return told_of(self.metric, self.experiment)

    @property
    def base(self) -> float:
        """The value that says nothing."""
        return _BASES.get((self.experiment, self.metric), 0.0)

    @property
    def order(self) -> tuple[int, int]:
        """Its place in the list: the project's own experiments first."""
        if self.experiment not in _SHOWN:
            return len(_SHOWN), 0
        shown = _SHOWN[self.experiment]
        return list(_SHOWN).index(self.experiment), shown.index(self.metric)


def kind_name(row: Row) -> str:
    """Return what tells the rows of a head in one experiment apart."""
    others = [value for name, value in row.dims.items() if name not in _KNOWN_DIMS]
    kind = kind_of(row)
    named = [*filter(None, kind), *others]
    if row.of > 1 and not any(kind):
        named.append(f"record {row.row}")
    return ", ".join(named)


def scores_of(row: Row) -> list[Score]:
    """Return the scores that a row on one head has a value or a gap for."""
    metrics: Sequence[str] = _SHOWN.get(row.experiment, list(row.values)[:_OTHERS])
    if row.experiment == PATCHED and not is_at_home(row):
        metrics = _ELSEWHERE
    kind = kind_name(row)
    home = is_at_home(row)
    return [Score(row.experiment, kind, name, home) for name in metrics if name in row.values]


def by_pair(row: Row) -> Score | None:
    """Return the score whose values pair by pair a reader of the head is shown, if any."""
    if row.experiment in _NOT_BY_PAIR or (row.experiment == PATCHED and not is_at_home(row)):
        return None
    vectors = [score for score in scores_of(row) if score.metric in row.vectors]
    return vectors[0] if vectors else None
