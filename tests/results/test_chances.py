"""Chances of rows: which are tested, and the share that is significant."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import make_results

from emolib.results.chances import chances, of_rows, share_significant
from emolib.results.records import Store
from emolib.results.selection import kinds, studies


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Give the rows of zero ablation of one study."""
    store = Store(make_results(tmp_path_factory.mktemp("results")))
    return kinds(studies(store.whole_rows("head_ablation"))["one", "joy"])["zero", "", ""]


def test_p_and_q_are_the_same_beside_max_t(rows):
    found = chances(rows, "logit_diff")
    assert {place: chance[:2] for place, chance in found.items()} == of_rows(rows, "logit_diff")
    assert all(chance.family >= chance.p for chance in found.values())


def test_the_share_of_heads_that_count(rows):
    q = [q for _, q in of_rows(rows, "logit_diff").values()]
    assert share_significant(rows, "logit_diff") == sum(value < 0.05 for value in q) / 4
    assert 0.25 <= share_significant(rows, "logit_diff") < 1


def test_what_a_rank_chose_and_what_has_no_vector_is_not_tested(rows):
    chosen = [replace(row, labels={"spec": "top1"}) for row in rows]
    assert share_significant(chosen, "logit_diff") is share_significant(rows, "kl") is None
    assert of_rows([*rows, *chosen], "logit_diff") == of_rows(rows, "logit_diff")
