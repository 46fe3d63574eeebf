"""Sections of the report on paths between heads and on direct effects."""

from __future__ import annotations

import re

import pytest
from made import around, lines_of, rows_of, whole

from emolib.reporting.report import write_report
from emolib.reporting.report_heads import ablation
from emolib.reporting.report_paths import paths
from emolib.results.records import Store

TOTALS = {"L0H1": 4.0, "L0H3": 1.0, "L1H2": 5.0}


def path(sender, receiver, effect, name="all"):
    return {
        "sender": sender, "receiver": receiver, "input": name,
        "effect": None if effect is None else around(effect), "total": around(TOTALS[sender]),
        "share": None if effect is None else effect / TOTALS[sender],
    }  # fmt: skip


def records(**more):
    return [
        path("L0H1", "logits", 0.5),
        *(path("L0H1", "L1H2", e, n) for n, e in
          {"all": 3.0, "q": 0.0, "k": 1.0, "v": 0.25}.items()),
        path("L0H3", "logits", 1.0),
        *(path("L0H3", "L1H2", e, n) | more for n, e in
          {"all": -0.5, "q": None, "k": None, "v": None}.items()),
        path("L1H2", "logits", 5.0),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def rows():
    return rows_of("head_paths", *records(why_no_effect="q, k and v are not apart"))


def tables(text):
    return [lines_of(part) for part in text.split("\n\n") if part.startswith("|")]


def test_the_matrix_has_senders_by_receivers_beside_their_totals(rows):
    matrix, inputs = tables("\n\n".join(paths(rows, 10)))
    assert [line["sender"] for line in matrix] == ["L0H1", "L0H3", "L1H2"]
    assert list(matrix[0]) == ["sender", "total", "logits", "→ L1H2"]
    assert matrix[0]["→ L1H2"].startswith("3.035 [") and matrix[0]["total"].startswith("4.035 [")
    assert matrix[2]["→ L1H2"] == "–" and matrix[2]["logits"].startswith("5.035 [")
    # The strongest path first; effects of single inputs beside the one of all.
    assert [line["sender"] for line in inputs] == ["L0H1", "L0H3"]
    assert [inputs[0][name] for name in ("q", "k", "v", "share")] == [
        "0.035", "1.035", "0.285", "0.750"
    ]  # fmt: skip
    assert [inputs[1][name] for name in ("q", "k", "v")] == ["–"] * 3


def test_why_single_inputs_are_missing_is_said_and_fewer_are_shown(rows):
    text = "\n\n".join(paths(rows, 1))
    assert "Single inputs are left out: q, k and v are not apart." in text
    assert len(tables(text)[1]) == 1
    assert "left out" not in "\n".join(paths(rows_of("head_paths", *records()), 10))


def test_without_rows_it_names_the_command():
    own = rows_of("head_paths", {"logit_diff": around(1.0), "sender": "me"})
    for nothing in ([], own):
        text = "\n".join(paths(nothing, 10))
        assert "Not run: `pytest experiments/exp_head_paths.py`." in text


def test_the_report_has_the_section(rows, tmp_path):
    store = Store(tmp_path)
    store.append(rows)
    store.close()
    text = whole(write_report(tmp_path))
    part = text.partition("## Paths between heads")[2].partition("\n## ")[0]
    assert re.search(r"\| L0H1 +\| 4\.035 \[.*\] +\| 0\.535 \[.*\] +\| 3\.035 \[", part)
    assert "Other experiments" not in text


def test_ablation_has_direct_effects_and_self_repair_where_there_are_any():
    def row(heads, direct, repair):
        recorded = {"logit_diff": around(-2.0), "direct": direct, "self_repair": repair}
        return rows_of("head_ablation", recorded, heads=heads, ablation="zero")

    some = [*row("L0H1", around(-4.0), 0.5), *row("L1H2", None, None)]
    text = "\n\n".join(ablation(some, 10))
    assert "self-repair, 1 − |Δ| / |direct|" in text
    _, direct = tables(text)
    assert [line["heads"] for line in direct] == ["L0H1"]
    assert direct[0]["zero: direct"] == "-3.965" and direct[0]["zero: self-repair"] == "0.500"
    assert "self-repair" not in "\n".join(ablation(row("L1H2", None, None), 10))
