"""Where numbers come from: models, runs, settings."""

from __future__ import annotations

from dataclasses import replace

from made import around, rows_of

from emolib.reporting.page.page_runs import Provenance, made, settings
from emolib.results.runs import Run


def run(**told):
    empty = dict.fromkeys(("id", "started", "ended", "command", "host", "commit", "shard"), "")
    return Run(**empty | {"settings": {}, "items": 1, "replayed": 0, "expected": None} | told)


def test_models_and_what_was_left_out(full):
    (row,) = rows_of("head_ablation", {"logit_diff": around(1.0)}, heads="L0H1", ablation="zero")
    told = {"model": {"id": "<b>", "type": "gpt2"}, "shape": {"layers": 2, "heads": 3},
            "versions": {"torch": "2.6"}, "left_out": [["p1", "too long"]]}  # fmt: skip
    found = Provenance()
    found.see(replace(row, provenance=told))
    found.see(replace(row, provenance=told | {"versions": {"torch": "2.7"}}))
    models, runs, versions = found.section(full).tables
    assert [cell.text for cell in models.rows[0]] == ["one", "<b>", "gpt2", "2", "3"]
    assert runs.rows and versions.rows[0][1].text == "2.6, 2.7"
    assert found.version_of("torch") == "2.6, 2.7" and found.version_of("emolib") == ""
    assert found.notes() == ["one, joy: 1 pairs left out (p1: too long)"]


def test_settings_are_those_of_the_run_with_what_they_mean():
    given = {"seed": 0, "draws": 10, "models": ["a", "b"], "system": None, "own_<b>": "x\x1b"}
    table = settings(run(settings=given)).tables[0]
    lines = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert lines["models"][0] == "a, b" and "system" not in lines and lines["draws"][1]
    assert lines["own_<b>"] == ["x␛", "–"] or lines["own_<b>"] == ["x␛", ""]
    assert not settings(None)


def test_the_time_of_a_page_is_that_of_its_records():
    ended = run(started="2026-01-01T00:00:00+00:00", ended="2026-01-02T03:04:05+00:00")
    assert made([ended, run(started="2026-01-01T00:00:00+00:00")]) == "2026-01-02 03:04:05 UTC"
    assert made([]) == ""
