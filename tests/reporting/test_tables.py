"""Tables: every number in CSV and Markdown, the strongest rows in the terminal."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made import make_results
from tabulate import tabulate, tabulate_formats

from emolib.errors import InputError
from emolib.reporting import tables
from emolib.reporting.tables import (
    Strongest,
    check_format,
    summary_table,
    to_csv,
    write_table_of,
    write_tables,
)
from emolib.results.chances import chances
from emolib.results.records import Store
from emolib.results.rows import Row


def mean(value, n=8, d_z=0.5, ci=True):
    interval = [value - 1, value + 1] if ci else None
    return {"mean": value, "ci": interval, "n": n, "sd": 1.0, "d_z": d_z, "g_z": d_z}


def row(heads, model="tiny", experiment="x", labels=None, **values):
    dims = {"model": model, "heads": heads}
    return Row(f"x[{model}-{heads}]", experiment, heads, 0, 1, dims, "", labels or {}, values)


def shown(rows, **options):
    """Return headers, cells and the note of a terminal table."""
    text = summary_table(rows, fmt="tsv", **{"width": 10_000} | options)
    table, _, note = text.partition("\n(")
    lines = [[cell.strip() for cell in line.split("\t")] for line in table.splitlines()]
    return lines[0], lines[1:], note.removesuffix(")")


def test_csv_has_every_number_in_full():
    rows = [
        row("L0H0", logit_diff=mean(1 / 3), note=None, labels={"split": 'a,"b"\nc'}),
        row("L0H1", logit_diff=mean(-2.0, d_z=None, ci=False), extra=5e-300),
    ]
    found = list(csv.DictReader(io.StringIO(to_csv(rows), newline="")))
    assert found[0] == {
        "item": "x[tiny-L0H0]", "model": "tiny", "heads": "L0H0", "split": 'a,"b"\nc',
        "logit_diff": repr(1 / 3), "logit_diff_ci_low": repr(1 / 3 - 1),
        "logit_diff_ci_high": repr(1 / 3 + 1), "logit_diff_n": "8", "logit_diff_d_z": "0.5",
        "note": "", "extra": "",
    }  # fmt: skip
    assert found[1]["extra"] == "5e-300"
    assert found[1]["logit_diff_ci_low"] == found[1]["logit_diff_d_z"] == ""


def test_markdown_and_csv_come_per_experiment(tmp_path):
    rows = [
        row("003", labels={"id": "1e5", "cue": "a|b\nc"}, kl=mean(0.3)),
        row("L1", experiment="y", n=1.0),
    ]
    write_tables(tmp_path, rows)
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "x.md", "y.csv", "y.md"}
    line = (tmp_path / "x.md").read_text("utf-8").splitlines()[2]
    # What looks like a number stays as it is written; a bar or a line break ends no cell.
    cells = [cell.strip() for cell in line.replace("\\|", "¦").split("|")]
    assert cells[1:7] == ["tiny", "003", "1e5", "a¦b ↵ c", "8", "0.300 [-0.700, 1.300]"]
    assert (tmp_path / "y.csv").read_text("utf-8") == to_csv(rows[1:])


def test_a_terminal_table_has_dims_n_and_metrics():
    rows = [row("L0H0", ld=mean(1.5), kl=0.25), row("L0H1", ld=mean(-1.0, n=6, d_z=None), kl=None)]
    headers, lines, _ = shown(rows)
    assert headers == ["model", "heads", "n", "ld", "d_z", "kl"]
    assert lines == [
        ["tiny", "L0H0", "8", "1.500 [0.500, 2.500]", "0.500", "0.250"],
        ["tiny", "L0H1", "6", "-1 [-2, 0]", "–", "–"],
    ]


def test_why_a_number_is_null_stands_in_the_files_and_not_in_the_terminal():
    why = "the direct effect, 0.02 logits, is below 0.1"
    rows = [row("L0H0", labels={"cue": "a", "why_no_repair": why}, ld=mean(1.5), repair=None)]
    headers, _, note = shown(rows)
    assert headers == ["model", "heads", "cue", "n", "ld", "d_z", "repair"] and not note
    assert why in to_csv(rows)


def test_without_dims_the_item_is_named():
    bare = Row("a.py::exp_a", "a", "k", 0, 1, {}, values={"x": 2.0})
    headers, lines, note = shown([bare])
    assert (headers, lines, note) == (["item", "x"], [["a.py::exp_a", "2"]], "")


def test_the_strongest_of_each_combination_are_shown_by_the_size_of_the_first_metric():
    rows = [
        row(f"L0H{i}", model, ld=mean(sign * i), kl=float(-i))
        for model, sign in (("m", 1), ("n", -1))
        for i in range(20)
    ]
    headers, lines, note = shown(rows, shown=6)
    at = headers.index("heads")
    assert [(line[0], line[at]) for line in lines] == [
        (model, f"L0H{i}") for model in "mn" for i in (19, 18, 17)
    ]
    assert note == "the strongest 6 of 40 rows; all in tables/x.csv"
    assert len(shown(rows, shown=40)[1]) == 40


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.sampled_from("ab")), max_size=60), st.integers(1, 9)
)
def test_the_strongest_of_rows_seen_one_by_one_are_those_of_all(found, shown):
    rows = [row(f"L{i}", model=model, kl=float(size)) for i, (size, model) in enumerate(found)]
    kept = Strongest(shown)
    for one in rows:
        kept.add(one)
    assert kept.count == len(rows) and len(kept.rows()) <= 2 * shown
    if rows:
        table = summary_table(kept.rows(), shown=shown, count=kept.count)
        assert table == summary_table(rows, shown=shown)


def test_tables_read_their_rows_twice_and_are_those_of_all(tmp_path):
    rows = [row(f"L{i}", n=i, labels={"cue": f"a|{i}"}, kl=mean(i / 3)) for i in range(9)]
    rows += [row("last", kl=None, extra=mean(1.0)), row("", labels={"x": 'q,"\n'}, n=3)]
    write_tables(tmp_path / "all", rows)
    times = []
    write_table_of(tmp_path, "x", lambda: times.append(1) or iter(rows))
    assert len(times) == 2
    for ending in ("csv", "md"):
        assert (tmp_path / f"x.{ending}").read_bytes() == (
            tmp_path / f"all/x.{ending}"
        ).read_bytes()
    assert (tmp_path / "x.csv").read_text("utf-8") == to_csv(rows)
    header, rule, *lines = (tmp_path / "x.md").read_text("utf-8").splitlines()
    assert len({len(line) for line in (header, rule, *lines)}) == 1 and len(lines) == len(rows)
    names = [name.strip() for name in header.split("|")[1:-1]]
    assert names == ["model", "heads", "cue", "x", "n", "n", "kl", "d_z", "extra", "d_z"]


def test_a_row_without_its_first_metric_counts_by_the_next():
    rows = [row(f"L0H{i}", ld=None, kl=float(i)) for i in range(4)]
    assert [line[1] for line in shown(rows, shown=2)[1]] == ["L0H3", "L0H2"]


@pytest.mark.parametrize("width", [10, 60, 90])
def test_columns_that_do_not_fit_are_counted(width):
    rows = [row("L0H0", **{f"metric_number_{i}": float(i) for i in range(9)})]
    headers, _, note = shown(rows, width=width)
    left = len(headers) - 2
    assert 1 <= left < 9
    assert note == f"{9 - left} more columns; all in tables/x.csv"
    text = summary_table(rows, width=width)
    assert width == 10 or max(map(len, text.splitlines()[:-1])) <= width


def test_formats():
    for name in tabulate_formats:
        check_format(name)
    with pytest.raises(InputError) as error:
        check_format("word")
    assert str(error.value) == (
        f"--table-format word: unknown; expected one of {', '.join(tabulate_formats)}"
    )


TEXTS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=12)


@given(st.sampled_from(["simple", "github"]), st.integers(1, 4), st.data())
def test_the_formats_written_here_are_tabulate_s(fmt, width, data):
    def cells(texts):
        return data.draw(st.lists(texts, min_size=width, max_size=width))

    headers = cells(st.text("abc_d", min_size=1, max_size=9))
    lines = [cells(TEXTS.map(tables._in_terminal)) for _ in range(data.draw(st.integers(1, 4)))]
    expected = tabulate(lines, headers, tablefmt=fmt, disable_numparse=True)
    assert tables.render(lines, headers, fmt) == expected


def test_a_sentence_on_a_study_stands_below_the_table_once(tmp_path):
    said = {"missed": "at most 1 of 11 unverified heads exceed 0.03 logits (95 %)"}
    rows = [
        Row(f"x[{model}-{head}]", "x", head, 0, 1, {"model": model, "emotion": "joy"},
            labels=said, values={"kl": 0.5})
        for model in ("m", "n") for head in ("a", "b")
    ]  # fmt: skip
    text = summary_table(rows)
    assert text.splitlines()[0].split() == ["model", "emotion", "kl"]
    assert [line for line in text.splitlines() if "unverified" in line] == [
        f"{model}, joy: {said['missed']}" for model in ("m", "n")
    ]
    write_tables(tmp_path, rows)
    assert (tmp_path / "x.md").read_text("utf-8").count(f"\nm, joy: {said['missed']}\n") == 1
    lines = list(csv.DictReader((tmp_path / "x.csv").read_text("utf-8").splitlines()))
    assert {line["missed"] for line in lines} == set(said.values())


def test_csv_has_p_q_and_max_t_behind_the_metrics(tmp_path):
    store = Store(make_results(tmp_path / "made", ("one",), ("joy",)))
    rows = list(store.whole_rows("head_screening"))
    write_tables(tmp_path, rows)
    lines = list(csv.DictReader((tmp_path / "head_screening.csv").read_text("utf-8").splitlines()))
    assert list(lines[0])[-6:] == [
        f"atp_ig_{name}" for name in ("p", "q", "max_t", "max_t_hall", "ci_t_low", "ci_t_high")
    ]
    found = chances(rows, "atp_ig")
    for row, line in zip(rows, lines, strict=True):
        chance = found[row.item, row.row]
        assert [
            float(line[f"atp_ig_{name}"]) for name in ("p", "q", "max_t", "max_t_hall")
        ] == list(chance)
        low, high = float(line["atp_ig_ci_t_low"]), float(line["atp_ig_ci_t_high"])
        assert low < row.mean("atp_ig") < high
