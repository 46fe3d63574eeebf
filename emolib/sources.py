"""Where a model comes from and what it is, read from its files alone: no torch, no weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from emolib.architectures import UnknownArchitecture, architecture, shape_from_config
from emolib.errors import InputError
from emolib.hashing import hash_files
from emolib.profiles import data_root

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
)
_SETTINGS_FILES = ("config.json", "generation_config.json")
_HUB_FILES = ["*.safetensors", "*.safetensors.index.json", *_SETTINGS_FILES, *_TOKENIZER_FILES]


@dataclass(frozen=True)
class Source:
    """A model on disk: its name, folder and shape.

    Attributes:
        name: Short name for ids and file names, ``pythia-160m``.
        id: What the user typed.
        folder: The folder of ``config.json``, safetensors and tokenizer.
        model_type: The architecture, a row of `emolib.architectures`.
        n_layers: Number of layers.
        n_heads: Attention heads per layer.
    """

    name: str
    id: str
    folder: Path
    model_type: str
    n_layers: int
    n_heads: int

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the safetensors files."""
        return hash_files(self.folder.glob("*.safetensors"))

    @cached_property
    def config_hash(self) -> str:
        """Hash of config.json and generation_config.json: how weights are run, what ends a text."""
        return self._hash(_SETTINGS_FILES)

    @cached_property
    def tokenizer_hash(self) -> str:
        """Hash of the tokenizer's files."""
        return self._hash(_TOKENIZER_FILES)

    def _hash(self, names: Iterable[str]) -> str:
        return hash_files(path for name in names if (path := self.folder / name).is_file())


def embedded_names() -> list[str]:
    """Return the names of the models that come with the project."""
    return sorted(path.parent.name for path in (data_root() / "models").glob("*/config.json"))


def find(model: str) -> Source:
    """Return the source of a model, found as an embedded name, a local folder or a Hub id.

    Args:
        model: ``tiny-gpt2``, ``./my-model`` or ``EleutherAI/pythia-160m``.

    Raises:
        InputError: When it is found nowhere, is incomplete, or has an unknown architecture.
    """
    if model.endswith(".gguf"):
        raise InputError(
            f"model {model!r}: .gguf files are not read yet; convert it with transformers "
            "(from_pretrained(gguf_file=…), then save_pretrained) and name the folder"
        )
    if model in embedded_names():
        folder = data_root() / "models" / model
    elif Path(model).is_dir():
        folder = Path(model)
    elif model.startswith((".", "/")) or model.count("/") > 1:
        raise InputError(f"model {model!r}: no such folder; expected one with a config.json")
    else:
        folder = _from_hub(model)
    name = Path(model).resolve().name if folder == Path(model) else model.rsplit("/", 1)[-1]
    return _describe(model, name, folder)


def _from_hub(model: str) -> Path:
    # Imported here: only a Hub id needs it, and it takes a while.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
    except HFValidationError:
        reason = "is not a Hub id either"
    except LocalEntryNotFoundError:
        reason = "its weights are not in the local cache and the Hub cannot be reached"
    except (HfHubHTTPError, OSError) as error:
        reason = f"the Hub answered: {str(error).splitlines()[0]}"
    raise InputError(
        f"model {model!r}: {reason}; name an embedded model ({', '.join(embedded_names())}), "
        "a local folder, or download it once where there is a network (`hf download`)"
    )


def _describe(model: str, name: str, folder: Path) -> Source:
    config = _config(model, folder)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise InputError(f"model {model!r}: {folder / 'config.json'} has no model_type")
    try:
        architecture(model_type)
    except UnknownArchitecture as error:
        raise InputError(f"model {model!r}: {error}") from None
    if not any(folder.glob("*.safetensors")):
        raise InputError(
            f"model {model!r}: no .safetensors in {folder}; only safetensors are loaded: "
            "convert the weights with save_pretrained(safe_serialization=True)"
        )
    if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
        raise InputError(f"model {model!r}: no tokenizer in {folder}; save it there too")
    try:
        layers, heads = shape_from_config(config)
    except ValueError as error:
        raise InputError(f"model {model!r}: {folder}/{error}") from None
    return Source(name, model, folder, model_type, layers, heads)


def _config(model: str, folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"model {model!r}: no config.json in {folder}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"model {model!r}: {path} is not JSON ({error})") from None
    if not isinstance(config, dict):
        raise InputError(f"model {model!r}: {path}: expected an object")
    return config
