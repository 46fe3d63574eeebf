"""Importance scores of heads in the form that circuit benchmarks read: a graph of nodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from emolib.inputs.heads import parse_head
from emolib.inputs.rankings import node_name
from emolib.results.rows import Row


def importances_file(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the content of an item's file of importance scores, at the level of nodes.

    The form is that of EAP-IG's graphs, which the circuit track of MIB takes (Mueller et al.
    2504.13151): ``cfg``, ``nodes`` and ``edges``, here none. Heads have a score; ``input``, MLPs
    and ``logits`` have none, which stands for never being taken out. ``in_graph`` says which
    nodes are of the circuit. `emolib.inputs.rankings` reads it.

    Args:
        rows: A row for each head, with labels ``head``, ``parallel`` and values ``importance``,
            ``in_circuit``, ``d_model``.
    """
    first, shape = rows[0], rows[0].provenance["shape"]
    cfg = {
        "n_layers": shape["layers"],
        "n_heads": shape["heads"],
        "parallel_attn_mlp": first.labels["parallel"] == "yes",
        "d_model": first.values["d_model"],
    }
    heads = {parse_head(row.labels["head"]): row.values for row in rows}
    nodes: dict[str, Any] = {"input": {"in_graph": True}}
    for layer in range(shape["layers"]):
        for head in sorted(head for head in heads if head.layer == layer):
            values = heads[head]
            nodes[node_name(head)] = {
                "in_graph": bool(values["in_circuit"]),
                "score": values["importance"],
            }
        nodes[f"m{layer}"] = {"in_graph": True}
    nodes["logits"] = {"in_graph": True}
    # The key comes first, where `emolib.results.item_files.is_of` looks for it.
    head_of_file = {"key": first.key, "experiment": first.experiment, "item": first.item}
    about = head_of_file | first.dims | {"by": first.labels["by"]}
    graph = {"cfg": cfg, "nodes": nodes, "edges": {}}
    return about | graph | {"provenance": first.provenance | {"time": first.time}}
