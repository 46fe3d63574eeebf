"""Language models by what the method needs of them, from files to heads.

- ``architectures``: how a layer of each architecture is put together, a row a model type.
- ``structure``: the same of a model without a row, found by shape and place.
- ``sources``: where a model comes from, read from its files alone; loads no torch.
- ``safetensors_header``: whether weights are whole, told by their head.
- ``gguf_header``, ``gguf_weights``: what a GGUF file says of its model, and the model made of it.
- ``chat``: prompts through a tokenizer's chat template.
- ``prompt_check``: whether prompts fit the models, asked before weights are loaded.
- ``encoding``: prompts as tokens, aligned into pairs, padded into batches.
- ``placement``: where a model runs: a device by its name, a large model on several GPUs.
- ``language_model``: the model with its tokenizer and names for its heads.
- ``loading``: the model of a source, with its weights. ``model_files``: what counts of the files of
  a model that somebody else made, and whether they are whole.
- ``classifiers``: classifiers of texts from folders of the user's.
- ``miniatures``: every type of transformers built tiny, to verify structure on.
- ``snapshot``: what a model was when it was loaded, and what others have put on it since.

Public are the names of ``__all__``; each loads its module, and most of them torch, when used.
"""

from typing import TYPE_CHECKING

from emolib.lazy import hand_on

if TYPE_CHECKING:
    from emolib.models.architectures import Architecture, architecture, register
    from emolib.models.encoding import AlignedPairs, Prompts, align, encode
    from emolib.models.language_model import LanguageModel
    from emolib.models.loading import load
    from emolib.models.sources import Source, embedded_names, find
else:
    __getattr__, __dir__ = hand_on(
        __name__,
        {
            "emolib.models.architectures": ["Architecture", "architecture", "register"],
            "emolib.models.encoding": ["AlignedPairs", "Prompts", "align", "encode"],
            "emolib.models.language_model": ["LanguageModel"],
            "emolib.models.loading": ["load"],
            "emolib.models.sources": ["Source", "embedded_names", "find"],
        },
    )

__all__ = [
    "AlignedPairs",
    "Architecture",
    "LanguageModel",
    "Prompts",
    "Source",
    "align",
    "architecture",
    "embedded_names",
    "encode",
    "find",
    "load",
    "register",
]
