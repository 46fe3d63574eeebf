"""A model made from a GGUF file, tensor by tensor: never more in memory than its own weights.

transformers makes what it can of the metadata (configuration, tokenizer) and knows what a tensor's
name and layout are in a file; it asks the ``gguf`` package for all of that at once, an array of
numpy for every word of the vocabulary and a copy of every tensor. Here a file is read in pieces,
and each is let go of before the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from transformers import initialization, modeling_gguf_pytorch_utils

from emolib.errors import InputError
from emolib.models.gguf_header import ADVICE, Entry, Packed, read_header

_SLICE = 8 * 2**20
"""Bytes of float32 that are unpacked at once; unpacking takes a few times that."""
_AS_STORED = ("token_embd.weight", "output.weight")
"""Tensors of the size of the vocabulary: the same in a file and in transformers."""

_known: Any = modeling_gguf_pytorch_utils
_starting: Any = initialization


@dataclass(frozen=True)
class Field:
    """A key of the metadata, as transformers reads it off the ``gguf`` package.

    Attributes:
        parts: Its values, each an array of numbers or of the bytes of a text.
        types: Its type; of an array that, and the type of its values.
    """

    parts: Sequence[NDArray[Any]]
    types: list[Any]

    @property
    def data(self) -> range:
        """Which of the parts are values: all."""
        return range(len(self.parts))


class Values(Sequence[NDArray[Any]]):
    """The values of a key, made of the bytes of a file when asked for."""

    def __init__(self, entry: Entry) -> None:
        """Hold where they lie."""
        self._entry = entry

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entry)

    def __getitem__(self, index: Any) -> Any:
        """Return one of them."""
        found = self._entry[index]
        return np.frombuffer(found, np.uint8) if isinstance(found, bytes) else np.array([found])


class Reader:
    """What transformers asks ``gguf.GGUFReader`` for.

    Attributes:
        fields: The metadata by key.
        tensors: What the file says of its tensors.
    """

    def __init__(self, path: str | Path) -> None:
        """Read the header."""
        kinds: Any = import_module("gguf").GGUFValueType
        header = read_header(Path(path))
        self.fields = {
            key: Field(Values(entry), [kinds(kind) for kind in entry.types])
            for key, entry in header.entries.items()
        }
        self.tensors: Sequence[Packed] = header.tensors


@contextmanager
def read_in_pieces() -> Iterator[None]:
    """Have transformers read GGUF files through `Reader`, each header once."""
    package: Any = import_module("gguf")
    reader = package.GGUFReader
    package.GGUFReader = cache(Reader)
    try:
        yield
    finally:
        package.GGUFReader = reader


def model_of(path: Path, config: Any, dtype: torch.dtype) -> tuple[Any, set[str]]:
    """Return the model of a GGUF file with its weights, and the names of those that it lacks.

    Args:
        path: The file.
        config: What transformers made of its metadata.
        dtype: The type of the weights.

    Returns:
        (The model; the weights that are missing, or of another shape than the configuration says.)
    """
    auto: Any = transformers.AutoModelForCausalLM
    with _starting.no_init_weights():
        hf = auto.from_config(config, dtype=dtype, attn_implementation="eager")
    hf.tie_weights()
    weights = dict(hf.named_parameters()) | _saved_buffers(hf)
    missing = set(weights)
    header = read_header(path)
    architecture = header.values.get("general.architecture")
    settings = config.to_dict()
    processor = _known.TENSOR_PROCESSORS.get(architecture, _known.TensorProcessor)(config=settings)
    names: dict[str, str] = _known.get_gguf_hf_weights_map(hf, processor)
    with path.open("rb") as file, torch.no_grad():
        for packed in header.tensors:
            name = names.get(packed.name)
            if name not in weights:
                continue
            target = weights[name]
            if packed.name in _AS_STORED:
                parts = _in_slices(file, packed)
            else:
                (whole,) = _in_slices(file, packed, at_once=True)
                made = processor.process(
                    weights=whole, name=packed.name, tensor_key_mapping=names, parsed_parameters={}
                )
                parts = iter([made.weights])
            if _fill(target, parts):
                missing.discard(name)
    hf.tie_weights()
    return hf, missing


def _saved_buffers(hf: Any) -> dict[str, Tensor]:
    saved = hf.state_dict().keys()
    return {name: buffer for name, buffer in hf.named_buffers() if name in saved}


def _fill(target: Tensor, parts: Iterator[NDArray[np.float32]]) -> bool:
    """Copy parts, one after the other along the first dim; return whether they fit."""
    start = 0
    for part in parts:
        stop = start + len(part)
        if stop > len(target) or part.shape[1:] != target.shape[1:]:
            return False
        target[start:stop] = torch.from_numpy(np.ascontiguousarray(part))
        start = stop
    return start == len(target)


def _in_slices(
    file: Any, packed: Packed, *, at_once: bool = False
) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of a tensor unpacked, some at a time.

    Raises:
        InputError: When its rows are no whole blocks, its type is not unpacked, or the file ends
            before it does.
    """
    quants: Any = import_module("gguf.quants")
    constants: Any = import_module("gguf.constants")
    unread = InputError(
        f"{Path(file.name).name}: tensor {packed.name}: the gguf package unpacks no numbers of "
        f"GGML's type {packed.kind}; update it, or take a file of another quantization"
    )
    try:
        kind = constants.GGMLQuantizationType(packed.kind)
    except ValueError:
        raise unread from None
    block, size = constants.GGML_QUANT_SIZES[kind]
    shape = packed.shape
    width = shape[-1]
    if width % block:
        raise InputError(
            f"{Path(file.name).name}: tensor {packed.name}: rows of {width} numbers are no whole "
            "blocks"
        )
    row_bytes = width // block * size
    rows = int(np.prod(shape[:-1], dtype=np.int64))
    step = rows if at_once else max(1, _SLICE // (4 * width))
    file.seek(packed.start)
    for start in range(0, rows, step):
        count = min(step, rows - start)
        raw = np.zeros((count, row_bytes), np.uint8)
        if file.readinto(raw) != raw.nbytes:
            raise InputError(
                f"{file.name}: a damaged GGUF file (tensor {packed.name} ends early); {ADVICE}"
            )
        try:
            values: NDArray[np.float32] = quants.dequantize(raw, kind)
        except NotImplementedError:
            raise unread from None
        yield values.reshape(shape) if at_once else values.reshape(count, *shape[1:])
