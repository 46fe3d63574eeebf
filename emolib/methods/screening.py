"""Screening scores of every head on aligned pairs: where it looks, what it writes, what it moves.

Formulas: docs/science.md, "Screening scores"; direct logit attribution as in Wang et al.
(2211.00593). What a head moves is in `emolib.methods.attribution`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emolib.engine.costs import Planned, Runs
from emolib.engine.direct_path import direct_path
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Side
from emolib.methods.attention import why_no_patterns
from emolib.methods.attribution import (
    attribution_scores,
    rank,
    to_verify,
    verify,
    verify_costs,
)
from emolib.methods.direct_effects import adds_up, head_posts, target_direction
from emolib.methods.frozen_norms import frozen_norms, norm_paths
from emolib.methods.scores import Table, Vector, to_numpy
from emolib.methods.study import Study
from emolib.models.encoding import Batch
from emolib.notebook import Shown, head_map, stacked, table
from emolib.stats.missed import Missed, most_beyond
from emolib.stats.summary import rank_correlation, split_half, two_halves, unreliable

# Attention sums to 1 up to the float noise of a softmax: heads closer than this are equal.
_TIE = 1e-6
# What a notebook shows of a screening.
_STRONGEST = 10
_TOLD = ("atp_ig", "patch_denoise", "delta_attn", "dla", "delta_proj")
_NO_STREAM = "what goes into the final norm is not what the last layer puts out"


@dataclass(frozen=True)
class Screening:
    """Scores of every head.

    Attributes:
        heads: The heads, layer by layer, H in all.
        pairs: Per score the value of each pair and head, shape ``[n_pairs, H]``:
            ``emotion_mean_attn``, ``neutral_mean_attn``, ``delta_attn`` (attention, in [−1, 1]),
            ``delta_proj`` (residual units), ``dla``, ``atp_denoise``, ``atp_noise``, ``atp_ig``
            (logits). A score that cannot be had for a model is not there.
        norms: Per score one value a head, shape ``[H]``: ``delta_out`` and
            ``delta_out_debiased`` (residual units).
        verified: For the top heads and some random others the exact effect of patching, in
            logits: (denoise, noise).
        reliability: Split-half reliability of the ranking by |atp_ig|, or None.
        lacking: By score that cannot be had for the model why.
        drawn: Those of the verified heads that were drawn at random from all but the top ones.
    """

    heads: tuple[Head, ...]
    pairs: dict[str, Table]
    norms: dict[str, Vector]
    verified: dict[Head, tuple[float, float]] = field(default_factory=dict)
    reliability: float | None = None
    lacking: dict[str, str] = field(default_factory=dict)
    drawn: tuple[Head, ...] = ()

    def __repr__(self) -> str:
        """Return the strongest heads, as text."""
        return repr(self._strongest())

    def _repr_html_(self) -> str:
        """Return the strongest heads and the map of ``atp_ig`` for a notebook."""
        return stacked(self._strongest(), self.head_map())._repr_html_()

    def _strongest(self) -> Shown:
        told = [unreliable(self.reliability) or f"reliability {self.reliability:.2f}"]
        if self.missed is not None:
            told.append(self.missed.sentence())
        return table(
            [
                {"head": str(head)} | {name: self._mean(name, head) for name in self._shown}
                for head in self.ranking[:_STRONGEST]
            ],
            f"the strongest of {len(self.heads)} heads by |atp_ig|; {'; '.join(told)}",
        )

    @property
    def _shown(self) -> list[str]:
        """Scores that the table of the strongest shows."""
        return [name for name in _TOLD if name in self.pairs or name == "patch_denoise"]

    def _mean(self, name: str, head: Head) -> float | None:
        if name == "patch_denoise":
            return self.verified[head][0] if head in self.verified else None
        return float(self.pairs[name][:, self.heads.index(head)].mean())

    def head_map(self, score: str = "atp_ig") -> Shown:
        """Return one score of every head as a map, for a notebook or a terminal.

        Args:
            score: One of `pairs`, whose means over pairs are shown, or of `norms`.

        Raises:
            InputError: When there is no such score.
        """
        if score in self.pairs:
            values = self.pairs[score].mean(0)
        elif score in self.norms:
            values = self.norms[score]
        else:
            known = ", ".join([*self.pairs, *self.norms])
            why = f" ({self.lacking[score]})" if score in self.lacking else ""
            raise InputError(f"head_map: expected one of {known}, got {score!r}{why}")
        return head_map(dict(zip(self.heads, values.tolist(), strict=True)), score)

    @cached_property
    def ranking(self) -> list[Head]:
        """Heads by |atp_ig|, strongest first."""
        return rank(self.heads, self.pairs["atp_ig"])

    @cached_property
    def rank_correlation(self) -> float | None:
        """Spearman correlation of |atp_ig| with |patch_denoise| over the verified heads."""
        if not self.verified:
            return None
        score = dict(zip(self.heads, np.abs(self.pairs["atp_ig"].mean(0)), strict=True))
        heads = list(self.verified)
        exact = [abs(self.verified[head][0]) for head in heads]
        return rank_correlation([score[head] for head in heads], exact)

    @cached_property
    def missed(self) -> Missed | None:
        """What the ranking may have missed, by |patch_denoise|; None where no head was drawn."""
        if not self.drawn:
            return None
        rest = len(self.heads) - (len(self.verified) - len(self.drawn))
        tau = max(abs(self.verified[head][0]) for head in self.drawn)
        return Missed(most_beyond(rest, len(self.drawn)), rest, len(self.drawn), tau)

    def of(self, head: Head) -> dict[str, Any]:
        """Return the scores of one head: vectors per pair, plain numbers, None where not run.

        ``missed`` is what `Screening.missed` says as a sentence, its numbers beside it.
        ``rank`` is None where the ranking's reliability is below 0.8, since such an order is
        noise; a text, ``ranking``, then says so. A score that cannot be had is None, and
        ``why_no_<score>`` says why.
        """
        column = self.heads.index(head)
        denoise, noise = self.verified.get(head, (None, None))
        doubt = unreliable(self.reliability)
        row: dict[str, Any] = {"atp_ig": self.pairs["atp_ig"][:, column]}
        row["rank"] = None if doubt else self.ranking.index(head) + 1
        if doubt:
            row["ranking"] = doubt
        row |= {f"why_no_{name}": why for name, why in self.lacking.items()}
        for name in ("delta_attn", "dla", "delta_proj", "atp_denoise", "atp_noise"):
            row[name] = self.pairs[name][:, column] if name in self.pairs else None
        row |= {"patch_denoise": denoise, "patch_noise": noise}
        row |= {name: float(values[column]) for name, values in self.norms.items()}
        for name in ("emotion_mean_attn", "neutral_mean_attn"):
            row[name] = self.pairs[name][:, column] if name in self.pairs else None
        row |= {"reliability": self.reliability, "rank_correlation": self.rank_correlation}
        if self.missed is not None:
            row["missed"] = self.missed.sentence()
        for name in ("most", "rest", "drawn", "tau"):
            row[f"missed_{name}"] = getattr(self.missed, name, None)
        return row


def screen(study: Study) -> Screening:
    """Return every screening score of a model on one emotion's aligned pairs.

    The query positions Q are the profile's position setting, the last prompt token by default.

    Raises:
        InputError: When the study has free prompts in place of pairs.
        ValueError: When every head attends to the slot alike, which only a mistake can do.
    """
    heads, lacking = tuple(study.model.heads), {}
    attention = {}
    if (why := why_no_patterns(study)) is None:
        attention = attention_scores(study)
    else:
        lacking["delta_attn"] = why
    written, norms = output_scores(study)
    if why := adds_up(study).reason:
        lacking["dla"] = why
    if not direct_path(study.model).ends_in_norm:
        lacking["delta_proj"] = f"no direction of the stream: {_NO_STREAM}"
    scores = attention | written | attribution_scores(study)
    top, drawn = to_verify(rank(heads, scores["atp_ig"]), study.profile)
    return Screening(
        heads,
        scores,
        norms,
        verify(study, [*top, *drawn]),
        split_half(scores["atp_ig"], seed=study.profile.seed),
        lacking,
        tuple(drawn),
    )


def attention_scores(study: Study) -> dict[str, Table]:
    """Return the attention that Q pays to the slot, summed over the slot's keys.

    ``delta_attn = mean_{q in Q} Σ_{k in S} A_emo[q, k] − Σ_{k in S} A_neu[q, k]``. A mean over
    all keys would be 1/T for every head, since a softmax row sums to 1.

    Returns:
        ``emotion_mean_attn``, ``neutral_mean_attn`` and ``delta_attn``, each of shape
        ``[n_pairs, H]``.

    Raises:
        ValueError: When all heads tie.
    """
    assert study.pairs
    emotion, neutral = _slot_attention(study, "emotion"), _slot_attention(study, "neutral")
    if emotion.shape[1] > 1 and np.ptp(emotion, axis=1).max() < _TIE:
        raise ValueError(
            f"every head of {study.model.name} pays the slot the same attention "
            f"({emotion[0, 0]:.4g}); a sum or mean over the wrong keys does that"
        )
    return {
        "emotion_mean_attn": emotion,
        "neutral_mean_attn": neutral,
        "delta_attn": emotion - neutral,
    }


def _slot_attention(study: Study, side: Side) -> Table:
    position, count = study.profile.position, study.model.n_heads
    places = {layer: place for place, layer in enumerate(study.model.head_layers)}
    paid = np.zeros((len(study.prompts(side)), len(places), count))

    def see(batch: Batch, layer: int, columns: slice, pattern: Tensor) -> None:
        queries = batch.at(position).double()
        queries = (queries / queries.sum(1, keepdim=True))[:, columns]
        keys = batch.at("slot")[:, : pattern.shape[-1]].to(pattern.dtype)
        to_slot = torch.einsum("bhqk,bk->bhq", pattern, keys).double()
        paid[list(batch.rows), places[layer]] += to_numpy(
            torch.einsum("bq,bhq->bh", queries, to_slot)
        )

    study.runner.attention(side, position, see)
    return paid.reshape(len(paid), -1)


def output_scores(study: Study) -> tuple[dict[str, Table], dict[str, Vector]]:
    """Return what each head writes, ``o = z @ W_O``, emotion less neutral, at Q.

    ``delta_out`` is the norm of the mean difference, ``delta_out_debiased = √max(0, ‖d̄‖² −
    tr(Cov)/n)``; ``delta_proj`` projects the difference on the emotion direction of the held-out
    half of the templates; ``dla`` is the direct effect on ``logit_diff`` with the norms frozen at
    the emotion run and every scale on the way counted (before any soft cap on the logits).

    Returns:
        (``delta_proj`` and ``dla``, shape ``[n_pairs, H]``, each unless it cannot be had of the
        model; ``delta_out`` and ``delta_out_debiased``, shape ``[H]``.)
    """
    model, pairs = study.model, study.pairs
    path, has_dla = direct_path(model), adds_up(study).reason is None
    emotion, neutral = study.activations("emotion"), study.activations("neutral")
    posts = head_posts(model) if has_dla else [None] * model.n_layers
    paths = norm_paths(model, posts)
    into = _inputs_at_last(study, "emotion", paths)
    final = into[model.arch.final_norm]
    final_neutral = _inputs_at_last(study, "neutral", paths[-1:])[model.arch.final_norm]
    mask = emotion.batch.at(study.profile.position)
    first = int(mask.any(0).nonzero()[0])
    columns = mask.shape[1] - first
    weight = (mask.double() / mask.sum(1, keepdim=True))[:, first:]
    directions, halves = _held_out(final - final_neutral, pairs.emotion.clusters)
    through_norms = frozen_norms(model, posts, into) if has_dla else []
    unembed = target_direction(model, study.targets)
    out, debiased, projected, direct = [], [], [], []
    for head in model.heads:
        w_o = model.w_o(head).double()
        there = emotion.of(head, columns).double()
        change = there - neutral.of(head, columns).double()
        written = torch.einsum("bt,btd->bd", weight, change) @ w_o
        average, n = written.mean(0), len(written)
        spread = written.var(0).sum() / n if n > 1 else torch.zeros(())
        out.append(average.norm())
        debiased.append((average.square().sum() - spread).clamp(min=0).sqrt())
        projected.append((written * directions[halves]).sum(-1))
        if has_dla:
            last = path.attn(head.layer) * (there[:, -1] @ w_o)
            direct.append(through_norms[head.layer](last) @ unembed)
    tables = {"delta_proj": projected} if path.ends_in_norm else {}
    tables |= {"dla": direct} if has_dla else {}
    norms = {"delta_out": out, "delta_out_debiased": debiased}
    return (
        {name: to_numpy(torch.stack(columns, dim=1)) for name, columns in tables.items()},
        {name: to_numpy(torch.stack(values)) for name, values in norms.items()},
    )


def _inputs_at_last(study: Study, side: Side, paths: Sequence[str]) -> dict[str, Tensor]:
    """Return what goes into norms at the last token in float64, ``[n, d_model]`` each."""
    found = study.runner.inputs_at_last(side, paths)
    return {path: values.double() for path, values in found.items()}


def _held_out(difference: Tensor, clusters: Sequence[str] | None) -> tuple[Tensor, Tensor]:
    """Return two unit directions and which one each pair is projected on: the other half's."""
    halves = torch.from_numpy(two_halves(len(difference), clusters)).to(difference.device)
    directions = []
    for half in (0, 1):
        others = difference[halves != half]
        direction = others.mean(0) if len(others) else torch.zeros_like(difference[0])
        directions.append(direction / direction.norm().clamp(min=1e-12))
    return torch.stack(directions), halves


def costs(planned: Planned) -> Iterator[Runs]:
    """Yield the runs of `screen`, but for those of attribution, which others share.

    Each side is read twice: where heads look, and what goes into the final norm.
    """
    yield from planned.clean(again=True)
    yield from planned.clean(again=True)
    yield from verify_costs(planned)
