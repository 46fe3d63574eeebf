"""The report says what the records say, in text that nothing recorded can break."""

from __future__ import annotations

import re
import weakref
from collections import Counter
from dataclasses import fields

import pytest
from made import HOSTILE, changed, make_results, sections, told, whole

from emolib.errors import InputError
from emolib.reporting.export import write_export
from emolib.reporting.report import write_report
from emolib.results.records import Store
from emolib.results.rows import Row


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results") / "mine", text=HOSTILE)


def test_every_section_says_what_was_recorded(results):
    path = write_report(results)
    text = path.read_text("utf-8")
    assert list(sections(text)) == [
        "What was found", "What was not found", "In short", "Tables", "Texts", "Methods", "Setup",
        "Figures",
    ]  # fmt: skip
    links = re.findall(r"\((tables/.*?\.md)\)", sections(text)["Tables"])
    assert sorted(links) == sorted(f"tables/{file.name}" for file in path.parent.glob("tables/*"))
    found = told(path)
    assert "L1H0 carries fear and joy" in found["What was found"]
    assert "Controls: not run; pytest experiments/exp" in found["What was not found"]
    assert re.search(r"^\| one +\| joy +\| L1H0 ", found["In short"], re.MULTILINE)
    assert "| one     | one  | gpt2   | 2 × 2" in found["Setup"]
    assert re.search(r"^\| two +\| fear +\| 24 +\| 12 +\| 0 ", found["Setup"], re.MULTILINE)
    assert "split-half reliability 0.90" in found["Screening"]
    first = re.search(r"^\| (L\dH\d) .*", found["Screening"], re.MULTILINE)
    assert first[1] == "L1H0"
    row = re.search(r"^\| L1H0 .*", found["Ablation"], re.MULTILINE)[0]
    assert re.search(r"-[12]\.\d+ \[", row)
    assert "zero: Δ logit_diff" in found["Ablation"] and "mean: changed" in found["Ablation"]
    assert "R is left out: the clean gap is below 0.1." in found["Patching"]
    assert "position last" in found["Patching"] and "position slot" not in found["Patching"]
    assert "Not run: `pytest experiments/exp_unit_screening.py" in found["Units"]
    chances = found["What is significant"]
    assert re.search(r"head_ablation, one, joy, zero +\| 4 +\| 1 +\| L1H0", chances)
    assert "head_patching, one, joy, noise" in chances
    assert "Rank correlation" in found["Models side by side"]


def test_the_same_records_give_the_same_bytes(results, tmp_path):
    first = write_report(results).read_bytes()
    assert write_report(results).read_bytes() == first
    assert write_report(make_results(tmp_path / "mine", text=HOSTILE)).read_bytes() == first


def test_one_emotion_and_fewer_heads(results, tmp_path):
    path = write_report(results, tmp_path / "out", emotion="joy", top_n=1)
    assert path == tmp_path / "out/head_analysis_report.md"
    assert "fear" not in told(path)["Ablation"] and "L0H0" not in told(path)["Ablation"]


@pytest.mark.parametrize("reliability", [None, 0.5])
def test_an_unreliable_ranking_is_not_printed_as_one(tmp_path, reliability):
    part = told(write_report(make_results(tmp_path, reliability=reliability)))["Screening"]
    assert "No ranking: " in part and "By |atp_ig|" not in part
    heads = re.findall(r"^\| (L\dH\d)", part, re.MULTILINE)[:4]
    assert heads == sorted(heads)


def test_what_was_not_run_is_named(tmp_path):
    made = changed(tmp_path, lambda row: row if row["experiment"] == "head_screening" else None)
    found = told(write_report(made))
    assert "Not run: `pytest experiments/exp_head_patching.py`." in found["Patching"]
    assert "Not run: `pytest experiments/exp_head_ablation.py`." in found["What is significant"]


def test_nothing_to_report(tmp_path, results):
    with pytest.raises(InputError, match=r"records: no rows; run `pytest experiments`"):
        write_report(tmp_path)
    with pytest.raises(InputError, match=r"no rows on 'envy'; run"):
        write_report(results, emotion="envy")


def own(row):
    """Make of head_ablation what a function of the user's own may record in its place."""
    if row["experiment"] == "head_ablation":
        if row["dims"]["ablation"] != "zero":
            return None
        del row["dims"]["ablation"]
    return row


def without_vectors(row):
    row["vectors"] = {}
    row["values"] = {k: v["mean"] if isinstance(v, dict) else v for k, v in row["values"].items()}
    return row


def without_the_metric(row):
    for part in ("values", "vectors"):
        row[part].pop("logit_diff", None)
    row["texts"].pop("prompt", None)
    return row


def bare(row):
    return row | {"dims": {}, "provenance": {}, "pairs": {}}


@pytest.mark.parametrize("change", [own, without_vectors, without_the_metric, bare])
def test_functions_of_the_users_own_record_what_they_like(tmp_path, change):
    found = told(write_report(changed(tmp_path, change)))
    assert "Not run" not in found["Ablation"] and "Not run" not in found["Screening"]
    if change is own:
        assert "| L1H0    | -1.9" in found["Ablation"]


def test_it_needs_the_records_alone(tmp_path):
    made = make_results(tmp_path / "mine")
    expected = whole(write_report(made))
    for path in (made / "alignment").iterdir():
        path.write_text("{", encoding="utf-8")
    assert whole(write_report(made)) == expected


class Watched(Row):
    """A row of which can be told whether anybody has it still."""

    __slots__ = ("__weakref__",)


@pytest.fixture
def alive(monkeypatch):
    """Give how many whole rows were alive at most while a store gave them, by experiment."""
    most: Counter[str] = Counter()
    whole_rows = Store.whole_rows

    def watched(store, experiment, **options):
        refs: list[weakref.ref[Row]] = []
        for row in whole_rows(store, experiment, **options):
            made = Watched(**{field.name: getattr(row, field.name) for field in fields(row)})
            refs = [ref for ref in refs if ref() is not None] + [weakref.ref(made)]
            most[experiment] = max(most[experiment], len(refs))
            yield made
            del made

    monkeypatch.setattr(Store, "whole_rows", watched)
    return most


def test_no_more_than_a_few_whole_rows_are_in_memory(tmp_path, alive):
    made = make_results(tmp_path, models=("one",), shape=(4, 4))
    write_report(made)
    # Of ablation the strongest of both emotions are kept beside the one that is read, for texts.
    assert alive.pop("head_ablation") <= 5
    assert set(alive) == {"head_screening", "head_patching", "attention_patterns"}
    assert max(alive.values()) <= 3
    for fmt, most in (("csv", 3), ("latex", 3), ("parquet", 3), ("files", 2 * 4 + 1)):
        alive.clear()
        write_export(made, fmt, tmp_path / "out")
        # A file is made of the rows of an item, of patching four; the last item's are there still.
        assert alive and max(alive.values()) <= most
