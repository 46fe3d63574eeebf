"""What rows stand on, and what is said where it is not the same."""

from __future__ import annotations

from dataclasses import replace

from made import rows_of

from emolib.results.contexts import differences, stands_on

TOLD = {
    "position": "last",
    "seed": 0,
    "versions": {"python": "3.11", "torch": "2.6"},
    "commit": "abc",
    "model": {"id": "one", "weights": "w", "config": "c", "tokenizer": "t"},
    "prompts": "h",
    "heads": ["L0H1"],
    "clean_gap": 1.5,
}


def made(experiment="it", context="c", dims=None, **told):
    (row,) = rows_of(experiment, {"n": 1.0}, **(dims or {}))
    return replace(row, context=context, provenance=TOLD | told)


def test_a_row_stands_on_settings_versions_commit_model_and_prompts():
    assert stands_on(made()) == {
        "position": "last", "seed": "0", "python": "3.11", "torch": "2.6", "commit": "abc",
        "one, weights": "w", "one, config": "c", "one, tokenizer": "t", "joy, prompts": "h",
    }  # fmt: skip


def test_what_is_the_same_everywhere_is_not_told():
    assert differences({"a": [made(), made()], "b": [made()]}) == []
    assert differences({}) == [] == differences({"a": []})


def test_each_difference_is_a_line_with_who_has_what():
    other = {"versions": {"python": "3.11", "torch": "2.7"}, "seed": 1}
    rows = {"a": [made()], "b": [made(context="d", **other)], "c": [made()]}
    assert differences(rows) == ["seed: 0 in a, c; 1 in b", "torch: 2.6 in a, c; 2.7 in b"]


def test_other_models_emotions_and_items_are_no_difference():
    dims = {"model": "two", "emotion": "fear", "heads": "L1H1"}
    other = made(context="d", dims=dims, model={"weights": "v"}, prompts="g", heads=["L1H1"])
    assert differences({"a": [made()], "b": [other]}) == []
    assert differences({"a": [made()], "b": [made(context="d", model={"weights": "v"})]}) == [
        "one, weights: w in a; v in b"
    ]


def test_what_no_other_experiment_has_is_compared_with_none():
    assert differences({"a": [made()], "b": [made("other", "d", seed=1)]}) == []


def test_other_code_is_told_where_nothing_else_differs():
    rows = {"a": [made()], "b": [made(context="d")]}
    assert differences(rows) == ["code of it, or what it reads: version 1 in a; version 2 in b"]


def test_long_values_are_cut():
    (line,) = differences({"a": [made(system="x" * 99)], "b": [made(system="y" * 99)]})
    assert line == f"system: {'x' * 40}… in a; {'y' * 40}… in b"
