"""Attention heads, sets of heads, and the specs that name them on a command line."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from emolib.errors import InputError

FORMS = "3:5 | 0:0,0:1,3:5 | all | layer:3 | top:10 | random:10"
# No model has more layers or heads than nine digits count, and Python makes no number of thousands.
NUMBER = r"(\d{1,9})"
_HEAD = re.compile(rf"\s*(?:{NUMBER}:{NUMBER}|L{NUMBER}H{NUMBER})\s*", re.ASCII)
_MANY = re.compile(rf"\s*(layer|top|random):{NUMBER}\s*", re.ASCII)


@dataclass(frozen=True, order=True)
class Head:
    """Head ``L{layer}H{index}``, both counted from 0."""

    layer: int
    index: int

    def __str__(self) -> str:
        """Return the field's name for the head, ``L3H5``."""
        return f"L{self.layer}H{self.index}"

    def _repr_html_(self) -> str:
        """Return the name for a notebook, with what its numbers count."""
        return f'<code title="layer {self.layer}, head {self.index}, both from 0">{self}</code>'


@dataclass(frozen=True)
class HeadSet:
    """A set of heads that one intervention edits together.

    The heads are kept sorted, so that the order in which they were named changes nothing.

    Raises:
        InputError: When the set is empty or names a head twice.
    """

    heads: tuple[Head, ...]

    def __post_init__(self) -> None:
        """Sort the heads and refuse an empty or repeated one."""
        ordered = tuple(sorted(self.heads))
        if not ordered:
            raise InputError("a head set needs at least one head, got none")
        for left, right in pairwise(ordered):
            if left == right:
                raise InputError(f"head {left} is named twice in one set; name each head once")
        object.__setattr__(self, "heads", ordered)

    def __str__(self) -> str:
        """Return the heads joined, ``L0H0+L3H5``."""
        return "+".join(map(str, self.heads))

    def _repr_html_(self) -> str:
        """Return the heads for a notebook, each by its name."""
        names = " + ".join(head._repr_html_() for head in self.heads)
        return names if len(self) == 1 else f"{names} ({len(self)} heads, edited together)"

    def __iter__(self) -> Iterator[Head]:
        """Iterate over the heads in order."""
        return iter(self.heads)

    def __len__(self) -> int:
        """Return the number of heads."""
        return len(self.heads)


@dataclass(frozen=True)
class Top:
    """The head or unit of a rank in screening, ``top1`` the strongest; a run finds out which.

    Attributes:
        rank: From 1.
    """

    rank: int

    def __str__(self) -> str:
        """Return ``top1``."""
        return f"top{self.rank}"

    def __len__(self) -> int:
        """Return 1, the number of heads or units."""
        return 1


def head_set(heads: Head | HeadSet | Iterable[Head]) -> HeadSet:
    """Return `heads` as a set, whether one head, a set or several heads were given."""
    if isinstance(heads, HeadSet):
        return heads
    return HeadSet((heads,) if isinstance(heads, Head) else tuple(heads))


def all_heads(n_layers: int, n_heads: int) -> list[Head]:
    """Return every head of a model, layer by layer."""
    return [Head(layer, index) for layer in range(n_layers) for index in range(n_heads)]


def parse_head(text: str) -> Head:
    """Return the head that ``3:5`` or ``L3H5`` names.

    Raises:
        InputError: When `text` is neither.
    """
    match = _HEAD.fullmatch(text)
    if not match:
        raise InputError(f"expected a head such as 3:5 or L3H5, got {text!r}")
    layer, index = (int(group) for group in match.groups() if group is not None)
    return Head(layer, index)


def check_spec(spec: str) -> None:
    """Check the form of a head spec without a model.

    Raises:
        InputError: When `spec` is none of `FORMS`.
    """
    if spec.strip() == "all":
        return
    if many := _MANY.fullmatch(spec):
        if many[1] != "layer" and int(many[2]) == 0:
            raise InputError(f"head spec {spec!r}: expected a count of at least 1, got 0")
        return
    try:
        HeadSet(tuple(parse_head(part) for part in spec.split(",")))
    except InputError as error:
        raise InputError(f"head spec {spec!r}: {error}; the forms are {FORMS}") from None


def expand(
    spec: str,
    n_layers: int,
    n_heads: int,
    *,
    model: str = "the model",
    seed: int = 0,
    having: Sequence[int] | None = None,
) -> list[HeadSet] | list[Top]:
    """Return the interventions that a head spec stands for, each as the set it edits.

    Args:
        spec: One of `FORMS`. ``3:5`` and ``0:0,3:5`` give one (joint) set; ``all``, ``layer:3``
            and ``random:10`` give one set of one head per head, ``top:10`` one rank per head.
        n_layers: Layers of the model.
        n_heads: Heads per layer.
        model: The model's name, for messages.
        seed: For ``random:N``; the same seed draws the same heads.
        having: The layers that have heads; None for all of them.

    Raises:
        InputError: When the spec is malformed, names a head the model lacks, or asks for more
            heads than there are.
    """
    check_spec(spec)
    layers = range(n_layers) if having is None else having
    everything = [head for head in all_heads(n_layers, n_heads) if head.layer in layers]
    shape = f"{model} has {n_layers} layers (0..{n_layers - 1}) of {n_heads} heads"
    if spec.strip() == "all":
        return [HeadSet((head,)) for head in everything]
    many = _MANY.fullmatch(spec)
    if many is None:
        named = HeadSet(tuple(parse_head(part) for part in spec.split(",")))
        for head in named.heads:
            if head.layer >= n_layers or head.index >= n_heads:
                raise InputError(
                    f"head spec {spec!r}: {head} does not exist, {shape} (0..{n_heads - 1}); "
                    "name a head inside that range"
                )
            _check_layer(spec, head.layer, layers, model)
        return [named]
    kind, number = many[1], int(many[2])
    if kind != "layer" and number > len(everything):
        raise InputError(
            f"head spec {spec!r}: {number} heads asked for, {shape}, {len(everything)} in all; "
            "ask for fewer"
        )
    match kind:
        case "layer":
            if number >= n_layers:
                raise InputError(
                    f"head spec {spec!r}: layer {number} does not exist, {shape}; "
                    "name a layer inside that range"
                )
            _check_layer(spec, number, layers, model)
            return [HeadSet((head,)) for head in everything if head.layer == number]
        case "random":
            # A string seed: hash() of a tuple differs from one process to the next.
            chosen = random.Random(f"{seed}:{n_layers}x{n_heads}").sample(everything, number)
            return [HeadSet((head,)) for head in sorted(chosen)]
        case "top":
            return [Top(rank) for rank in range(1, number + 1)]
        case _:
            raise AssertionError(f"head spec {spec!r}: the form {kind} is not expanded here")


def _check_layer(spec: str, layer: int, having: Sequence[int], model: str) -> None:
    if layer not in having:
        raise InputError(
            f"head spec {spec!r}: layer {layer} of {model} has no attention heads; those with "
            f"heads are {', '.join(map(str, having))}"
        )
