"""A model with its weights, from the files of a source: safetensors or GGUF, no remote code."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from emolib.errors import InputError
from emolib.models import gguf_weights, placement
from emolib.models.architectures import BY_HAND
from emolib.models.language_model import LanguageModel
from emolib.models.model_files import (
    check_ends,
    check_layers,
    check_numbers,
    check_sizes,
    check_types,
    configuration,
    in_one_line,
    without_weights,
)
from emolib.models.sources import Source, tokenizer_files, weight_files

_hf_logging: Any = logging
_NO_LIMIT = 10**12
_GENERATION = "generation_config.json"


def load(source: Source, *, device: str = "cpu", dtype: str = "float32") -> LanguageModel:
    """Return the model of a source with its weights loaded: safetensors or GGUF, no remote code.

    Args:
        source: From `emolib.models.sources.find`.
        device: torch's name of a device, or ``auto``. On ``cuda`` a model that is larger than one
            GPU is spread over those that are seen.
        dtype: torch's name of a floating point type.

    Raises:
        InputError: When the device cannot be used or has no room, or a weight is missing.
    """
    device = placement.find_device(device, dtype)
    if source.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise InputError(
            f"model {source.id!r}: transformers has no causal language model of the type "
            f"{source.model_type!r}; take a decoder"
        )
    wanted: torch.dtype = getattr(torch, dtype)
    spread: dict[str, Any] = {}
    with quiet(), _as_folder(source) as (folder, options):
        config, tokenizer = _described(source, folder, options)
        _check_generation(source)
        if source.gguf is not None:
            with in_one_line(source, source.gguf):
                hf, lost = gguf_weights.model_of(folder / source.gguf, config, wanted)
        else:
            check_sizes(source, config)
            spread = _spread(source, config, dtype) if device == "cuda" else {}
            with in_one_line(source, weight_files(source.folder)[0].name):
                hf, lost, more = _from_safetensors(folder, config, wanted, spread)
            check_layers(source, more, hf.state_dict())
            check_types(source, (name for name, _ in hf.named_parameters()))
    _check_whole(source, lost)
    check_ends(source, hf)
    check_numbers(source, hf)
    # A model that is spread stays where its parts are.
    model = LanguageModel(hf if spread else hf.to(device), tokenizer, source.name)
    if model.head_layers != source.head_layers:
        raise InputError(
            f"model {source.id!r}: expected attention heads in layers {list(source.head_layers)}, "
            f"as its configuration says, found them in {list(model.head_layers)}; {BY_HAND}"
        )
    return model


def _described(source: Source, folder: Path, options: Mapping[str, str]) -> tuple[Any, Any]:
    """Return the config and the tokenizer of a source."""
    known: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True, **options}
    if source.gguf is None:
        config, files = configuration(source), tokenizer_files(source.folder)[0].name
    else:
        files = source.gguf
        with in_one_line(source, files):
            config = transformers.AutoConfig.from_pretrained(folder, **known)
    with in_one_line(source, files):
        # How long a text may be is said elsewhere (`emolib.models.encoding`), and nothing is cut.
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            folder, config=config, model_max_length=_NO_LIMIT, **known
        )
    return config, tokenizer


def _spread(source: Source, config: Any, dtype: str) -> dict[str, Any]:
    """Return what has transformers spread a model over GPUs; nothing where one holds it.

    Raises:
        InputError: When all of them do not, or accelerate, which spreads it, is not there.
    """
    # The one that is set first: of a worker it is the worker's.
    order = sorted(range(placement.gpu_count()), key=lambda gpu: gpu != torch.cuda.current_device())
    free = [torch.cuda.mem_get_info(gpu)[0] for gpu in order]
    room = placement.spread(weight_bytes(config, dtype), free, source.name)
    if room is None:
        return {}
    if find_spec("accelerate") is None:
        raise InputError(
            f"model {source.id!r}: is too large for one GPU, and to spread it over several takes "
            "accelerate: pip install accelerate, or use --device cpu"
        )
    by_gpu = {order[index]: bytes_ for index, bytes_ in room.items()}
    return {"device_map": "auto", "max_memory": by_gpu}


def weight_bytes(config: Any, dtype: str) -> int:
    """Return how many bytes a model's weights take, told without any of them."""
    hf = without_weights(config, dtype=getattr(torch, dtype))
    return sum(weight.numel() * weight.element_size() for weight in hf.parameters())


def _from_safetensors(
    folder: Path, config: Any, dtype: torch.dtype, spread: Mapping[str, Any]
) -> tuple[Any, set[str], set[str]]:
    """Return a model, its weights that are missing or fit nowhere, and those without a place."""
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype=dtype,
        attn_implementation="eager",
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
        **spread,
    )
    hf, found = loaded
    lost = {str(key) for key in found["missing_keys"]}
    # With the shapes that differ.
    lost |= {str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"]}
    return hf, lost, {str(key) for key in found["unexpected_keys"]}


def _check_generation(source: Source) -> None:
    """Refuse settings of generation that transformers passes over where it cannot read them."""
    if source.gguf is None and (source.folder / _GENERATION).exists():
        with in_one_line(source, _GENERATION):
            transformers.GenerationConfig.from_pretrained(source.folder, local_files_only=True)


def why_no_half(device: str) -> str | None:
    """Return why a device is no faster in bfloat16 than in float32, None where it is."""
    if device.startswith("cuda"):
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    else:
        cpu: Any = torch.cpu
        fast = device != "cpu" or cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported()
    return None if fast else f"this {device} computes it no faster than float32"


def in_half(model: LanguageModel) -> LanguageModel:
    """Return a copy of a model in bfloat16, without what others have put on it.

    Raises:
        InputError: When what they did cannot be taken off for a while.
    """
    with model.as_loaded.lifted("a copy in half precision"):
        twin = copy.deepcopy(model.hf).to(torch.bfloat16)
    return LanguageModel(twin, model.tokenizer, model.name)


def describe(source: Source) -> tuple[Any, Any]:
    """Return the config and the tokenizer of a source, without its weights."""
    with quiet(), _as_folder(source) as (folder, options):
        return _described(source, folder, options)


@contextmanager
def _as_folder(source: Source) -> Iterator[tuple[Path, dict[str, str]]]:
    """Give the folder that transformers reads a model from, and what else it has to know.

    Of a GGUF file it is one with nothing else in it: a tokenizer.json of another model may lie
    beside the file, and transformers would read that.
    """
    if source.gguf is None:
        yield source.folder, {}
        return
    with TemporaryDirectory() as folder, gguf_weights.read_in_pieces():
        (Path(folder) / source.gguf).symlink_to((source.folder / source.gguf).resolve())
        yield Path(folder), {"gguf_file": source.gguf}


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from printing while a model is loaded."""
    shown, verbosity = _hf_logging.is_progress_bar_enabled(), _hf_logging.get_verbosity()
    _hf_logging.disable_progress_bar()
    _hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        _hf_logging.set_verbosity(verbosity)
        if shown:
            _hf_logging.enable_progress_bar()


def _check_whole(source: Source, lost: set[str]) -> None:
    """Refuse a model of which a weight was not in its file: transformers draws it at random."""
    if lost:
        raise InputError(
            f"model {source.id!r}: {len(lost)} of its weights are missing or of another shape "
            f"than its configuration says ({min(lost)}, …); download or save it again"
        )
