"""What is gathered for a page from rows that are seen once."""

from __future__ import annotations

from emolib.results.selection import StudyKey

STUDY = StudyKey("one", "joy")


def test_attention_is_read_last_and_ablation_first(parts):
    assert parts.experiments[0] == "head_ablation"
    assert parts.experiments[-1] == "attention_patterns"


def test_everything_has_its_place(parts):
    assert parts.maps.studies == [StudyKey(m, e) for m in ("one", "two") for e in ("fear", "joy")]
    assert parts.maps.shapes[STUDY] == (2, 2) and len(parts.prompts[STUDY].ids) == 24
    assert set(parts.details.heads[STUDY]) == {"L0H0", "L0H1", "L1H0", "L1H1"}
    views = parts.views
    for view in (views.circuits, views.paths, views.steering, views.units, views.controls):
        assert set(view) == set(parts.maps.studies)
    assert list(views.others) == ["silence"] and views.comparison["lines"]
    assert parts.aside.told(STUDY)["sets"][0]["heads"] == "L0H1+L1H0"
    assert parts.words["logit_diff"]["unit"] == "logits" and "silence" in parts.words


def test_heads_come_by_their_share_of_the_largest_effect_of_their_study(parts):
    order = [(study.model, head) for study, head, _ in parts.by_size()]
    assert {head for _, head in order[:4]} == {"L1H0"} and len(order) == 16
    assert {head for head, _ in parts.strongest().values()} == {"L1H0"}
