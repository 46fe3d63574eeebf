"""What a run found, from a store: in order, of what is asked for, and never more than is there."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made import HOSTILE, changed, make_results, rows_of

from emolib.errors import InputError
from emolib.reporting import findings as module
from emolib.reporting.finding import ORDER
from emolib.reporting.findings import findings
from emolib.results.records import Store


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Give the findings of results in which L1H0 alone matters."""
    return findings(Store(make_results(tmp_path_factory.mktemp("made"))))


def stored(folder, *rows):
    store = Store(folder)
    for row in rows:
        store.append([replace(row, context="c", time="2026-01-01T00:00:00", of=1, row=0)])
    store.close()
    return Store(folder)


def test_the_head_that_matters_is_found_in_every_study(found):
    (one, two) = [each for each in found.found if each.about == "heads"]
    assert (one.model, two.model) == ("one", "two")
    assert one.heads == ("L1H0",)
    assert "L1H0 carries fear and joy" in one.text
    assert "by every kind of ablation" in found.rule


def test_in_short_has_a_line_a_study_with_what_is_known(found):
    assert [(line["model"], line["emotion"]) for line in found.in_short] == [
        ("one", "fear"), ("one", "joy"), ("two", "fear"), ("two", "joy"),
    ]  # fmt: skip
    line = found.in_short[0]
    assert (line["heads"], line["head"], line["kind"]) == (["L1H0"], "L1H0", "zero")
    assert line["effect"]["mean"] == pytest.approx(-2, abs=0.3)
    low, high = line["effect"]["ci"]
    assert low < line["effect"]["mean"] < high
    assert (line["reliability"], line["doubt"]) == (0.9, "")
    # These rows do not tell it.
    assert line["gap"] is None and line["share"] is None


def test_findings_stand_in_their_order_and_have_text(found):
    for told in (found.found, found.not_found):
        places = [ORDER.index(each.about) for each in told]
        assert places == sorted(places)
        assert all(each.text.endswith(".") for each in told)
    assert all(each.found for each in found.found)
    assert not any(each.found for each in found.not_found)


def test_what_was_not_run_is_named_once_with_its_command(found):
    lines = [each.text for each in found.not_found if each.about == "not run"]
    assert "Circuits: not run; pytest experiments/exp_head_circuit.py does." in lines
    assert len(lines) == len(set(lines)) == 7
    assert not any("exp_head_ablation" in line for line in lines)


def test_of_one_emotion_nothing_is_told_of_others(tmp_path):
    told = findings(Store(make_results(tmp_path)), emotion="joy")
    assert {line["emotion"] for line in told.in_short} == {"joy"}
    assert not any("fear" in each.text for each in [*told.found, *told.not_found])


def test_of_another_run_only_what_it_has(tmp_path):
    store = Store(make_results(tmp_path))
    (run,) = store.runs()
    assert findings(store, run=run.id).in_short == findings(store).in_short
    with pytest.raises(InputError, match="no such run"):
        findings(store, run="nonsense")


def test_an_unreliable_ranking_names_no_head(tmp_path):
    def screening_alone(row):
        return row if row["experiment"] == "head_screening" else None

    folder = changed(tmp_path, screening_alone, reliability=0.3)
    (line,) = findings(Store(folder)).in_short
    assert line["head"] is None and line["heads"] == []
    assert "0.30 < 0.8" in line["doubt"]


def test_the_gap_has_its_interval_from_the_circuit_of_no_heads(tmp_path):
    def row(outside, effect):
        (made,) = rows_of("head_circuit", {"order": "ranking", "k": 0, "logit_diff": effect})
        return replace(made, provenance={"clean_gap": 10.0, "circuit_ablation": outside})

    lost = [-10.5, -9.5] * 4
    (gap,) = findings(stored(tmp_path / "a", row("patch", lost))).found
    low, high = row("patch", lost).interval("logit_diff")
    assert gap.text.endswith(f"prompts is 10.0 [{-high:.1f}, {-low:.1f}] logits.")
    # With heads outside at 0 more is lost than the prompts differ by: that interval is another's.
    (gap,) = findings(stored(tmp_path / "b", row("zero", [2 * x for x in lost]))).found
    assert "10 logits" in gap.text


def test_an_experiment_of_ones_own_is_told_and_no_other_asked_for(tmp_path):
    told = findings(stored(tmp_path, *rows_of("silence", {"loudness": 2.0})))
    (own,) = told.found
    assert own.text == "silence: one row, loudness 2 (one, joy)."
    assert (told.in_short, told.not_found, told.rule) == ([], [], "")


def test_rows_of_somebody_elses_making_break_nothing(tmp_path):
    names = sorted(module.KNOWN)
    rows = [row for name in names for row in rows_of(name, {"own": 1.0, "note": HOSTILE})]
    told = findings(stored(tmp_path, *rows))
    assert told.in_short == [] or all(line["heads"] == [] for line in told.in_short)
