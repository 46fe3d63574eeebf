"""Rankings of heads from files: a list of names, or importance scores as circuit benchmarks have.

The scores are those of the graphs that EAP-IG writes and the circuit track of MIB (Mueller et al.
2504.13151) takes: nodes ``a{layer}.h{head}`` for heads, ``m{layer}`` for MLPs, ``input`` and
``logits`` (docs/science.md, "Circuits").
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emolib.documents import read_json
from emolib.errors import InputError
from emolib.inputs.heads import Head, parse_head

EXPECTED = (
    "expected a list of heads, strongest first, or importance scores, an object with the keys cfg, "
    "nodes, edges"
)
_NODE = re.compile(r"a(\d{1,400})\.h(\d{1,400})", re.ASCII)


@dataclass(frozen=True)
class Ranking:
    """Heads in an order, each once.

    Attributes:
        heads: The heads, strongest first.
        scores: The score of each, by whose size they stand; of a list of names none.
        by: What they are ranked by: a score, or the file's name.
        doubt: Why the order is not to be taken for one, else empty.
    """

    heads: tuple[Head, ...]
    scores: tuple[float, ...]
    by: str
    doubt: str = ""


def node_name(head: Head) -> str:
    """Return the node of a head, ``a3.h5``."""
    return f"a{head.layer}.h{head.index}"


def load_ranking(
    path: Path, model: str, n_layers: int, n_heads: int, having: Sequence[int]
) -> Ranking:
    """Return the ranking in a file, which has every head of a model once.

    Scores rank by their size. Where edges have scores and nodes have none, a head's score is the
    sum over the edges that leave it: of edge attribution patching that is the node's own, by the
    chain rule.

    Args:
        path: The file.
        model: The model's name, for messages.
        n_layers: Layers of the model.
        n_heads: Heads per layer.
        having: The layers that have heads.

    Raises:
        InputError: When there is no such file, it is neither form, or is not of this model's
            heads.
    """
    shape = f"{model} has {n_layers} layers of {n_heads} heads"
    data = _read(path)
    scores: tuple[float, ...] = ()
    if isinstance(data, list):
        heads = _listed(path, data)
    else:
        _check_shape(path, data["cfg"], (n_layers, n_heads), shape)
        found = _scores(path, data)
        heads = tuple(sorted(found, key=lambda head: (-abs(found[head]), head)))
        scores = tuple(found[head] for head in heads)
    every = [Head(layer, index) for layer in having for index in range(n_heads)]
    if others := set(heads) - set(every):
        raise InputError(
            f"{path}: head {min(others)} does not exist, {shape}; give the ranking of this model"
        )
    if lacking := set(every) - set(heads):
        raise InputError(
            f"{path}: ranks {len(heads)} of the {len(every)} heads of {model}, {min(lacking)} is "
            "not among them; rank every head"
        )
    return Ranking(heads, scores, path.name)


def _read(path: Path) -> Any:
    """Return the content of the file, its outer form checked."""
    data = read_json(path, EXPECTED, nan=True)
    if isinstance(data, list):
        return data
    lacking = [name for name in ("cfg", "nodes", "edges") if not isinstance(_get(data, name), dict)]
    if lacking:
        raise InputError(f"{path}: {EXPECTED}; {lacking[0]!r} is missing or no object")
    return data


def _get(data: Any, name: str) -> Any:
    return data.get(name) if isinstance(data, dict) else None


def _listed(path: Path, names: Sequence[Any]) -> tuple[Head, ...]:
    """Return the heads that a list names."""
    heads: list[Head] = []
    for place, name in enumerate(names):
        head = _head(name) if isinstance(name, str) else None
        if head is None:
            raise InputError(
                f"{path}: [{place}]: expected a head such as 3:5, L3H5 or a3.h5, got {name!r}"
            )
        if head in heads:
            raise InputError(f"{path}: {head} is named twice; name it once")
        heads.append(head)
    return tuple(heads)


def _head(name: str) -> Head | None:
    """Return the head that a node or a name of ours is of, None of another."""
    if match := _NODE.fullmatch(name):
        return Head(int(match[1]), int(match[2]))
    try:
        return parse_head(name)
    except InputError:
        return None


def _check_shape(
    path: Path, cfg: Mapping[str, Any], shape: tuple[int, int], described: str
) -> None:
    said = cfg.get("n_layers"), cfg.get("n_heads")
    if said != shape:
        raise InputError(
            f"{path}: cfg: is of {said[0]} layers of {said[1]} heads, {described}; give the "
            "ranking of this model"
        )


def _scores(path: Path, data: Mapping[str, Any]) -> dict[Head, float]:
    """Return the scores of heads: the nodes' own, or else the sums over edges that leave them."""
    named = [(head, node) for name, node in data["nodes"].items() if (head := _node(name))]
    nodes = dict(named)
    for head in nodes if len(nodes) < len(named) else ():
        if [one for one, _ in named].count(head) > 1:
            # As a0.h0 and as a00.h0.
            raise InputError(f"{path}: nodes: {head} is named twice; name it once")
    found = {
        head: score
        for head, node in nodes.items()
        if (score := _score(path, f"nodes.{node_name(head)}", node)) is not None
    }
    if found:
        return found
    for name, edge in data["edges"].items():
        head = _node(name.partition("->")[0])
        score = None if head is None else _score(path, f"edges.{name}", edge)
        if head is not None and score is not None:
            found[head] = found.get(head, 0.0) + score
    if not found:
        raise InputError(
            f"{path}: neither nodes of heads nor edges have a score; give importance scores, not "
            "a circuit"
        )
    return found


def _node(name: str) -> Head | None:
    match = _NODE.fullmatch(name)
    return None if match is None else Head(int(match[1]), int(match[2]))


def _score(path: Path, where: str, entry: Any) -> float | None:
    """Return the score of a node or an edge; None where it has none, or NaN stands for that."""
    score = _get(entry, "score")
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, (int, float)) or math.isinf(score):
        raise InputError(f"{path}: {where}.score: expected a finite number, got {score!r}")
    return None if math.isnan(score) else float(score)
