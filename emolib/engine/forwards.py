"""Running a model: whole batches, one more token, and tokens after a prefix that runs share."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import masking_utils

from emolib.engine.batch_sizes import whole_batches
from emolib.models.encoding import Batch, Prompts
from emolib.models.language_model import LanguageModel


def forward(model: LanguageModel, batch: Batch, *, keep: int = 1, **options: Any) -> Any:
    """Run the model on a left-padded batch and return transformers' output.

    Positions count from the first real token, without which GPT-2's logits shift with padding.

    Args:
        model: The model.
        batch: What to run.
        keep: From how many of the last positions the logits will be read; where the model can
            leave the others out, it does.
        **options: More arguments of the model's forward.
    """
    options.setdefault("use_cache", False)
    columns = batch.input_ids, batch.attention_mask, batch.position_ids
    return _call(model, *columns, keep=keep, **options)


def run_columns(model: LanguageModel, ids: Tensor, mask: Tensor, position_ids: Tensor) -> Any:
    """Run tokens, masked and at the positions given, each ``[batch, seq]``; no cache."""
    return _call(model, ids, mask, position_ids, keep=1, use_cache=False)


def _call(
    model: LanguageModel,
    ids: Tensor,
    mask: Tensor,
    position_ids: Tensor,
    *,
    keep: int,
    **options: Any,
) -> Any:
    if "position_ids" in model.accepts:
        options["position_ids"] = position_ids
    if "logits_to_keep" in model.accepts:
        options["logits_to_keep"] = keep
    with _finite_masks(model.hf.dtype):
        return model.hf(input_ids=ids, attention_mask=mask, **options)


@contextmanager
def _finite_masks(dtype: torch.dtype) -> Iterator[None]:
    """Keep float64 attention masks finite in float32.

    Most architectures compute the softmax in float32. There the lowest float64 is −inf, the
    rows of padding become NaN, and NaN times a weight of 0 is NaN in the rows of the prompt.
    """
    if dtype != torch.float64:
        yield
        return
    masks: Any = masking_utils.ALL_MASK_ATTENTION_FUNCTIONS
    eager = masks["eager"]

    def finite(*args: Any, dtype: torch.dtype, **options: Any) -> Any:
        return eager(*args, dtype=torch.float32, **options).to(dtype)

    masks["eager"] = finite
    try:
        yield
    finally:
        masks["eager"] = eager


def next_token(
    model: LanguageModel, tokens: Tensor, mask: Tensor, position_ids: Tensor, cache: Any
) -> Any:
    """Run one more token of each row on what a cache holds, and add it to the cache."""
    return _call(
        model,
        tokens[:, None],
        mask,
        position_ids[:, -1:],
        keep=1,
        past_key_values=cache,
        use_cache=True,
    )


class Prefix:
    """The clean model's keys and values of prompts without their last tokens, made once."""

    def __init__(
        self, model: LanguageModel, prompts: Prompts, batch_size: int | None = None
    ) -> None:
        """Run the prompts, of two tokens or more each."""
        self._model = model
        self._caches: dict[tuple[int, ...], Any] = {}
        for batch in whole_batches(model, prompts, batch_size):
            columns = batch.input_ids, batch.attention_mask, batch.position_ids
            with torch.no_grad():
                out = _call(model, *(c[:, :-1] for c in columns), keep=1, use_cache=True)
            self._caches[tuple(batch.rows)] = out.past_key_values

    def last(self, batch: Batch) -> Any:
        """Run the last token of each prompt and return transformers' output."""
        return self.after(batch, batch.input_ids[:, -1:])

    def after(self, batch: Batch, tokens: Tensor, *, keep: int = 1) -> Any:
        """Run tokens in the place of each prompt's last one and what follows, ``[batch, k]``."""
        steps = torch.arange(tokens.shape[1], device=tokens.device)
        mask = batch.attention_mask
        mask = torch.cat([mask, mask.new_ones(len(mask), len(steps) - 1)], dim=1)
        position_ids = batch.position_ids[:, -1:] + steps
        # A forward writes into the cache it is given.
        cache = copy.deepcopy(self._caches[tuple(batch.rows)])
        options = {"past_key_values": cache, "use_cache": True}
        return _call(self._model, tokens, mask, position_ids, keep=keep, **options)
