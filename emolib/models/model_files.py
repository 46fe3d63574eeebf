"""What a model's files may say, and whether what was loaded of them is whole and finite.

A folder of a model is somebody else's: of its configuration only what describes the model counts,
and whatever is damaged is told in one line that names the model, before its weights take memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from emolib.errors import InputError
from emolib.models.safetensors_header import check_weights
from emolib.models.sources import Source, read_object, weight_files

_AGAIN = "download or save it again"
# How a model is run is ours to say, not its folder's.
_HOW = (
    "attn_implementation",
    "experts_implementation",
    "auto_map",
    "use_kernels",
    "fusion_config",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
    "torchscript",
    "use_cache",
    "gradient_checkpointing",
    # Names of labels, which transformers makes up for as many as it is told there are.
    "num_labels",
    "id2label",
    "label2id",
)
# Nor are names that transformers keeps for itself.
_PRIVATE = "_"
# Numbers that a configuration may ask for: of a byte of the files two, of 4 bits each, and four
# times as many, since tied weights and masks are in no file; of a small model up to this anyway.
_NUMBERS_A_BYTE, _SMALL = 2 * 4, 1 << 22
_SAY_ENDS = ("config.json", "generation_config.json")
_FLOATS = ("F64", "F32", "BF16", "F16")
# The number of a layer, or of an expert, in the name of a weight.
_NUMBER = re.compile(r"(?<![^.])\d+(?=\.)")


@contextmanager
def in_one_line(source: Source, files: str) -> Iterator[None]:
    """Tell what transformers and the formats raise of a model's files in one line.

    Args:
        source: The model.
        files: Which of them are read, for messages.

    Raises:
        InputError: For every exception of the block.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")[:300]
        raise InputError(
            f"model {source.id!r}: {source.folder / files} cannot be used: {type(error).__name__}"
            f"{f': {said}' if said else ''}; {_AGAIN}"
        ) from None


def configuration(source: Source) -> Any:
    """Return transformers' config of a model folder, less what says how the model is to be run.

    ``_attn_implementation`` would replace the eager attention that heads are read of, and a name of
    a kernel there would have transformers look for its code.

    Raises:
        InputError: When config.json is none.
    """
    content = read_object(f"model {source.id!r}", source.folder / "config.json")
    with in_one_line(source, "config.json"):
        kind = CONFIG_MAPPING[source.model_type]
        return kind.from_dict(_described(content))


def _described(content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: _described(value) if isinstance(value, dict) else value
        for name, value in content.items()
        if name not in _HOW and not name.startswith(_PRIVATE)
    }


def without_weights(config: Any, **options: Any) -> Any:
    """Return the model of a config on torch's device ``meta``: its shapes alone.

    Args:
        config: Of transformers.
        **options: As ``from_config`` takes them.
    """
    auto: Any = transformers.AutoModelForCausalLM
    with torch.device("meta"):
        return auto.from_config(config, trust_remote_code=False, **options)


def check_sizes(source: Source, config: Any) -> None:
    """Check that a configuration asks for no more numbers than its files hold.

    Raises:
        InputError: When it does, or it describes no model: told before memory is taken.
    """
    with in_one_line(source, "config.json"):
        hf = without_weights(config)
    asked = sum(weight.numel() for weight in (*hf.parameters(), *hf.buffers()))
    held = sum(path.stat().st_size for path in weight_files(source.folder))
    if asked > _NUMBERS_A_BYTE * held + _SMALL:
        raise InputError(
            f"model {source.id!r}: its configuration asks for {asked:.3g} numbers, and its files "
            f"have {held:.3g} bytes; {_AGAIN}"
        )


def check_layers(source: Source, unexpected: Iterable[str], known: Iterable[str]) -> None:
    """Check that files hold no layers that the configuration leaves out.

    Args:
        source: The model.
        unexpected: Names of weights in its files that the model has no place for.
        known: Names of those that it has.

    Raises:
        InputError: When one would have a place in a layer with another number.
    """
    alike = {_NUMBER.sub("#", name) for name in known}
    endings = {name.partition(".")[2] for name in alike}
    for name in sorted(unexpected):
        if _NUMBER.search(name) and _NUMBER.sub("#", name) in alike | endings:
            raise InputError(
                f"model {source.id!r}: its files have {name}, and its configuration no such layer; "
                f"a model without it would be another one: {_AGAIN}"
            )


def check_types(source: Source, known: Iterable[str]) -> None:
    """Check that weights are stored as what they are, not in a code that has to be undone.

    transformers takes whole numbers and bytes for the weights themselves where a configuration does
    not say how they were quantized.

    Args:
        source: The model.
        known: Names of its parameters.

    Raises:
        InputError: When one is stored as no floating point number of 16 bits or more.
    """
    names = set(known)
    for path in weight_files(source.folder):
        for name, kind in check_weights(path).items():
            # A base model's file has no name of the head in front.
            is_weight = name in names or any(one.endswith(f".{name}") for one in names)
            if kind not in _FLOATS and is_weight:
                raise InputError(
                    f"model {source.id!r}: {path.name} has {name} as {kind}: quantized weights are "
                    "not read; take the model in float32, bfloat16 or float16"
                )


def check_ends(source: Source, hf: Any) -> None:
    """Check that what a model's files say ends a text is a token of the model's.

    Where they do not say, the type's own may be beyond a small vocabulary, and ends nothing.

    Raises:
        InputError: When it is none, so that no text would ever end.
    """
    count = hf.get_input_embeddings().weight.shape[0]
    for path in (source.folder / name for name in _SAY_ENDS):
        if source.gguf is not None or not path.exists():
            continue
        ends = read_object(f"model {source.id!r}", path).get("eos_token_id")
        for end in ends if isinstance(ends, list) else (ends,):
            if end is not None and not (type(end) is int and 0 <= end < count):
                raise InputError(
                    f"model {source.id!r}: {path}: eos_token_id is {end!r:.40}, and its vocabulary "
                    f"has {count} tokens; {_AGAIN}"
                )


def check_numbers(source: Source, hf: nn.Module) -> None:
    """Check that the weights are finite and not all zero.

    Raises:
        InputError: When they are not.
    """
    moved = False
    for name, weight in hf.named_parameters():
        if weight.is_meta or not weight.numel():
            continue
        low, high = (float(end) for end in torch.aminmax(weight.detach()))
        # NaN is passed on by both ends.
        if not (abs(low) < float("inf") and abs(high) < float("inf")):
            raise InputError(
                f"model {source.id!r}: its weight {name} has numbers that are not finite (from "
                f"{low} to {high}); {_AGAIN}"
            )
        moved = moved or (weight.dim() > 1 and (low != 0 or high != 0))
    if not moved:
        raise InputError(f"model {source.id!r}: all of its weights are zero; {_AGAIN}")
