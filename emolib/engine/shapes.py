"""The sizes of a model, and what follows from them: numbers held in memory, and FLOPs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from emolib.models.architectures import known_row
from emolib.models.structure import text_config


@dataclass(frozen=True)
class Shape:
    """The sizes of a model.

    Attributes:
        n_layers: Number of layers.
        n_heads: Query heads per layer.
        n_key_heads: Key and value heads per layer.
        d_head: Width of a head.
        d_model: Width of the residual stream.
        n_units: MLP units per layer.
        maps: Projections of the MLP: 2, or 3 where units are gated.
        vocab: Size of the vocabulary.
        size: Bytes of a number.
    """

    n_layers: int
    n_heads: int
    n_key_heads: int
    d_head: int
    d_model: int
    n_units: int
    maps: int
    vocab: int
    size: int

    @property
    def weights(self) -> int:
        """Bytes of the weights, embeddings once."""
        heads = self.d_model * self.d_head * 2 * (self.n_heads + self.n_key_heads)
        layer = heads + self.maps * self.d_model * self.n_units
        return (self.n_layers * layer + self.vocab * self.d_model) * self.size

    def layer_floats(self, tokens: int, width: int) -> int:
        """Return how many numbers a layer holds at once while some tokens go through it.

        Logits are not among them: they are made and reduced a few rows at a time.

        Args:
            tokens: The last tokens of a prompt, that are computed.
            width: Columns that they look at. Where those before are shared, scores are made.
        """
        scores = 3 * self.n_heads * width if tokens < width else 0
        heads = 3 * self.n_heads * self.d_head
        return tokens * (4 * self.d_model + heads + self.maps * self.n_units + scores)

    def decode_floats(self, tokens: int) -> int:
        """Return how many numbers a row takes that decodes: keys and values of its own tokens."""
        return 2 * self.n_key_heads * self.d_head * tokens * self.n_layers

    @property
    def z_floats(self) -> int:
        """Numbers of z of one token: all heads of all layers."""
        return self.n_layers * self.n_heads * self.d_head

    def clean_floats(self, width: int, tokens: int) -> int:
        """Return how many numbers are kept of a clean run of one prompt.

        Args:
            width: Its columns, of which keys and values are kept.
            tokens: Its last columns, of which the stream and z are.
        """
        keys_values = 2 * self.n_key_heads * self.d_head * width
        return self.n_layers * (keys_values + tokens * (self.d_model + self.n_heads * self.d_head))

    def heads_flops(self, tokens: int, queries: int, width: int) -> int:
        """Return the FLOPs of attention and its projections.

        Args:
            tokens: Tokens that keys and values are made of.
            queries: Tokens that look.
            width: Columns that each looks at.
        """
        made = 2 * self.n_key_heads * tokens + 2 * self.n_heads * queries
        looked = 2 * self.n_heads * queries * width
        return 2 * self.d_head * (self.d_model * made + looked)

    def mlp_flops(self, tokens: int) -> int:
        """Return the FLOPs of the MLP on some tokens."""
        return 2 * tokens * self.maps * self.d_model * self.n_units

    def run_flops(self, rows: int, width: int, tokens: int, first: int) -> int:
        """Return the FLOPs of one run, from the edit to the logits at the last position.

        Args:
            rows: Prompts.
            width: Columns of them.
            tokens: How many of the last columns are computed.
            first: The first layer that is edited, −1 for a clean run.
        """
        many, total = rows * tokens, 2 * rows * self.d_model * self.vocab
        for layer in range(max(first, 0), self.n_layers):
            last = layer == self.n_layers - 1
            out = rows if last else many
            if layer == first:
                total += 2 * out * self.n_heads * self.d_head * self.d_model
            else:
                total += self.heads_flops(many, out, width)
            total += self.mlp_flops(out)
        return total


def shape_of(config: Any, n_units: int, dtype: str) -> Shape:
    """Return the sizes from a transformers config."""
    config = text_config(config)
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    keys = getattr(config, "num_key_value_heads", None) or heads
    if config.model_type == "falcon":
        of_old = 1 if config.multi_query else heads
        keys = config.num_kv_heads if config.new_decoder_architecture else of_old
    row = known_row(config.model_type)
    # Of types without a row most gate their units.
    gated = row is None or (row.block is not None and row.block.gated)
    return Shape(
        n_layers=config.num_hidden_layers,
        n_heads=heads,
        n_key_heads=keys,
        d_head=width,
        d_model=config.hidden_size,
        n_units=n_units,
        maps=3 if gated else 2,
        vocab=config.vocab_size,
        size=torch.finfo(getattr(torch, dtype)).bits // 8,
    )
