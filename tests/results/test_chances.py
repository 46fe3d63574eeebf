"""Chances of rows: which are tested, and the share that is significant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import make_results

from emolib.results.chances import chances, columns, of_rows, share_significant
from emolib.results.records import Store
from emolib.results.selection import kinds, studies
from emolib.stats.summary import studentized


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Give the rows of zero ablation of one study."""
    store = Store(make_results(tmp_path_factory.mktemp("results")))
    return kinds(studies(store.whole_rows("head_ablation"))["one", "joy"])["zero", "", ""]


def test_p_and_q_are_the_same_beside_max_t(rows):
    found = chances(rows, "logit_diff")
    assert {place: chance[:2] for place, chance in found.items()} == of_rows(rows, "logit_diff")
    assert all(chance.family >= chance.p for chance in found.values())
    assert all(0 < chance.hall <= 1 for chance in found.values())


def test_the_share_of_heads_that_count(rows):
    q = [q for _, q in of_rows(rows, "logit_diff").values()]
    assert share_significant(rows, "logit_diff") == sum(value < 0.05 for value in q) / 4
    assert 0.25 <= share_significant(rows, "logit_diff") < 1


def test_what_a_rank_chose_and_what_has_no_vector_is_not_tested(rows):
    chosen = [replace(row, labels={"spec": "top1"}) for row in rows]
    assert share_significant(chosen, "logit_diff") is share_significant(rows, "kl") is None
    assert of_rows([*rows, *chosen], "logit_diff") == of_rows(rows, "logit_diff")


def test_columns_of_tables_are_of_each_study_and_kind_by_the_first_metric(tmp_path):
    store = Store(make_results(tmp_path))
    rows = list(store.whole_rows("head_ablation"))
    found = columns(iter(rows))
    assert len(found) == len(rows) > 16
    for members in studies(rows).values():
        for alike in kinds(members).values():
            for (item, row), chance in chances(alike, "logit_diff").items():
                line = found[item, row]
                names = ["p", "q", "max_t", "max_t_hall"]
                assert [line[f"logit_diff_{name}"] for name in names] == list(chance)
    for row in rows:
        line = found[row.item, row.row]
        ends = studentized(row.vectors["logit_diff"], row.pairs["templates"])
        assert [line["logit_diff_ci_t_low"], line["logit_diff_ci_t_high"]] == ends
        assert len(line) == 6


def test_what_names_no_heads_or_a_rank_has_the_interval_alone(rows):
    ranked = [replace(row, labels={"spec": "top1"}) for row in rows]
    listed = [replace(row, dims={"model": "one", "emotion": "joy"}) for row in rows]
    for alike in (ranked, listed):
        for line in columns(alike).values():
            assert list(line) == ["logit_diff_ci_t_low", "logit_diff_ci_t_high"]
    assert columns([]) == columns([replace(row, vectors={}) for row in rows]) == {}
