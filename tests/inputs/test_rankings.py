"""Rankings of heads from files: lists of names, and importance scores of circuit benchmarks."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emolib.errors import InputError
from emolib.inputs.heads import Head, all_heads
from emolib.inputs.rankings import EXPECTED, load_ranking, node_name

LAYERS, HEADS = 2, 3
EVERY = all_heads(LAYERS, HEADS)
CFG = {"n_layers": LAYERS, "n_heads": HEADS, "parallel_attn_mlp": False, "d_model": 8}


def load(tmp_path, content, having=range(LAYERS)):
    path = tmp_path / "own.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return load_ranking(path, "tiny", LAYERS, HEADS, having)


def graph(scores, edges=None):
    """Give a file of scores by head, with nodes that have none beside them."""
    nodes = {node_name(head): {"in_graph": True, "score": s} for head, s in scores.items()}
    nodes |= {name: {"in_graph": True} for name in ("input", "m0", "m1", "logits")}
    return {"cfg": CFG, "nodes": nodes, "edges": edges or {}}


def test_a_list_of_names_is_taken_as_it_stands(tmp_path):
    found = load(tmp_path, ["L1H2", "0:0", "a1.h0", "L0H1", "0:2", "a1.h1"])
    assert found.heads == tuple(Head(*p) for p in [(1, 2), (0, 0), (1, 0), (0, 1), (0, 2), (1, 1)])
    assert (found.scores, found.by, found.doubt) == ((), "own.json", "")


@given(st.permutations(EVERY), st.lists(st.booleans(), min_size=6, max_size=6))
def test_scores_rank_by_their_size(tmp_path_factory, order, signs):
    scores = {h: (6 - i) * (-1 if s else 1) for i, (h, s) in enumerate(zip(order, signs,
              strict=True))}  # fmt: skip
    found = load(tmp_path_factory.mktemp("own"), graph(scores))
    assert found.heads == tuple(order)
    assert found.scores == tuple(scores[head] for head in order)


def test_equal_scores_stand_in_order_of_their_names(tmp_path):
    assert load(tmp_path, graph(dict.fromkeys(reversed(EVERY), 1.0))).heads == tuple(EVERY)


def test_nodes_without_a_score_are_no_heads_of_ours_or_are_lacking(tmp_path):
    content = json.dumps(graph(dict.fromkeys(EVERY, 1.0))).replace(
        '"score": 1.0', '"score": NaN', 1
    )
    with pytest.raises(InputError, match=r"ranks 5 of the 6 heads of tiny, L0H0 is not among them"):
        load(tmp_path, content)


def test_scores_of_edges_are_summed_over_those_that_leave_a_head(tmp_path):
    edges = {"input->a0.h0<q>": {"score": 99.0}, "m0->logits": {"score": 99.0}}
    for place, head in enumerate(EVERY):
        # Two edges out of each, which partly cancel.
        edges[f"{node_name(head)}->m{head.layer}"] = {"score": 10.0, "in_graph": True}
        edges[f"{node_name(head)}->logits"] = {"score": -10.0 - place, "in_graph": False}
    found = load(tmp_path, graph({}, edges))
    assert found.heads == tuple(reversed(EVERY)) and found.scores == (-5, -4, -3, -2, -1, 0)
    # Where nodes have scores of their own these count.
    assert load(tmp_path, graph(dict.fromkeys(EVERY, 1.0), edges)).heads == tuple(EVERY)


def test_layers_without_heads_have_none_to_rank(tmp_path):
    upper = [head for head in EVERY if head.layer == 1]
    assert load(tmp_path, [str(head) for head in upper], having=(1,)).heads == tuple(upper)
    with pytest.raises(InputError, match="head L0H0 does not exist, tiny has 2 layers of 3 heads"):
        load(tmp_path, [str(head) for head in EVERY], having=(1,))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "not JSON (line 1, column 2: Expecting value); " + EXPECTED),
        ("3", EXPECTED + "; 'cfg' is missing or no object"),
        ('{"cfg": {}, "nodes": [], "edges": {}}', EXPECTED + "; 'nodes' is missing or no object"),
        ('{"cfg": {}, "cfg": {}}', "'cfg' is named twice; name it once; " + EXPECTED),
        ([], "ranks 0 of the 6 heads of tiny, L0H0 is not among them; rank every head"),
        ([3], "[0]: expected a head such as 3:5, L3H5 or a3.h5, got 3"),
        (["L0H0", "m0"], "[1]: expected a head such as 3:5, L3H5 or a3.h5, got 'm0'"),
        (["L0H0", "0:0"], "L0H0 is named twice; name it once"),
        (graph({Head(0, 0): 1.0}), "ranks 1 of the 6 heads of tiny, L0H1 is not among them; rank "
         "every head"),
        (graph(dict.fromkeys([*EVERY, Head(5, 0)], 1.0)), "head L5H0 does not exist, tiny has 2 "
         "layers of 3 heads; give the ranking of this model"),
        (graph({}) | {"cfg": CFG | {"n_heads": 4}}, "cfg: is of 2 layers of 4 heads, tiny has 2 "
         "layers of 3 heads; give the ranking of this model"),
        (graph({}), "neither nodes of heads nor edges have a score; give importance scores, not a "
         "circuit"),
        (graph({Head(0, 1): True}), "nodes.a0.h1.score: expected a finite number, got True"),
        (graph({Head(0, 1): "high"}), "nodes.a0.h1.score: expected a finite number, got 'high'"),
        (graph({}, {"a0.h1->m0": {"score": float("inf")}}), "edges.a0.h1->m0.score: expected a "
         "finite number, got inf"),
    ],
)  # fmt: skip
def test_what_is_no_ranking_of_the_model_is_told_in_one_line(tmp_path, content, message):
    with pytest.raises(InputError) as error:
        load(tmp_path, content)
    assert str(error.value) == f"{tmp_path / 'own.json'}: {message}"


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: no such file; expected a list of heads"):
        load_ranking(tmp_path / "nowhere.json", "tiny", LAYERS, HEADS, range(LAYERS))
    with pytest.raises(InputError, match=r"is a folder; expected a list"):
        load_ranking(tmp_path, "tiny", LAYERS, HEADS, range(LAYERS))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"bytes\.json: not UTF-8 \(byte 0\)"):
        load_ranking(tmp_path / "bytes.json", "tiny", LAYERS, HEADS, range(LAYERS))
    (tmp_path / "deep.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InputError, match=r"deep\.json: lists or objects nested"):
        load_ranking(tmp_path / "deep.json", "tiny", LAYERS, HEADS, range(LAYERS))


def test_a_head_under_two_names_is_told(tmp_path):
    """As JSON they are two nodes, and the last would have stood for both."""
    content = graph(dict.fromkeys(EVERY, 1.0))
    content["nodes"]["a00.h0"] = {"score": 9.0}
    with pytest.raises(InputError, match="nodes: L0H0 is named twice; name it once"):
        load(tmp_path, content)
