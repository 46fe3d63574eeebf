"""What a GGUF file says of its model: read from its header alone, no tensor and no torch.

The ``gguf`` package reads the same keys, and the vocabulary with them, an array of numpy a token:
ten seconds for Gemma's 262,144. The layout is that of the GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from emolib.errors import InputError

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q",
            12: "d"}  # fmt: skip
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
ADVICE = "download it again, or name a folder with safetensors"

# general.architecture, which names keys and tensors, to the model_type of transformers. In each of
# them a file gives the logits of the weights it was made from: tests/models/test_gguf_header.py.
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
class Entry:
    """The value of one key, as the bytes that it is in the file.

    Attributes:
        kind: Its type, of an array that of its values.
        count: How many values there are; None of one that is no array.
        raw: The values one after the other, a text with its length before it.
    """

    kind: int
    count: int | None
    raw: bytes

    @property
    def types(self) -> list[int]:
        """The type; of an array that, and the type of its values."""
        return [self.kind] if self.count is None else [_ARRAY, self.kind]

    @property
    def value(self) -> Any:
        """The number or text; of an array its length."""
        if self.count is not None:
            return self.count
        found = self[0]
        return found.decode("utf-8") if isinstance(found, bytes) else found

    def __len__(self) -> int:
        """Return the number of values."""
        return 1 if self.count is None else self.count

    def __getitem__(self, index: int) -> Any:
        """Return one of the values, of a text its bytes."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        if self.kind == _STRING:
            start, stop = self._texts[index]
            return self.raw[start:stop]
        layout = f"<{_code(self.kind)}"
        (number,) = struct.unpack_from(layout, self.raw, index * struct.calcsize(layout))
        return number

    @cached_property
    def _texts(self) -> list[tuple[int, int]]:
        places, place = [], 0
        for _ in range(len(self)):
            start = place + 8
            place = start + int.from_bytes(self.raw[place:start], "little")
            places.append((start, place))
        return places


@dataclass(frozen=True)
class Packed:
    """Where a tensor lies in its file.

    Attributes:
        name: Its name.
        shape: Its shape, the dim whose numbers lie side by side last.
        kind: How its numbers are stored, a type of GGML.
        start: The byte of the file that it starts at.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says before its tensors.

    Attributes:
        entries: By key its value.
        tensors: The tensors in the order of the file.
    """

    entries: dict[str, Entry]
    tensors: tuple[Packed, ...]

    @cached_property
    def values(self) -> dict[str, Any]:
        """By key its number or text; of an array its length."""
        return {key: entry.value for key, entry in self.entries.items()}

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the tensors."""
        return frozenset(tensor.name for tensor in self.tensors)

    def of_model(self, key: str) -> Any:
        """Return the value of a key that starts with the architecture, None without one."""
        return self.values.get(f"{self.values.get('general.architecture')}.{key}")


def read_header(path: Path) -> Header:
    """Return what a GGUF file says before its tensors.

    Raises:
        InputError: When it is not a GGUF file, is cut short, or has another version.
    """
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise InputError(f"{path}: not a GGUF file (it does not start with GGUF); {ADVICE}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            try:
                return _read(_Cursor(content, 4))
            except (struct.error, UnicodeDecodeError, IndexError) as error:
                raise InputError(f"{path}: a damaged GGUF file ({error}); {ADVICE}") from None
            except ValueError as error:
                raise InputError(f"{path}: {error}; {ADVICE}") from None


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

    def entry(self) -> Entry:
        kind, count = self.number("I"), None
        if kind == _ARRAY:
            kind, count = self.number("I"), self.number("Q")
        start = self.place
        if kind == _STRING:
            for _ in range(1 if count is None else count):
                self.skip(8 + self.number_ahead())
        else:
            self.skip((1 if count is None else count) * struct.calcsize(_code(kind)))
        found = Entry(kind, count, self.content[start : self.place])
        if kind == _STRING and count is None:
            assert found.value is not None
        return found


def _code(kind: int) -> str:
    if kind not in _NUMBERS:
        raise ValueError(f"its metadata has a value of kind {kind}, which GGUF does not define")
    return _NUMBERS[kind]


def _read(cursor: _Cursor) -> Header:
    version = cursor.number("I")
    if version not in _VERSIONS:
        raise ValueError(f"GGUF version {version}; expected {' or '.join(map(str, _VERSIONS))}")
    n_tensors, n_keys = cursor.number("Q"), cursor.number("Q")
    entries = {cursor.text(): cursor.entry() for _ in range(n_keys)}
    listed = [_listed(cursor) for _ in range(n_tensors)]
    alignment = entries["general.alignment"].value if "general.alignment" in entries else 32
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"general.alignment is {alignment!r}; expected a whole number from 1")
    begin = -(-cursor.place // alignment) * alignment
    tensors = tuple(replace(one, start=begin + one.start) for one in listed)
    # Where each ends depends on its type, and is seen when it is unpacked.
    if any(one.start >= len(cursor.content) for one in tensors):
        raise IndexError("it ends before its tensors do")
    return Header(entries, tensors)


def _listed(cursor: _Cursor) -> Packed:
    """Read where one tensor lies, from the first."""
    name = cursor.text()
    dims = [cursor.number("Q") for _ in range(cursor.number("I"))]
    return Packed(name, tuple(reversed(dims)), cursor.number("I"), cursor.number("Q"))
