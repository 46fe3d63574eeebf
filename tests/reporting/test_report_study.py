"""Sections of the report on the study as a whole: in short, setup, models, significance, texts."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
from made import HOSTILE, around, changed, lines_of, make_results, rows_of, sections, told, whole

from emolib.reporting import report_study
from emolib.reporting.plots import draw
from emolib.reporting.report import write_report
from emolib.results.records import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results") / "mine", text=HOSTILE)


def test_texts_break_neither_markdown_nor_html(results):
    text = whole(write_report(results))
    assert "<script>" not in text and "&lt;script&gt;" in text
    for line in told(write_report(results))["Texts"].splitlines()[3:]:
        assert re.search(r"(?<!\\)[`$*]", line) is None
        assert line == "" or line.startswith(("### ", "- ", "  - "))


@pytest.mark.usefixtures("sketched")
def test_figures_are_linked_from_where_the_report_is(results, tmp_path):
    assert "python -m emolib plots" in told(write_report(results))["Figures"]
    made = make_results(tmp_path / "a folder", shape=(2, 1))
    draw(made)
    for out in (None, tmp_path / "else/where"):
        path = write_report(made, out)
        links = re.findall(r"\]\((.*?)\)", sections(path.read_text("utf-8"))["Figures"])
        assert len(links) >= 7
        assert all((path.parent / link.replace("%20", " ")).is_file() for link in links)


def test_too_few_templates_for_any_discovery_is_said(tmp_path):
    def small(row):
        row["pairs"]["templates"] = [f"t{i % 4}" for i in range(24)]
        return row

    found = told(write_report(changed(tmp_path, small)))
    assert re.search(
        r"^- head_ablation, head_patching: 4 templates and 4 tests: the least "
        r"possible p is 2/2\^4 = 0\.12, so nothing can be significant at 0\.05 \(it takes 6 ",
        found["What is significant"],
        re.MULTILINE,
    )


def test_a_head_named_twice_is_tested_once(tmp_path):
    made = changed(tmp_path, lambda row: row)
    store = Store(made)
    again = [row for row in store.whole_rows("head_ablation") if "[one-joy-L1H0-zero]" in row.item]
    name = again[0].item.replace("L1H0", "top1")
    store.append([replace(row, item=name, key="top1", labels={"spec": "top1"}) for row in again])
    store.close()
    found = told(write_report(made))
    assert re.search(
        r"head_ablation, one, joy, zero +\| 4 +\| 1 +\| L1H0 +\|", found["What is significant"]
    )


def ablated(heads, effect, kind="zero", **more):
    """Give the row of a head, or of a joint set, and what else it recorded."""
    record = {"logit_diff": around(effect), "changed": 0.5} | more
    return rows_of("head_ablation", record, heads=heads, ablation=kind)


def patched(heads, direction, position, effect, recovery):
    record = {"direction": direction, "position": position, "logit_diff": around(effect),
              "recovery": recovery}  # fmt: skip
    rows = rows_of("head_patching", record, heads=heads)
    return [replace(row, provenance={"position": "last"}) for row in rows]


def test_in_short_the_strongest_head_stands_under_every_intervention():
    rows = [*ablated("L0H0", 0.5), *ablated("L0H1", -3.0), *ablated("L0H0+L0H1", -9.0),
            *ablated("L0H1", -1.0, "mean", changed=0.125)]  # fmt: skip
    moved = [
        *patched("L0H1", "denoise", "last", 1.965, 0.5),
        *patched("L0H0", "noise", "last", 0, 0.1),
        *patched("L0H1", "denoise", "slot", 0.365, 0.1),
    ]
    (line,) = lines_of("\n".join(report_study.in_short(rows, moved)))
    assert (line["model"], line["emotion"], line["head"]) == ("one", "joy", "L0H1")
    assert float(line["clean gap"]) == 4
    assert line["zero: Δ logit_diff"].startswith("-2.965 [")
    assert line["mean: Δ logit_diff"].startswith("-0.965 [")
    assert line["zero: texts changed"] == "0.500" and "mean: texts changed" not in line
    assert line["R, denoise"] == "0.500" and "R, noise" not in line


def test_in_short_without_ablation_of_single_heads():
    said = ["## In short", "Not run: `pytest experiments/exp_head_ablation.py`."]
    assert list(report_study.in_short([], [])) == said
    assert list(report_study.in_short(ablated("L0H0+L0H1", -9.0), [])) == said


def setup(rows):
    seen = report_study.Setup()
    for row in rows:
        seen.see(row)
    return list(seen.section())


def test_setup_tells_each_model_study_and_setting_once():
    told = {"model": {"id": "org/one", "type": "gpt2", "weights": "w1", "tokenizer": "t1"},
            "shape": {"layers": 4, "heads": 2}, "prompts": "h1", "seed": 0, "position": "last",
            "versions": {"torch": "2.9"}, "left_out": [["p|9", "<b>"]]}  # fmt: skip
    first, second = rows_of("x", {"a": around(0.0)}, {"a": 1.0})
    rows = [replace(first, provenance=told), replace(second, provenance=told | {"seed": 3})]
    title, models, sizes, settings, notes = setup(rows)
    assert title == "## Setup"
    assert lines_of(models) == [
        {"model": "one", "id": "org/one", "type": "gpt2", "layers × heads": "4 × 2",
         "weights": "w1", "tokenizer": "t1"}
    ]  # fmt: skip
    # The row without a vector leaves the number of prompts as another row told it.
    assert lines_of(sizes) == [
        {"model": "one", "emotion": "joy", "prompts": "8", "templates": "8", "left out": "1",
         "hash": "h1"}
    ]  # fmt: skip
    values = {line["setting"]: line["value"] for line in lines_of(settings)}
    assert values == {"position": "last", "seed": "0, 3", "versions": "torch 2.9"}
    meanings = {line["setting"]: line["what it is"] for line in lines_of(settings)}
    assert meanings["position"] == "Which prompt positions interventions edit."
    assert notes == r"- one, joy: 1 pairs left out (p\|9: &lt;b&gt;)"
    assert setup([]) == ["## Setup"]


def test_settings_that_are_off_or_that_nothing_read_are_left_out():
    told = {"chat": False, "system": None, "architectures": {}, "probe_folds": 5, "clean_gap": 1.5,
            "circuit_draws": 3, "seed": 0, "steering_doses": [-1.0, 0.5]}  # fmt: skip
    names = {
        name: [line["setting"] for line in lines_of(setup([replace(row, provenance=told)])[-1])]
        for name in ("x", "head_probe", "steering", "head_circuit")
        for row in rows_of(name, {"a": 1.0})
    }
    assert names == {
        "x": ["seed"], "head_probe": ["probe_folds", "seed"],
        "steering": ["seed", "steering_doses"], "head_circuit": ["circuit_draws", "seed"],
    }  # fmt: skip


def test_models_are_compared_and_ranks_between_models_of_one_shape():
    scores = [
        replace(row, provenance={"shape": {"layers": 1, "heads": heads}})
        for model, heads in (("one", 3), ("two", 3), ("six", 6))
        for i in range(3)
        for row in rows_of("head_screening", {"atp_ig": i + 1.0}, model=model, heads=f"L0H{i}")
    ]
    found = list(report_study.models(ablated("L0H1", -3.0), [], scores))
    (line,) = lines_of(found[2])
    assert line["strongest"] == "L0H1" and line["model"] == "one"
    (ranks,) = lines_of(found[-1])
    assert ranks == {"models": "one, two", "emotion": "joy", "spearman": "1"}
    assert list(report_study.models([], [], [])) == [
        "## Models side by side",
        "Not run: `pytest experiments/exp_head_ablation.py`.",
    ]


def test_rows_that_a_rank_chose_are_not_tested_and_counted():
    rows = ablated("L0H0", -3.0) + ablated("L0H1", -0.035)
    chosen = [replace(row, labels={"spec": "top1"}) for row in ablated("L1H0", -5.0)]
    text = "\n".join(report_study.significance([*rows, *chosen]))
    (line,) = lines_of(text)
    assert (line["table"], line["tested"]) == ("head_ablation, one, joy, zero", "2")
    assert line["q below 0.05"] == "1" and line["which"] == "L0H0"
    assert "Not tested: 1 rows of what a rank chose" in text
    alone = "\n".join(report_study.significance(chosen))
    assert "Not tested: 1 rows" in alone and "| table" not in alone and "Not run" not in alone
    assert "Not run" in "\n".join(report_study.significance([], []))


def test_of_patching_the_position_that_was_asked_for_is_tested():
    rows = [
        *patched("L0H0", "noise", "last", 3.0, 0.5),
        *patched("L0H0", "noise", "slot", 3.0, 0.5),
    ]
    (line,) = lines_of("\n".join(report_study.significance(rows)))
    assert line["table"] == "head_patching, one, joy, noise" and line["tested"] == "1"


def test_of_many_discoveries_six_are_named():
    rows = [row for i in range(8) for row in ablated(f"L0H{i}", -3.0 - i)]
    (line,) = lines_of("\n".join(report_study.significance(rows)))
    assert line["q below 0.05"] == "8"
    assert line["which"] == "L0H7, L0H6, L0H5, L0H4, L0H3, L0H2, …"


def texts(heads, effect, rates, after, **more):
    return ablated(heads, effect, keyword_rate=rates, clean_text=["same"] * 8, ablated_text=after,
                   **more)  # fmt: skip


def samples(rows):
    seen = report_study.Samples("ablated_text")
    for row in rows:
        seen.see(row)
    return list(seen.section())


def test_samples_are_those_whose_words_changed_the_most():
    after = [f"new {i}" for i in range(7)] + ["same"]
    rates = [0.0, 1.0, -5.0, 0.5, 0.25, 3.0, 0.125, 9.0]
    prompts = [f"say {i}" for i in range(8)]
    rows = texts("L0H1", -3.0, rates, after, prompt=prompts)
    rows += texts("L0H0", 0.1, rates, ["weaker"] * 8, prompt=prompts)
    title, _, heading, shown = samples(rows)
    assert title == "## Texts" and heading == "### one, joy: zero of L0H1"
    assert shown.splitlines() == [
        line
        for i in (2, 5, 1)
        for line in (f"- say {i}", "  - clean: same", f"  - ablated: new {i}")
    ]


def test_samples_without_prompts_changes_or_texts():
    rates = [0.0] * 8
    *_, shown = samples(texts("L0H1", -3.0, rates, [HOSTILE] * 8))
    assert shown.splitlines()[::3] == ["- prompt 0", "- prompt 1", "- prompt 2"]
    assert "<script>" not in shown and not re.search(r"(?<!\\)[`$*]", shown)
    *_, said = samples(texts("L0H1", -3.0, rates, ["same"] * 8))
    assert said == "No text changed."
    *_, said = samples(ablated("L0H1", -3.0))
    assert said == "Not run: `pytest experiments/exp_head_ablation.py`."


def test_figures_of_hostile_names_are_links_that_lead_to_them(tmp_path):
    name = "a](x) <b> $z$ 'é'.png"
    (tmp_path / "plots/heads").mkdir(parents=True)
    (tmp_path / "plots/heads" / name).touch()
    (tmp_path / "plots/heads/notes.txt").touch()
    title, link = report_study.figures(tmp_path, tmp_path / "report")
    assert title == "## Figures" and "<b>" not in link and "$z$" not in link
    target = re.fullmatch(r"!\[.*(?<!\\)\]\(([^()<> ]*)\)", link)[1]
    assert (tmp_path / "report" / unquote(target)).resolve() == tmp_path / "plots/heads" / name
