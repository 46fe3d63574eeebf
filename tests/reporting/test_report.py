"""The report says what the records say, in text that nothing recorded can break."""

from __future__ import annotations

import json
import re

import pytest
from made import HOSTILE, make_results

from emolib.errors import InputError
from emolib.reporting.plots import draw
from emolib.reporting.report import write_report


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results") / "mine", text=HOSTILE)


def sections(text):
    parts = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: part for part in parts}


def changed(folder, change, **options):
    """Return results whose rows, as JSON, went through `change`; None drops a row."""
    source = make_results(folder / "source", **{"models": ("one",), "emotions": ("joy",)} | options)
    rows = map(json.loads, (source / "records.jsonl").read_text("utf-8").splitlines())
    made = [row for row in map(change, rows) if row]
    (folder / "mine").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in made)
    (folder / "mine/records.jsonl").write_text(lines, encoding="utf-8")
    return folder / "mine"


def test_every_section_says_what_was_recorded(results):
    found = sections(write_report(results).read_text("utf-8"))
    assert list(found) == [
        "In short", "Setup", "Screening", "Ablation", "Patching", "Controls", "Units",
        "Attention from the last token", "Models side by side", "What is significant", "Texts",
        "Figures",
    ]  # fmt: skip
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


def test_texts_break_neither_markdown_nor_html(results):
    text = write_report(results).read_text("utf-8")
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert all(re.search(r"(?<!\\)[`$*]", line) is None
               for line in sections(text)["Texts"].splitlines())  # fmt: skip
    for line in sections(text)["Texts"].splitlines()[3:]:
        assert line == "" or line.startswith(("### ", "- ", "  - "))


def test_names_break_neither_tables_nor_headings(tmp_path):
    def renamed(row):
        row["dims"] |= {"model": "a|<b>_c_", "heads": row["dims"]["heads"]}
        row["provenance"]["model"]["id"] = "x|`y`"
        return row

    text = write_report(changed(tmp_path, renamed)).read_text("utf-8")
    assert "<b>" not in text and r"### a\|&lt;b&gt;\_c\_, joy" in text
    widths = {
        len(re.findall(r"(?<!\\)\|", line))
        for line in sections(text)["Setup"].splitlines()
        if r"\_c\_" in line and "gpt2" in line
    }
    assert widths == {7}


def test_one_emotion_and_fewer_heads(results, tmp_path):
    path = write_report(results, tmp_path / "out", emotion="joy", top_n=1)
    text = path.read_text("utf-8")
    assert path == tmp_path / "out/head_analysis_report.md"
    assert "fear" not in sections(text)["Ablation"] and "L0H0" not in sections(text)["Ablation"]


@pytest.mark.parametrize("reliability", [None, 0.5])
def test_an_unreliable_ranking_is_not_printed_as_one(tmp_path, reliability):
    text = write_report(make_results(tmp_path, reliability=reliability)).read_text("utf-8")
    part = sections(text)["Screening"]
    assert "No ranking: " in part and "By |atp_ig|" not in part
    heads = re.findall(r"^\| (L\dH\d)", part, re.MULTILINE)[:4]
    assert heads == sorted(heads)


def test_figures_are_linked_from_where_the_report_is(results, tmp_path):
    assert "python -m emolib plots" in sections(write_report(results).read_text("utf-8"))["Figures"]
    made = make_results(tmp_path / "a folder", shape=(2, 1))
    draw(made)
    for out in (None, tmp_path / "else/where"):
        path = write_report(made, out)
        links = re.findall(r"\]\((.*?)\)", sections(path.read_text("utf-8"))["Figures"])
        assert len(links) >= 7
        assert all((path.parent / link.replace("%20", " ")).is_file() for link in links)


def test_what_was_not_run_is_named(tmp_path):
    store = make_results(tmp_path / "whole", models=("one",), emotions=("joy",))
    lines = (store / "records.jsonl").read_text("utf-8").splitlines(keepends=True)
    only = [line for line in lines if '"experiment": "head_screening"' in line]
    (tmp_path / "part").mkdir()
    (tmp_path / "part/records.jsonl").write_text("".join(only), encoding="utf-8")
    found = sections(write_report(tmp_path / "part").read_text("utf-8"))
    assert "Not run: `pytest experiments/exp_head_patching.py`." in found["Patching"]
    assert "Not run: `pytest experiments/exp_head_ablation.py`." in found["What is significant"]


def test_nothing_to_report(tmp_path, results):
    with pytest.raises(InputError, match=r"records\.jsonl: no rows; run `pytest experiments`"):
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
    found = sections(write_report(changed(tmp_path, change)).read_text("utf-8"))
    assert "Not run" not in found["Ablation"] and "Not run" not in found["Screening"]
    if change is own:
        assert "| L1H0    | -1.9" in found["Ablation"]


def test_other_experiments_have_a_table(tmp_path):
    def renamed(row):
        if row["experiment"] == "head_screening":
            row["experiment"] = "unit_screening"
            row["dims"]["units"] = row["dims"].pop("heads").replace("H", "U")
        return row | ({"experiment": "sign"} if row["experiment"] == "head_ablation" else {})

    found = sections(write_report(changed(tmp_path, renamed)).read_text("utf-8"))
    assert "### sign, one, joy" in found["Other experiments"]
    assert re.search(r"^\| L1H0 +\| zero +\| -[12]\.", found["Other experiments"], re.MULTILINE)
    assert "### one, joy" in found["Units"] and "| L1U0" in found["Units"]


def test_it_needs_the_records_alone(tmp_path):
    made = make_results(tmp_path / "mine")
    expected = write_report(made).read_bytes()
    for path in (made / "alignment").iterdir():
        path.write_text("{", encoding="utf-8")
    assert write_report(made).read_bytes() == expected


def test_too_few_templates_for_any_discovery_is_said(tmp_path):
    def small(row):
        row["pairs"]["templates"] = [f"t{i % 4}" for i in range(24)]
        return row

    found = sections(write_report(changed(tmp_path, small)).read_text("utf-8"))
    assert re.search(
        r"^- head_ablation, head_patching: 4 templates and 4 tests: the least "
        r"possible p is 2/2\^4 = 0\.12, so nothing can be significant at 0\.05 \(it takes 6 ",
        found["What is significant"],
        re.MULTILINE,
    )


def test_a_head_named_twice_is_tested_once(tmp_path):
    made = changed(tmp_path, lambda row: row)
    lines = (made / "records.jsonl").read_text("utf-8").splitlines()
    again = [json.loads(line) for line in lines if "exp_head_ablation[one-joy-L1H0-zero]" in line]
    for row in again:
        row |= {"item": row["item"].replace("L1H0", "top1"), "key": "top1"}
        row["labels"] = {"spec": "top1"}
    added = "".join(json.dumps(row) + "\n" for row in again)
    (made / "records.jsonl").write_text("\n".join(lines) + "\n" + added, encoding="utf-8")
    found = sections(write_report(made).read_text("utf-8"))
    assert re.search(
        r"head_ablation, one, joy, zero +\| 4 +\| 1 +\| L1H0 +\|", found["What is significant"]
    )
