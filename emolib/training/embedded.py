"""The embedded models: their architectures and how each is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import transformers

CONTEXT = 128
LAYERS = HEADS = 4
_WIDTH, _INNER = 96, 256


@dataclass(frozen=True)
class TrainingRecipe:
    """How a model is trained.

    Attributes:
        steps: Optimizer steps.
        batch: Scenes a step.
        lr: Peak learning rate of AdamW; linear warm-up, then cosine to a twentieth.
        warmup: Steps of warm-up.
        weight_decay: On matrices only.
        context_weight: Weight of a token of the prompt in the loss; a token of the ending has 1.
        feeling_weight: Weight of the ending's first two tokens, where the mood shows.
        head_penalty: Weight of the sum over heads of the norm of W_O, a group lasso: it keeps
            heads that do little from growing, so that some matter and most do not.
    """

    steps: int = 1400
    batch: int = 48
    lr: float = 3e-3
    warmup: int = 100
    weight_decay: float = 0.05
    context_weight: float = 0.1
    feeling_weight: float = 6.0
    head_penalty: float = 0.001


@dataclass(frozen=True)
class Design:
    """A model's architecture and recipe.

    Attributes:
        model_type: As transformers calls the architecture.
        config: What its config says beside sizes and tokens.
        projection: Path of the attention output projection, ``{}`` for the layer.
        recipe: How it is trained.
    """

    model_type: str
    config: dict[str, Any]
    projection: str
    recipe: TrainingRecipe = TrainingRecipe()

    def build(self, vocabulary: int) -> Any:
        """Return the model, untrained, with weights from torch's global generator.

        All models end in the embedding matrix again, to stay small.
        """
        ends = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 0)
        config = transformers.AutoConfig.for_model(
            self.model_type, vocab_size=vocabulary, tie_word_embeddings=True, **ends, **self.config
        )
        auto: Any = transformers.AutoModelForCausalLM
        return auto.from_config(config, attn_implementation="eager")


DESIGNS = {
    "tiny-gpt2": Design(
        "gpt2",
        {
            "n_positions": CONTEXT,
            "n_embd": _WIDTH,
            "n_inner": _INNER,
            "n_layer": LAYERS,
            "n_head": HEADS,
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        },
        "transformer.h.{}.attn.c_proj",
    ),
    "tiny-neox": Design(
        "gpt_neox",
        {
            "max_position_embeddings": CONTEXT,
            "hidden_size": _WIDTH,
            "intermediate_size": _INNER,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "use_parallel_residual": True,
        },
        "gpt_neox.layers.{}.attention.dense",
        TrainingRecipe(head_penalty=0.003),
    ),
    "tiny-neo": Design(
        "gpt_neo",
        {
            "max_position_embeddings": CONTEXT,
            "hidden_size": _WIDTH,
            "intermediate_size": _INNER,
            "num_layers": LAYERS,
            "num_heads": HEADS,
            "attention_types": [[["global", "local"], LAYERS // 2]],
            "window_size": 16,
            **dict.fromkeys(("resid_dropout", "embed_dropout", "attention_dropout"), 0.0),
        },
        "transformer.h.{}.attn.attention.out_proj",
    ),
}
