"""Where a model comes from and what it is, read from its files alone: no torch, no weights."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emolib.documents import read_json
from emolib.errors import InputError
from emolib.files import data_root, hash_files
from emolib.models.architectures import (
    MOST,
    UnknownArchitecture,
    active_width,
    head_layers_from_config,
    known_row,
    shape_from_config,
    units_from_config,
    why_no_units,
)
from emolib.models.gguf_header import MODEL_TYPES, Header, read_header
from emolib.models.safetensors_header import check_weights

_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
)
_TEMPLATE_FILE = "chat_template.jinja"
_SETTINGS_FILES = ("config.json", "generation_config.json")
# The one file, or the parts of it, that transformers loads: a repository may hold others beside.
_WHOLE, _PARTS, _INDEX = "model.safetensors", "model-*.safetensors", "model.safetensors.index.json"
_HUB_FILES = [_WHOLE, _PARTS, _INDEX, *_SETTINGS_FILES, *_TOKENIZER_FILES, _TEMPLATE_FILE]
_INDEX_EXPECTED = (
    f"expected the index of weights in {_PARTS} that save_pretrained writes; download or save the "
    "model again"
)
_ADAPTER = "adapter_config.json"
_GGUF_PACKAGES = ("gguf", "accelerate")
_OTHER_FILE = "take the model's safetensors: name their folder or their Hub id"


@dataclass(frozen=True)
class Source:
    """A model on disk: its name, folder and shape.

    Attributes:
        name: Short name for ids and file names, ``pythia-160m``.
        id: What the user typed.
        folder: The folder of ``config.json``, safetensors and tokenizer, or of a GGUF file.
        model_type: The architecture: a row of `emolib.models.architectures`, or one of
            transformers whose structure is found when it is loaded.
        n_layers: Number of layers.
        n_heads: Attention heads per layer.
        gguf: Name of the GGUF file that is all of these in one; None for a folder.
    """

    name: str
    id: str
    folder: Path
    model_type: str
    n_layers: int
    n_heads: int
    gguf: str | None = None

    @cached_property
    def head_layers(self) -> tuple[int, ...]:
        """The layers that have attention heads, as the model's files say."""
        if self.gguf:
            return tuple(range(self.n_layers))
        return head_layers_from_config(_config(self.id, self.folder), self.n_layers)

    @cached_property
    def no_units(self) -> str | None:
        """Why the model has no MLP units, None where it has."""
        return None if self.gguf else why_no_units(_config(self.id, self.folder))

    @cached_property
    def n_units(self) -> int:
        """MLP units per layer.

        Raises:
            InputError: When the model's files do not say.
        """
        if self.gguf:
            count = read_header(self.folder / self.gguf).of_model("feed_forward_length")
            if isinstance(count, int) and count > 0:
                return count
            raise InputError(
                f"model {self.id!r}: expected the number of MLP units in its metadata "
                f"(feed_forward_length), got {count!r}; {_OTHER_FILE}"
            )
        try:
            return units_from_config(_config(self.id, self.folder))
        except ValueError as error:
            raise InputError(f"model {self.id!r}: {self.folder}/{error}") from None

    @cached_property
    def mlp_width(self) -> int:
        """Units of an MLP that a token goes through, for costs: of a mixture its active experts."""
        if self.no_units is None:
            return self.n_units
        return active_width(_config(self.id, self.folder))

    @cached_property
    def weights_hash(self) -> str:
        """Hash of the safetensors files, or of the GGUF file."""
        return hash_files([self.folder / self.gguf] if self.gguf else weight_files(self.folder))

    @cached_property
    def config_hash(self) -> str:
        """Hash of config.json and generation_config.json: how weights are run, what ends a text."""
        return self.weights_hash if self.gguf else self._hash(_SETTINGS_FILES)

    @cached_property
    def tokenizer_hash(self) -> str:
        """Hash of the tokenizer's files, its chat template among them."""
        names = (*_TOKENIZER_FILES, _TEMPLATE_FILE)
        return self.weights_hash if self.gguf else self._hash(names)

    @cached_property
    def context(self) -> int | None:
        """Most tokens the model reads; None where its files do not say."""
        if self.gguf:
            found = read_header(self.folder / self.gguf).of_model("context_length")
        else:
            config = _config(self.id, self.folder)
            found = config.get("max_position_embeddings", config.get("n_positions"))
        return found if isinstance(found, int) else None

    def check_chat(self) -> None:
        """Check that a chat template is among the model's files.

        Raises:
            InputError: When none is.
        """
        if self.gguf:
            values = read_header(self.folder / self.gguf).values
            found, where = "tokenizer.chat_template" in values, f"{self.folder / self.gguf}"
        else:
            path = self.folder / "tokenizer_config.json"
            found = (self.folder / _TEMPLATE_FILE).is_file() or (
                path.is_file()
                and bool(read_object(f"model {self.id!r}", path).get("chat_template"))
            )
            where = f"{path} (key chat_template) or {_TEMPLATE_FILE} beside it"
        if not found:
            raise InputError(
                f"model {self.id!r}: --chat needs a chat template, expected one in {where}; run "
                "without --chat, or take a model that was trained to chat"
            )

    def _hash(self, names: Iterable[str]) -> str:
        return hash_files(path for name in names if (path := self.folder / name).is_file())


def embedded_names() -> list[str]:
    """Return the names of the models that come with the project."""
    return sorted(path.parent.name for path in (data_root() / "models").glob("*/config.json"))


def find(model: str) -> Source:
    """Return the source of a model: an embedded name, a local folder, a GGUF file or a Hub id.

    Args:
        model: ``tiny-gpt2``, ``./my-model``, ``./model.gguf`` or ``EleutherAI/pythia-160m``.

    Raises:
        InputError: When it is found nowhere, is incomplete, or has an unknown architecture.
    """
    if model.endswith(".gguf"):
        return _describe_gguf(model, Path(model))
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
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        # Once there, the Hub is not asked again: a study goes on with what it began with.
        with suppress(LocalEntryNotFoundError):
            folder = Path(
                snapshot_download(model, allow_patterns=_HUB_FILES, local_files_only=True)
            )
            if not lacking_file(folder):
                return folder
        files = {entry.rfilename for entry in HfApi().model_info(model).siblings or ()}
        if "config.json" in files:
            # First what the weights are for: they may be gigabytes of what cannot be used.
            _architecture(model, Path(snapshot_download(model, allow_patterns=["config.json"])))
            return Path(snapshot_download(model, allow_patterns=_HUB_FILES))
        reason = "has no config.json on the Hub (of a repository of GGUF files, download one)"
    except InputError:
        raise
    except HFValidationError:
        reason = "is not a Hub id either"
    except HfHubHTTPError as error:
        reason = f"the Hub answered: {str(error).splitlines()[0]}"
    except Exception:  # Of whichever HTTP library huggingface_hub has.
        reason = "its weights are not in the local cache and the Hub cannot be reached"
    raise InputError(
        f"model {model!r}: {reason}; name an embedded model ({', '.join(embedded_names())}), "
        "a local folder or .gguf file, or download it once where there is a network "
        "(`hf download`)"
    )


def weight_files(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder that transformers loads."""
    whole = folder / _WHOLE
    return [whole] if whole.is_file() else sorted(folder.glob(_PARTS))


def lacking_file(folder: Path) -> str | None:
    """Return the name of a file that a folder lacks to be loaded, None when it is whole."""
    weights = {path.name for path in weight_files(folder)}
    if not weights:
        return _WHOLE
    if _WHOLE not in weights:
        index = folder / _INDEX
        if not index.is_file():
            return _INDEX
        if absent := sorted(_parts_in(index) - weights):
            return absent[0]
    if not tokenizer_files(folder):
        return _TOKENIZER_FILES[0]
    return None


def _parts_in(index: Path) -> set[str]:
    """Return the names of the files that an index of weights names.

    Raises:
        InputError: When it is none.
    """
    found = read_json(index, _INDEX_EXPECTED)
    parts = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(parts, dict) or not all(isinstance(part, str) for part in parts.values()):
        raise InputError(f"{index}: has no weight_map of weights to files; {_INDEX_EXPECTED}")
    for part in parts.values():
        if not fnmatchcase(part, _PARTS) or "/" in part:
            raise InputError(f"{index}: names {part[:80]!r} as a part; {_INDEX_EXPECTED}")
    return set(parts.values())


def _describe(model: str, name: str, folder: Path) -> Source:
    model_type, layers, heads = _architecture(model, folder)
    lacking = lacking_file(folder)
    if lacking == _WHOLE:
        raise InputError(
            f"model {model!r}: no {_WHOLE} in {folder}; only safetensors are loaded, nothing is "
            "unpickled: convert the weights with save_pretrained, or with "
            "https://huggingface.co/spaces/safetensors/convert"
        )
    if lacking in _TOKENIZER_FILES:
        raise InputError(f"model {model!r}: no tokenizer in {folder}; save it there too")
    if lacking:
        raise InputError(
            f"model {model!r}: no {lacking} in {folder}, a part of its weights; copy it there too"
        )
    if (folder / _ADAPTER).exists():
        raise InputError(
            f"model {model!r}: {folder} has {_ADAPTER}, and what an adapter changes depends on "
            "whether peft is installed: merge it into the weights (merge_and_unload), or take the "
            "file out"
        )
    for path in weight_files(folder):
        try:
            check_weights(path)
        except InputError as error:
            raise InputError(f"model {model!r}: {error}") from None
    return Source(name, model, folder, model_type, layers, heads)


def _architecture(model: str, folder: Path) -> tuple[str, int, int]:
    """Return (model_type, layers, heads) from the config.json of a folder."""
    config = _config(model, folder)
    model_type = config.get("model_type")
    if not isinstance(model_type, str):
        raise InputError(f"model {model!r}: {folder / 'config.json'} has no model_type")
    try:
        if known_row(model_type) is None and model_type not in known_types():
            raise UnknownArchitecture(model_type)
        return model_type, *shape_from_config(config)
    except UnknownArchitecture as error:
        raise InputError(f"model {model!r}: {error}") from None
    except ValueError as error:
        raise InputError(f"model {model!r}: {folder}/{error}") from None


def tokenizer_files(folder: Path) -> list[Path]:
    """Return the files of the tokenizer in a folder."""
    return [path for name in _TOKENIZER_FILES if (path := folder / name).is_file()]


def known_types() -> Collection[str]:
    """Return the model types that transformers knows, without loading torch."""
    from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES

    names: Collection[str] = CONFIG_MAPPING_NAMES
    return names


def _describe_gguf(model: str, path: Path) -> Source:
    if not path.is_file():
        raise InputError(f"model {model!r}: no such file; expected a GGUF file")
    missing = [name for name in _GGUF_PACKAGES if find_spec(name) is None]
    if missing:
        raise InputError(
            f"model {model!r}: reading GGUF needs {' and '.join(missing)}: "
            "pip install 'emolib[gguf]'"
        )
    try:
        header = read_header(path)
        model_type = _gguf_type(header)
        counts = [header.of_model(key) for key in ("block_count", "attention.head_count")]
    except InputError as error:
        raise InputError(f"model {model!r}: {error}") from None
    layers, heads = counts
    if not all(isinstance(count, int) and 0 < count <= MOST for count in counts):
        raise InputError(
            f"model {model!r}: expected numbers of layers and heads in its metadata (block_count "
            f"and attention.head_count, up to {MOST}), got {layers!r} and {heads!r}; {_OTHER_FILE}"
        )
    return Source(path.stem, model, path.parent, model_type, layers, heads, gguf=path.name)


def _gguf_type(header: Header) -> str:
    """Return the model_type of a GGUF file that transformers reads as it was meant."""
    name = header.values.get("general.architecture")
    if name not in MODEL_TYPES:
        raise InputError(
            f"its architecture is {name!r}; of GGUF files those of {', '.join(MODEL_TYPES)} are "
            f"read; {_OTHER_FILE}"
        )
    if header.values.get("split.count", 1) > 1:
        raise InputError("it is one part of several; join them with llama-gguf-split --merge")
    if not header.values.get("tokenizer.ggml.tokens"):
        raise InputError(f"it has no tokenizer; {_OTHER_FILE}")
    # What transformers leaves out without a word, so that every number would be a little wrong.
    scaling = header.of_model("rope.scaling.type") not in (None, "none")
    if scaling or header.of_model("rope.scaling.factor") or "rope_freqs.weight" in header.names:
        raise InputError(f"its rope is scaled, which is lost in reading it; {_OTHER_FILE}")
    if name.startswith("gemma") and header.of_model("attention.key_length") != 256:
        raise InputError(f"its scale of attention is lost in reading it; {_OTHER_FILE}")
    return MODEL_TYPES[name]


def _config(model: str, folder: Path) -> dict[str, Any]:
    return read_object(f"model {model!r}", folder / "config.json")


def read_object(what: str, path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        what: Whose file it is, for messages: ``model 'gpt2'``.
        path: The file.

    Raises:
        InputError: When it is not there, or no object.
    """
    if not path.exists():
        raise InputError(f"{what}: no {path.name} in {path.parent}")
    expected = "expected an object"
    # Some configurations have an Infinity, as a bound that there is none of.
    try:
        config = read_json(path, expected, nan=True)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    if not isinstance(config, dict):
        raise InputError(f"{what}: {path}: {expected}")
    return config
