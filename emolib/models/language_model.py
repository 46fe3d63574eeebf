"""A language model as the method needs it: weights, tokenizer, heads and where they sit."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.inputs.prompts import Chat, Lexicon, Pair, Written
from emolib.models.architectures import (
    BY_HAND,
    Architecture,
    head_layers_from_config,
    known_row,
    shape_from_config,
)
from emolib.models.encoding import AlignedPairs, Prompts, align, encode, tokens
from emolib.models.snapshot import Change, Snapshot
from emolib.models.structure import (
    StructureNotFound,
    find,
    has_experts,
    output_map,
    text_config,
)
from emolib.tracing import get_module


class LanguageModel:
    """A causal language model, frozen, with names for its heads.

    Attributes:
        hf: The transformers model, in eval mode and without gradients on weights; open a
            ``Trace`` or ``TraceDict`` on it.
        tokenizer: Its tokenizer.
        name: Short name, as in ids and file names.
        arch: Its row of the architecture table, or one that was found.
        n_layers: Number of layers.
        n_heads: Query heads per layer.
        head_layers: The layers that have attention heads.
        unit_layers: The layers that have MLP units.
        as_loaded: What the model was when it was loaded: hooks, forwards and weights.
    """

    def __init__(self, hf: Any, tokenizer: Any, name: str) -> None:
        """Wrap a transformers model.

        Args:
            hf: A causal language model built with ``attn_implementation="eager"``.
            tokenizer: Its tokenizer.
            name: Short name.

        Raises:
            InputError: When its architecture has no row and its structure is not found.
        """
        self.hf = hf.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        try:
            self.arch: Architecture = known_row(hf.config.model_type) or find(self.hf)
        except StructureNotFound as error:
            raise InputError(f"model {name}: no heads found in {error}; {BY_HAND}") from None
        self.n_layers, self.n_heads = shape_from_config(hf.config.to_dict())
        layers, modules = range(self.n_layers), dict(self.hf.named_modules())
        self._names = frozenset(modules)
        arch = self.arch
        said = head_layers_from_config(hf.config.to_dict(), self.n_layers)
        self.head_layers = tuple(i for i in said if arch.attn_out_path(i) in modules)
        self.unit_layers = tuple(
            i
            for i in layers
            if arch.mlp_out_path(i) in modules and not has_experts(modules[f"{arch.layers}.{i}"])
        )
        if arch.layers not in modules or not self.head_layers:
            raise InputError(
                f"model {name}: it has no {arch.attn_out_path(0)}, where its row has the output "
                f"projection of its attention; {BY_HAND}"
            )
        self.as_loaded = Snapshot(self.hf)

    @property
    def device(self) -> torch.device:
        """Where the weights are; of a model on several devices where its inputs go."""
        device: torch.device = self.hf.device
        return device

    @property
    def changes(self) -> tuple[Change, ...]:
        """What others have put on the model since it was loaded; see `emolib.models.snapshot`."""
        return self.as_loaded.changes()

    @property
    def pad(self) -> int:
        """A token id to pad with; padding is masked, so any that the model knows will do."""
        pad = int(self.tokenizer.pad_token_id or self.tokenizer.eos_token_id or 0)
        # A pad token added to a tokenizer later may have no row of its own in the embedding.
        return pad if pad < self.hf.get_input_embeddings().num_embeddings else 0

    @property
    def context(self) -> int | None:
        """Most tokens the model reads, None where it sets no limit."""
        return getattr(self.config, "max_position_embeddings", None)

    @property
    def config(self) -> Any:
        """The part of transformers' config that is about the text decoder."""
        return text_config(self.hf.config)

    @cached_property
    def _output_map(self) -> tuple[float, float | None]:
        try:
            with self.as_loaded.lifted("its unembedding"):
                return output_map(self.hf)
        except InputError:
            return output_map(self.hf)

    @property
    def logit_scale(self) -> float:
        """What the unembedding's output is multiplied by; 1 for most."""
        return self._output_map[0]

    @property
    def logit_cap(self) -> float | None:
        """The soft cap on the logits: ``cap · tanh(logit_scale · u / cap)``; None without one."""
        return self._output_map[1]

    @cached_property
    def accepts(self) -> frozenset[str]:
        """Names of the arguments that the model's forward takes."""
        # The class's: a forward that somebody wraps tells nothing of it.
        return frozenset(inspect.signature(type(self.hf).forward).parameters)

    def attn_out(self, layer: int) -> str:
        """Return the path of a layer's attention output projection, whose input is z.

        Raises:
            InputError: When the layer has no attention heads.
        """
        if layer not in self.head_layers and layer < self.n_layers:
            raise InputError(
                f"layer {layer} of {self.name} has no attention heads; those with heads are "
                f"{', '.join(map(str, self.head_layers))}"
            )
        return self.arch.attn_out_path(layer)

    def mlp_out(self, layer: int) -> str:
        """Return the path of a layer's MLP down-projection, whose input is its units.

        Raises:
            InputError: When the layer has no MLP units.
        """
        path = self.arch.mlp_out_path(layer)
        if path is None or (layer not in self.unit_layers and layer < self.n_layers):
            raise InputError(self._why_no_units(layer))
        return path

    def post_attn_norm(self, layer: int) -> str | None:
        """Return the path of the norm on a layer's attention output, None without one."""
        return self._there(self.arch.post_attn_norm_path(layer))

    def post_mlp_norm(self, layer: int) -> str | None:
        """Return the path of the norm on a layer's MLP output, None without one."""
        return self._there(self.arch.post_mlp_norm_path(layer))

    def _there(self, path: str | None) -> str | None:
        # Layers of a hybrid may differ in their norms.
        return path if path in self._names else None

    def _why_no_units(self, layer: int) -> str:
        mixture = has_experts(self.module(f"{self.arch.layers}.{layer}"))
        why = "is a mixture of experts" if mixture else "has no MLP whose down-projection is known"
        return f"layer {layer} of {self.name} {why}: it has no units to edit; take heads"

    @property
    def heads(self) -> list[Head]:
        """Every head, layer by layer, H in all."""
        return [Head(layer, index) for layer in self.head_layers for index in range(self.n_heads)]

    def module(self, path: str) -> nn.Module:
        """Return a submodule by its dotted path."""
        return get_module(self.hf, path)

    def w_o(self, head: Head) -> Tensor:
        """Return a head's output matrix W_O, shape ``[d_head, d_model]``: ``o = z @ W_O``."""
        rows = _rows(self.module(self.attn_out(head.layer))).to(self.device)
        return rows.view(self.n_heads, -1, rows.shape[1])[head.index]

    def w_out(self, layer: int) -> Tensor:
        """Return what the units write, W_out, ``[n_units, d_model]``: a unit ``a_u * W_out[u]``."""
        return _rows(self.module(self.mlp_out(layer))).to(self.device)

    @cached_property
    def n_units(self) -> int:
        """MLP units per layer.

        Raises:
            InputError: When a layer has none.
        """
        for layer in range(self.n_layers):
            if layer not in self.unit_layers:
                raise InputError(self._why_no_units(layer))
        return int(_rows(self.module(self.mlp_out(0))).shape[0])

    @property
    def d_vocab(self) -> int:
        """Tokens of the vocabulary: rows of the unembedding."""
        return int(self.hf.get_output_embeddings().weight.shape[0])

    def encode(
        self,
        prompts: Sequence[Written],
        new_tokens: int = 0,
        *,
        chat: Chat | None = None,
        names: Sequence[str] | None = None,
    ) -> Prompts:
        """Return free prompts as tokens; see `emolib.models.encoding.encode`."""
        limit = self._limit(new_tokens)
        found = encode(self.tokenizer, prompts, limit, chat=chat, names=names)
        self._check_ids(found)
        return found

    def align(
        self,
        pairs: Sequence[Pair],
        new_tokens: int = 0,
        *,
        chat: Chat | None = None,
        names: Sequence[str] | None = None,
    ) -> AlignedPairs:
        """Return the pairs that align under this tokenizer; see `emolib.models.encoding.align`."""
        limit = self._limit(new_tokens)
        found = align(self.tokenizer, pairs, limit, chat=chat, names=names)
        for side in (found.emotion, found.neutral):
            self._check_ids(side)
        return found

    def tokens(self, prompt: Written, chat: Chat | None = None) -> tuple[int, ...]:
        """Return the token ids of one prompt; see `emolib.models.encoding.tokens`."""
        return tokens(self.tokenizer, prompt, chat)

    def _check_ids(self, prompts: Prompts) -> None:
        """Check that the model has the tokens that its tokenizer makes of prompts.

        Raises:
            InputError: When one is none of its vocabulary.
        """
        count = int(self.hf.get_input_embeddings().weight.shape[0])
        for text, ids in zip(prompts.texts, prompts.ids, strict=True):
            if ids and not 0 <= min(ids) <= max(ids) < count:
                raise InputError(
                    f"model {self.name!r}: its tokenizer makes token {max(ids)} of {text[:40]!r}, "
                    f"and its vocabulary has {count}; take the tokenizer that it was saved with"
                )

    def _limit(self, new_tokens: int) -> int | None:
        return None if self.context is None else self.context - new_tokens

    def in_pieces(self, words: Sequence[str]) -> tuple[str, ...]:
        """Return the words that are several tokens in mid-sentence, which `word_ids` leaves out."""
        return tuple(word for word in words if self._word_id(word) is None)

    def word_ids(self, words: Sequence[str], what: str = "words") -> Tensor:
        """Return the ids of the words that are one token in mid-sentence, shape ``[words]``.

        Words of several tokens are left out: the logit of a first piece is not the word's.

        Raises:
            InputError: When none of the words is one token.
        """
        ids = [token for word in words if (token := self._word_id(word)) is not None]
        if not ids:
            shown = ", ".join(words[:5]) + (", …" if len(words) > 5 else "")
            raise InputError(
                f"none of the {what} ({shown}) is a single token under the "
                f"tokenizer of {self.name}; add some that are"
            )
        return torch.tensor(sorted(set(ids)), device=self.device)

    def _word_id(self, word: str) -> int | None:
        # What the word adds after itself: right for every tokenizer, whether it marks the space
        # before a word (Ġ, ▁) or not, and whatever it does at the start of a text.
        first, both = (
            self.tokenizer(text, add_special_tokens=False)["input_ids"]
            for text in (word, f"{word} {word}")
        )
        if both[:-1] != first or both[-1] in self.tokenizer.all_special_ids:
            return None
        if both[-1] >= self.d_vocab:
            return None
        return int(both[-1])

    def target_ids(self, emotion: Lexicon, neutral: Lexicon) -> tuple[Tensor, Tensor]:
        """Return the token ids T_emo and T_neu of ``logit_diff``.

        Raises:
            InputError: When either is empty under this tokenizer.
        """
        return (
            self.word_ids(emotion.targets, f"targets of {emotion.name}"),
            self.word_ids(neutral.targets, "targets of neutral"),
        )


def _rows(projection: Any) -> Tensor:
    """Return a projection's weight as ``[in, out]``."""
    weight: Tensor = projection.weight
    # transformers' Conv1D stores [in, out], nn.Linear [out, in].
    return weight if type(projection).__name__ == "Conv1D" else weight.T
