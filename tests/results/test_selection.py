from __future__ import annotations

import pytest

from emolib.results.rows import Row
from emolib.results.selection import (
    clean_gap,
    is_joint,
    kinds,
    layer_of,
    strongest,
    strongest_subjects,
    studies,
    subject,
)


def row(item="x.py::exp_x[a]", number=0, values=None, labels=None, **dims):
    return Row(item, "x", item, number, 1, dims, values=values or {}, labels=labels or {})


def test_what_a_row_is_about():
    assert subject(row(model="m", emotion="joy", heads="L0H1", ablation="zero")) == "L0H1"
    assert subject(row(model="m", units="L0U7")) == "L0U7"
    assert subject(row(model="m", emotion="joy", scale="2")) == "2"
    assert subject(row(item="x.py::exp_x[a]", model="m")) == "exp_x[a]"
    assert is_joint(row(heads="L0H1+L0H2")) and not is_joint(row(heads="L0H1"))


def test_studies_and_kinds():
    rows = [
        row("b", model="m", emotion="joy", heads="L0H1", ablation=kind)
        for kind in ("mean", "odd", "resample", "zero")
    ]
    rows.append(row("c", model="a"))
    assert list(studies(rows)) == [("a", ""), ("m", "joy")]
    found = kinds(studies(rows)["m", "joy"])
    assert [kind for kind, *_ in found] == ["zero", "mean", "resample", "odd"]
    labels = {"direction": "noise", "position": "slot"}
    assert list(kinds([row(labels=labels)])) == [("", "noise", "slot")]


def test_one_head_by_two_names_is_one_row():
    named, ranked = row("named", heads="L0H1"), row("top1", heads="L0H1", labels={"spec": "top1"})
    assert kinds([named, ranked]) == kinds([ranked, named]) == {("", "", ""): [named]}
    twice = [row(heads="L0H1"), row(number=1, heads="L0H1")]
    assert kinds(twice) == {("", "", ""): twice}


def test_strongest_by_absolute_mean():
    rows = [
        row("a", values={"kl": {"mean": 1.0}}),
        row("b", values={"kl": -2.0}),
        row("c"),
        row("d", values={"kl": None}),
    ]
    assert [found.item for found in strongest(rows, "kl")] == ["b", "a", "c", "d"]
    assert strongest(rows, "kl", 1) == [rows[1]]


def test_strongest_heads_by_their_strongest_row():
    rows = [
        row(heads=heads, values={"kl": value})
        for heads, value in (("L0H0", 1.0), ("L0H1", -2.0), ("L0H0", 3.0), ("L1H0", 0.5))
    ]
    assert strongest_subjects(rows, "kl") == ["L0H0", "L0H1", "L1H0"]
    assert strongest_subjects(rows, "kl", 1) == ["L0H0"]
    assert [layer_of(r) for r in (rows[3], row(heads="L0H1+L1H2"), row(units="L0U1"))] == [
        1, None, None
    ]  # fmt: skip


def test_the_gap_comes_from_the_largest_recovery():
    rows = [
        row(values={"logit_diff": {"mean": effect}, "recovery": recovery})
        for effect, recovery in ((0.1, 0.009), (-11.0, -1.0), (3.0, None), (0.0, 0.0))
    ]
    assert clean_gap(rows) == pytest.approx(11.0)
    assert clean_gap(rows[2:]) is None
