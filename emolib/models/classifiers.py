"""Classifiers of texts from a folder of the user's: what they are, and what they make of texts.

A classifier is a sequence classifier of transformers, saved with its tokenizer. Its weights are
read from safetensors alone, nothing is downloaded, and no code of its own is run. What its files
say is read without torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emolib.errors import InputError
from emolib.files import hash_files
from emolib.models.safetensors_header import check_weights
from emolib.models.sources import (
    known_types,
    lacking_file,
    read_object,
    tokenizer_files,
    weight_files,
)

if TYPE_CHECKING:
    import torch

_HEAD = "ForSequenceClassification"
_EXPECTED = "expected a sequence classifier of transformers, saved there with its tokenizer"
_AT_ONCE = 32
_NO_LIMIT = 10**6
"""From here on what a tokenizer says of the longest text means that it does not say."""
_classifiers: dict[tuple[Any, ...], Classifier] = {}


class Classifier:
    """A sequence classifier in a folder.

    Attributes:
        name: Name of the folder.
        labels: Its labels, in the order of its outputs.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read what its files say, weights aside.

        Raises:
            InputError: When there is no such folder, or it lacks a head, labels, weights or a
                tokenizer.
        """
        self._folder = Path(folder)
        self._what = f"--classifier {folder}"
        if not self._folder.is_dir():
            raise InputError(f"{self._what}: no such folder; {_EXPECTED}")
        config = read_object(self._what, self._folder / "config.json")
        self.name = self._folder.resolve().name
        self.labels = self._labels(config)
        self._apart = config.get("problem_type") == "multi_label_classification"
        self._read: dict[str, tuple[float, ...]] = {}
        self._check_files()

    def _labels(self, config: dict[str, Any]) -> tuple[str, ...]:
        kinds, kind = config.get("architectures"), config.get("model_type")
        if not isinstance(kinds, list) or not any(str(name).endswith(_HEAD) for name in kinds):
            raise InputError(
                f"{self._what}: its config.json names no model with a head for sequences "
                f"(architectures: {kinds}); {_EXPECTED}"
            )
        if kind not in known_types():
            raise InputError(
                f"{self._what}: transformers has no model of the type {kind!r}, and code of a "
                f"folder's own is not run; {_EXPECTED}"
            )
        # Two labels without names go without saying.
        names = config.get("id2label", {"0": "LABEL_0", "1": "LABEL_1"})
        if not isinstance(names, dict) or len(names) < 2:
            raise InputError(
                f"{self._what}: expected two labels or more (id2label in config.json), got "
                f"{names!r}; a score without labels is no probability"
            )
        if (count := config.get("num_labels", len(names))) not in (None, len(names)):
            # transformers makes up names for as many as it is told there are.
            raise InputError(
                f"{self._what}: config.json has num_labels {count!r:.40}, and names {len(names)}; "
                "take num_labels out, or name them all (id2label)"
            )
        if config.get("problem_type") == "regression":
            raise InputError(f"{self._what}: it is a regression; {_EXPECTED}")
        try:
            return tuple(str(names[str(index)]) for index in range(len(names)))
        except KeyError:
            raise InputError(
                f"{self._what}: expected labels numbered from 0 (id2label in config.json), got "
                f"{names!r}"
            ) from None

    def _check_files(self) -> None:
        lacking = lacking_file(self._folder)
        if lacking and not weight_files(self._folder):
            raise InputError(
                f"{self._what}: no {lacking} in it; only safetensors are loaded, nothing is "
                "unpickled: save it again with save_pretrained"
            )
        if lacking and not tokenizer_files(self._folder):
            raise InputError(f"{self._what}: no tokenizer in it; save it there too")
        if lacking:
            raise InputError(f"{self._what}: no {lacking} in it, a part of its weights")
        for path in weight_files(self._folder):
            try:
                check_weights(path)
            except InputError as error:
                raise InputError(f"{self._what}: {error}") from None

    @property
    def _files(self) -> list[Path]:
        config = self._folder / "config.json"
        return [config, *tokenizer_files(self._folder), *weight_files(self._folder)]

    @property
    def stamp(self) -> tuple[Any, ...]:
        """What tells whether its files were written again."""
        found = (path.stat() for path in self._files)
        return (self._folder.resolve(), *((one.st_size, one.st_mtime_ns) for one in found))

    @cached_property
    def hash(self) -> str:
        """Hash of its configuration, tokenizer and weights."""
        return hash_files(self._files)

    def load(self) -> None:
        """Load it, unless it is loaded.

        Raises:
            InputError: When its weights or tokenizer cannot be read, or a weight is missing.
        """
        assert self._loaded

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """The model, in float32, and its tokenizer."""
        # Imported here: they are slow, and who reads what its files say does without them.
        import torch
        import transformers

        from emolib.models.loading import quiet

        known: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
        models: Any = transformers.AutoModelForSequenceClassification
        try:
            with quiet():
                tokenizer = transformers.AutoTokenizer.from_pretrained(self._folder, **known)
                model, found = models.from_pretrained(
                    self._folder,
                    dtype=torch.float32,
                    use_safetensors=True,
                    ignore_mismatched_sizes=True,
                    output_loading_info=True,
                    **known,
                )
        # Of whatever its files are: safetensors, JSON, tokenizers.
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{self._what}: cannot be loaded ({reason}); {_EXPECTED}") from None
        lost = {str(key) for key in found["missing_keys"]}
        lost |= {str(key[0] if isinstance(key, tuple) else key) for key in found["mismatched_keys"]}
        if lost:
            # transformers draws them at random.
            raise InputError(
                f"{self._what}: {len(lost)} of its weights are missing or of another shape than "
                f"its configuration says ({min(lost)}, …); train or save its head"
            )
        if not isinstance(tokenizer.model_max_length, int) or tokenizer.model_max_length < 1:
            raise InputError(
                f"{self._what}: tokenizer_config.json: model_max_length is "
                f"{tokenizer.model_max_length!r:.40}; expected how many tokens it reads"
            )
        return model.eval(), tokenizer

    def probabilities(
        self, texts: Sequence[str], device: str | torch.device = "cpu"
    ) -> list[tuple[float, ...]]:
        """Return the probability of each label, of each text; each text is read once.

        Of labels that exclude each other they are a softmax, in a classifier of several labels
        at once (``multi_label_classification``) a sigmoid each. What is longer than the
        classifier reads is cut off; an empty text is its end token alone.

        Args:
            texts: The texts.
            device: Where to run.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        for some, rows in self._run(new, device):
            self._read |= dict(zip(some, rows, strict=True))
        return [self._read[text] for text in texts]

    def _run(
        self, texts: Sequence[str], device: str | torch.device
    ) -> Iterator[tuple[Sequence[str], Iterable[tuple[float, ...]]]]:
        import torch

        model, tokenizer = self._loaded
        model.to(device)
        # Without a token to pad with texts cannot stand beside each other.
        pads = tokenizer.pad_token_id, getattr(model.config, "pad_token_id", None)
        at_once = 1 if None in pads else _AT_ONCE
        for start in range(0, len(texts), at_once):
            some = texts[start : start + at_once]
            given = {name: part.to(device) for name, part in self._tokens(some).items()}
            with torch.no_grad():
                logits = model(**given).logits.double()
            found = logits.sigmoid() if self._apart else logits.softmax(-1)
            yield some, map(tuple, found.tolist())

    def _tokens(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return texts as the model reads them, padded on the right."""
        import torch

        model, tokenizer = self._loaded
        most = tokenizer.model_max_length
        if most > _NO_LIMIT:
            most = getattr(model.config, "max_position_embeddings", None)
        cut = {} if most is None else {"truncation": True, "max_length": most}
        ends = (tokenizer.eos_token_id, tokenizer.pad_token_id)
        end = next((token for token in ends if token is not None), 0)
        ids = [one or [end] for one in tokenizer(list(texts), **cut)["input_ids"]]
        pad = end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        width = max(map(len, ids))
        lengths = torch.tensor([[len(one)] for one in ids])
        return {
            "input_ids": torch.tensor([one + [pad] * (width - len(one)) for one in ids]),
            "attention_mask": (torch.arange(width) < lengths).long(),
        }


def classifier(folder: str | Path) -> Classifier:
    """Return the classifier in a folder, the same one until its files are written again.

    Raises:
        InputError: As `Classifier` does.
    """
    found = Classifier(folder)
    return _classifiers.setdefault(found.stamp, found)
