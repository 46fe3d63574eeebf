"""Whether a safetensors file is whole, told by what it says before its tensors: no torch.

A download that broke off is the usual fault of a model folder. Loading would find it too, after
torch, and other models' items, have run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any, TypeGuard

from emolib.documents import opened, parse_json
from emolib.errors import InputError

_EXPECTED = "expected weights in safetensors; download or save the model again"
# The most that the format allows.
_LONGEST = 100_000_000
_ABOUT = "__metadata__"
# Of others, which later versions may have, the size is not checked.
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64"), 64),
}


def check_weights(path: Path) -> dict[str, str]:
    """Check that a safetensors file has all the bytes that it says it has.

    Returns:
        By name the type that a tensor is stored in, ``F32``.

    Raises:
        InputError: When it cannot be read, is another kind of file, or was cut short.
    """
    with opened(path, _EXPECTED) as (file, size):
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if length > min(_LONGEST, size - 8):
            raise InputError(f"{path}: {_why_none(start)}; {_EXPECTED}")
        content = file.read(length)
    try:
        return _types(parse_json(content.decode("utf-8")), size - 8 - length)
    except UnicodeDecodeError:
        raise InputError(f"{path}: no safetensors (its head is no text); {_EXPECTED}") from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}: no safetensors (its head is not JSON: {error.msg}); {_EXPECTED}"
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: {error}; {_EXPECTED}") from None


def _why_none(start: bytes) -> str:
    if len(start) < 8:
        return f"{len(start)} bytes are no safetensors"
    # A clone without its large files has these in their place.
    if start == b"version ":
        return "a pointer of Git LFS, not the file itself (git lfs pull fetches it)"
    return "no safetensors, or cut short in its head"


def _types(head: Any, held: int) -> dict[str, str]:
    """Return by name the type of every tensor.

    Args:
        head: The head.
        held: How many bytes there are behind it.

    Raises:
        ValueError: When it is no head, or tensors have other bytes than there are.
    """
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    tensors = {name: told for name, told in head.items() if name != _ABOUT}
    if (asked := max((_end(*one) for one in tensors.items()), default=0)) != held:
        what = "cut short" if asked > held else "longer than its tensors are"
        raise ValueError(f"{what}: {held} bytes of tensors, and its head tells of {asked}")
    return {name: told["dtype"] for name, told in tensors.items()}


def _end(name: str, told: Any) -> int:
    """Return the byte that a tensor ends before."""
    if not isinstance(told, Mapping):
        raise ValueError(f"its head has {name[:80]!r} as no object")
    kind, shape, place = (told.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not (isinstance(kind, str) and _are_sizes(shape) and _are_sizes(place) and len(place) == 2):
        raise ValueError(f"its head has no dtype, shape and place of {name[:80]!r}")
    start, end = place
    if kind in _BITS and (end - start) * 8 != prod(shape) * _BITS[kind]:
        raise ValueError(
            f"its head gives {name[:80]!r} {end - start} bytes, and {kind} of the shape "
            f"{shape!r:.80} has others"
        )
    return int(end)


def _are_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
