"""Abridged rows: what is kept is equal, what is alike is one object."""

from __future__ import annotations

import json
from array import array
from dataclasses import asdict

from made import rows_of

from emolib.results.abridged import abridged
from emolib.results.chances import chances
from emolib.results.rows import Row

RECORD = {"logit_diff": [0.5] * 4 + [0.25] * 4, "kl": [1.0] * 8, "changed": 0.5,
          "text": ["a"] * 8, "tokens": [["x", 1.5]] * 8}  # fmt: skip


def read(count):
    """Give rows of a store, each parsed by itself."""
    made = [row for i in range(count) for row in rows_of("it", RECORD, heads=f"L0H{i}")]
    told = {"seed": 0, "versions": {"torch": "2"}}
    lines = [json.dumps(asdict(row) | {"provenance": told}) for row in made]
    return [Row(**json.loads(line)) for line in lines]


def test_all_is_kept_but_texts_lists_and_other_vectors():
    (whole,) = read(1)
    (row,) = abridged([whole], ["logit_diff", "absent"])
    assert row.vectors == {"logit_diff": array("d", RECORD["logit_diff"])}
    assert (row.texts, row.lists) == ({}, {})
    kept = ("item", "key", "dims", "values", "pairs", "provenance", "output", "labels", "time")
    assert all(getattr(row, name) == getattr(whole, name) for name in kept)
    assert next(abridged([whole])).vectors == {}


def test_of_some_metrics_the_summary_is_kept_and_of_others_the_mean():
    (whole,) = read(1)
    (row,) = abridged([whole], summaries=["logit_diff"])
    assert row.values == {"logit_diff": whole.values["logit_diff"], "kl": 1.0, "changed": 0.5}
    assert all(row.mean(name) == whole.mean(name) for name in whole.values)


def test_what_rows_have_alike_is_kept_once():
    first, second = abridged(read(2), ["logit_diff"])
    assert first.pairs is second.pairs
    assert first.provenance["versions"] is second.provenance["versions"]
    names = [next(iter(row.values["logit_diff"])) for row in (first, second)]
    assert names[0] is names[1]


def test_chances_are_those_of_whole_rows():
    rows = read(3)
    assert chances(list(abridged(rows, ["logit_diff"])), "logit_diff") == chances(
        rows, "logit_diff"
    )
