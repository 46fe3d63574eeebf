"""What a GGUF file says of its model: read from its header alone, no tensor and no torch.

The ``gguf`` package reads the same keys, and the vocabulary with them, an array of numpy a token:
ten seconds for Gemma's 262,144. The layout is that of the GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emolib.errors import InputError

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_ADVICE = "download it again, or name a folder with safetensors"

# general.architecture, which names keys and tensors, to the model_type of transformers. In each of
# them a file gives the logits of the weights it was made from: tests/test_gguf.py.
MODEL_TYPES = {
    "gemma2": "gemma2",
    "gemma3": "gemma3_text",
    "gpt2": "gpt2",
    "llama": "llama",
    "phi3": "phi3",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
}


@dataclass(frozen=True)
class Header:
    """A GGUF file's metadata.

    Attributes:
        values: By key its number or text; of an array its length.
        tensors: Names of the tensors.
    """

    values: dict[str, Any]
    tensors: frozenset[str]

    def of_model(self, key: str) -> Any:
        """Return the value of a key that starts with the architecture, None without one."""
        return self.values.get(f"{self.values.get('general.architecture')}.{key}")


def read_header(path: Path) -> Header:
    """Return the metadata of a GGUF file.

    Raises:
        InputError: When it is not a GGUF file, is cut short, or has another version.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{path}: not a GGUF file (it does not start with GGUF); {_ADVICE}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _read(_Cursor(content, 4))
            except (struct.error, UnicodeDecodeError, IndexError) as error:
                raise InputError(f"{path}: a damaged GGUF file ({error}); {_ADVICE}") from None
            except ValueError as error:
                raise InputError(f"{path}: {error}; {_ADVICE}") from None


class _Cursor:
    """A place in a file."""

    def __init__(self, content: mmap.mmap, place: int) -> None:
        self.content, self.place = content, place

    def number(self, code: str) -> Any:
        layout = f"<{code}"
        (value,) = struct.unpack_from(layout, self.content, self.place)
        self.place += struct.calcsize(layout)
        return value

    def skip(self, count: int) -> None:
        self.place += count
        if self.place > len(self.content):
            raise IndexError("it ends early")

    def text(self) -> str:
        start = self.place + 8
        self.skip(8 + self.number_ahead())
        return self.content[start : self.place].decode("utf-8")

    def number_ahead(self) -> int:
        (value,) = struct.unpack_from("<Q", self.content, self.place)
        return int(value)

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind != _ARRAY:
            return self.number(_code(kind))
        kind, count = self.number("I"), self.number("Q")
        if kind == _STRING:
            for _ in range(count):
                self.skip(8 + self.number_ahead())
        else:
            self.skip(count * struct.calcsize(_code(kind)))
        return count


def _code(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"its metadata has a value of kind {kind}, which GGUF does not define")
    return _NUMBERS[kind]


def _read(cursor: _Cursor) -> Header:
    version = cursor.number("I")
    if version not in _VERSIONS:
        raise ValueError(f"GGUF version {version}; expected {' or '.join(map(str, _VERSIONS))}")
    n_tensors, n_keys = cursor.number("Q"), cursor.number("Q")
    values = {cursor.text(): cursor.value(cursor.number("I")) for _ in range(n_keys)}
    return Header(values, frozenset(_tensor_names(cursor, n_tensors)))


def _tensor_names(cursor: _Cursor, count: int) -> Iterator[str]:
    for _ in range(count):
        yield cursor.text()
        # Its dimensions, type and offset.
        cursor.skip(8 * cursor.number("I") + 4 + 8)
