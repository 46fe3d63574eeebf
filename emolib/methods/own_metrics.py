"""Metrics of one's own: functions of logits or of texts that every readout then has by name.

A function with the decorator, in a ``conftest.py``, in an experiment's file or in any module that
is imported, is a metric like ``logit_diff``: ``run().metric("entropy")``, or ``run().entropy``.
Those of logits are computed in the sweeps, a few rows at a time, so that logits are never kept.
"""

from __future__ import annotations

import inspect
import marshal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args, overload

from emolib.errors import InputError
from emolib.files import hash_files, hash_json

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Of = Literal["logits", "texts"]
"""What a metric is of."""
RESERVED = frozenset(
    {
        # What a readout has.
        *("prompts", "logits", "logit_diff", "log_odds", "prob_mass", "metric", "own_metrics"),
        *("kl", "continuations", "texts", "margin", "sentiment", "keyword_rate", "negated_rate"),
        *("keyword_changes", "distinct_2", "fluency", "changed"),
        # Columns that stand beside metrics in tables.
        *("item", "model", "emotion", "heads", "units", "ablation", "direction", "position"),
        *("recovery", "recovery_random", "random_units", "spec", "ranking", "precision", "row"),
        *("prompt", "clean_text", "ablated_text", "patched_text"),
    }
)
"""Names that are taken."""
PREFIXES = ("logit_diff_", "keyword_rate_", "classifier_", "why_no_")
"""What names that are taken begin with."""
_ROUNDING = 1e-6

Function = TypeVar("Function", bound=Callable[[Any], Any])
_registered: dict[str, OwnMetric] = {}


@dataclass(frozen=True)
class OwnMetric:
    """One metric.

    Attributes:
        name: The function's name, which readouts and tables know it by.
        of: What it is of.
        function: The function: from logits ``[n, vocab]``, in float64, to a number each, ``[n]``;
            or from n texts to n numbers.
    """

    name: str
    of: Of
    function: Callable[[Any], Any]

    @property
    def _code(self) -> Any:
        return inspect.unwrap(self.function).__code__

    @property
    def where(self) -> str:
        """Where it stands: file and line."""
        return f"{self._code.co_filename}:{self._code.co_firstlineno}"

    @cached_property
    def hash(self) -> str:
        """Hash of its source: of the file that it stands in, helpers beside it included."""
        file = Path(self._code.co_filename)
        source = hash_files([file]) if file.is_file() else marshal.dumps(self._code).hex()
        return hash_json([self.name, self.of, source])

    def replaces(self, other: OwnMetric) -> bool:
        """Tell whether it is another one come again: its file, or its cell, is run once more."""
        in_main = self.function.__module__ == other.function.__module__ == "__main__"
        # A notebook or a shell has no file; there a definition is written over.
        shell = in_main and not hasattr(sys.modules["__main__"], "__file__")
        return shell or self.where == other.where


@overload
def metric(function: Function, /) -> Function: ...


@overload
def metric(*, of: Of) -> Callable[[Function], Function]: ...


def metric(function: Any = None, /, *, of: Of = "logits") -> Any:
    """Make a function a metric that every run is read with, under the function's name.

    ::

        @emolib.metric
        def entropy(logits):
            log_p = logits.log_softmax(-1)
            return -(log_p.exp() * log_p).sum(-1)

        @emolib.metric(of="texts")
        def exclamations(texts):
            return [text.count("!") for text in texts]

    A metric of logits gets those at the last prompt token of several runs and prompts at once,
    ``[n, vocab]`` in float64, a copy of its own, and returns a tensor with a number for each row,
    of that row alone; it is averaged over an intervention's draws. One of texts gets the greedy
    continuations of a run, without the prompts, and returns a number for each. Studies that are
    made after this have it.

    Args:
        function: The function; it is returned as it was.
        of: ``logits`` or ``texts``.

    Raises:
        InputError: When it is no function of one argument, or its name is taken.
    """
    if function is None:
        return lambda given: metric_of(given, of)
    return metric_of(function, of)


def metric_of(function: Function, of: Of) -> Function:
    """Register a function as a metric and return it; see `metric`.

    Raises:
        InputError: When it is no function of one argument, or its name is taken.
    """
    if of not in get_args(Of):
        raise InputError(f"metric: of: expected one of {', '.join(get_args(Of))}, got {of!r}")
    if not inspect.isfunction(function) or not function.__name__.isidentifier():
        raise InputError(
            f"metric: expected a function with a name, got {function!r}; write @emolib.metric or "
            '@emolib.metric(of="texts") above a def'
        )
    made = OwnMetric(function.__name__, of, function)
    here = f"metric {made.name} ({made.where})"
    if not _takes_one(function):
        raise InputError(f"{here}: expected a function of one argument, the {of}")
    if made.name in RESERVED or made.name.startswith(PREFIXES) or made.name.startswith("_"):
        raise InputError(f"{here}: the name is taken; take another one")
    other = _registered.get(made.name)
    if other is not None and not made.replaces(other):
        raise InputError(f"{here}: there is one of that name already, {other.where}; rename one")
    _registered[made.name] = made
    return function


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    return True


def registered() -> dict[str, OwnMetric]:
    """Return the metrics that there are now, by name."""
    return dict(_registered)


def hashes() -> dict[str, str]:
    """Return the hash of each metric's source, by name: what rows with them follow from."""
    return {name: made.hash for name, made in sorted(_registered.items())}


def of_logits(own: OwnMetric) -> Callable[[Tensor], Tensor]:
    """Return the function of a metric of logits, checked the first time that rows come together.

    Raises:
        InputError: From the function, when the metric raises, or what it says of a row depends on
            the rows beside it.
    """
    # Imported here: who registers a metric does without it.
    from torch import float64

    checked = False

    def measure(logits: Tensor) -> Tensor:
        nonlocal checked
        found = _called(own, logits.to(float64, copy=True))
        if not checked and len(logits) > 1 and getattr(found, "shape", None) == logits.shape[:1]:
            alone = float(_called(own, logits[:1].to(float64, copy=True))[0])
            if abs(alone - float(found[0])) > _ROUNDING * max(1.0, abs(alone)):
                raise InputError(
                    f"metric {own.name}: expected a number of each row of logits by itself, got "
                    f"{float(found[0]):g} beside others and {alone:g} alone; sum over the last "
                    "axis only"
                )
            checked = True
        values: Tensor = found
        return values

    return measure


def of_texts(own: OwnMetric) -> Callable[[Sequence[str]], NDArray[Any]]:
    """Return the function of a metric of texts, whose values are checked.

    Raises:
        InputError: From the function, when the metric raises or does not return a finite number
            for each text.
    """

    def measure(texts: Sequence[str]) -> NDArray[Any]:
        # Imported here: who registers a metric does without it.
        import numpy as np

        found = _called(own, list(texts))
        try:
            values = np.asarray(found, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.array(np.nan)
        if values.shape != (len(texts),):
            got = list(values.shape) if values.ndim else type(found).__name__
            raise InputError(
                f"metric {own.name}: expected a number for each of {len(texts)} texts, got {got}"
            )
        if bad := int((~np.isfinite(values)).sum()):
            raise InputError(not_finite(own.name, bad, len(texts)))
        return values

    return measure


def _called(own: OwnMetric, given: Any) -> Any:
    try:
        return own.function(given)
    except Exception as error:
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            # Whoever runs the model makes room.
            raise
        raise InputError(
            f"metric {own.name} ({own.where}) raised {type(error).__name__}: {error}"
        ) from error


def not_finite(name: str, bad: int, count: int) -> str:
    """Return the message on a metric some of whose values are not finite."""
    return (
        f"metric {name}: expected finite numbers, got {bad} of {count} that are not; let it say "
        "what it says where it is not defined"
    )


def names_of(metrics: Mapping[str, OwnMetric], of: Of) -> tuple[str, ...]:
    """Return the names of the metrics of one kind, in the order in which they came."""
    return tuple(name for name, own in metrics.items() if own.of == of)
