"""What the terminal shows is what it would of all rows at once; few of them are kept."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pytest_emolib.shown import HOW, Shown, check_tables

from emolib.errors import InputError
from emolib.reporting.tables import SHOWN, summary_table
from emolib.results.rows import Row


class Terminal:
    """Takes what pytest's reporter would print."""

    def __init__(self):
        self.text = ""
        self._tw = SimpleNamespace(fullwidth=80)

    def write_line(self, line, **markup):
        self.text += line + "\n"

    def write_sep(self, sep, title):
        self.text += f"[{title}]\n"


def row(i, model="a", experiment="x", **fields):
    dims = {"model": model, "heads": f"L{i}H0"}
    name = f"exp.py::exp_{experiment}[{model}-L{i}H0]"
    return Row(name, experiment, name, 0, 1, dims, values={"kl": float(i)}, **fields)


def shown(rows):
    found = Shown()
    for one in rows:
        found.add(one)
    return found


def printed(found, *names):
    terminal = Terminal()
    found.print_tables(terminal, names, "simple")
    return terminal.text


def test_tables_are_those_of_all_rows_and_few_rows_are_kept():
    rows = [row(i, model) for i in range(200) for model in "ba"]
    found = shown(rows)
    expected = summary_table(sorted(rows, key=lambda row: row.dims["model"]), width=80)
    assert printed(found, "a", "b") == f"[x]\n{expected}\n"
    assert f"the strongest {SHOWN} of 400 rows" in expected
    assert len(found._strongest["x"].rows()) == 2 * SHOWN


LINE = {
    "model": "a", "emotion": "joy", "gap": None, "heads": ["L0H2"], "head": "L0H2", "kind": "zero",
    "effect": {"mean": -2.0, "ci": [-3.0, -1.0]}, "share": None, "reliability": None, "doubt": "",
}  # fmt: skip


def in_short(found, lines, names=("a",)):
    terminal = Terminal()
    found.print_short(terminal, list(names), "simple", lines)
    return terminal.text


def test_in_short_lines_stand_in_the_order_of_the_profile():
    lines = [LINE | {"model": model, "emotion": emotion} for model in "ab" for emotion in "xyz"]
    text = in_short(shown([]), lines, ["b", "a", "z", "x"])
    told = [tuple(line.split()[:2]) for line in text.splitlines()[3:9]]
    assert told == [(model, emotion) for model in "ba" for emotion in "zxy"]


def test_in_short_own_experiments_stand_below_with_few_rows():
    found = shown([row(i, experiment=name) for name in ("head_ablation", "x") for i in range(30)])
    text = in_short(found, [LINE])
    assert text.startswith("[in short]\n") and "[head_ablation]" not in text
    assert "−2.0 [−3.0, −1.0]" in text
    assert "[x]" in text and "the strongest 8 of 30 rows" in text
    assert max(map(len, text.splitlines())) <= 80


def test_in_short_a_run_without_studies_has_three_tables_and_names_the_others():
    names = ("p", "q", "r", "s", "head_paths")
    text = in_short(shown([row(1, experiment=name) for name in names]), [])
    assert "[in short]" not in text and all(f"[{name}]" in text for name in "pqr")
    assert text.endswith("recorded too: s, head_paths\n")
    assert "[head_paths]" in in_short(shown([row(1, experiment="head_paths")]), [])


def test_what_tables_may_be():
    for how in (None, *HOW):
        check_tables(how)
    with pytest.raises(InputError, match="--tables some: expected one of short, all, none"):
        check_tables("some")


def test_a_table_per_experiment_in_order():
    found = shown([row(1, experiment="z"), row(2, experiment="y")])
    text = printed(found)
    assert text.index("[y]") < text.index("L2H0") < text.index("[z]") < text.index("L1H0")
    assert found.experiments == ["z", "y"]


def test_of_a_file_that_many_items_share_one_row_is_kept():
    def output(path, shape="scores"):
        return {"path": path, "shape": shape}

    rows = [row(i, output=output(f"scores_{i % 2}.json")) for i in range(9)]
    rows += [row(10, output=output("own.json", "item")), row(11)]
    found = shown(rows)
    assert [one.output["path"] for one in found.shared("x")] == ["scores_0.json", "scores_1.json"]
    assert found.shared("y") == []


def test_what_was_left_out_is_told_once_a_study():
    left_out = [["p1", "too long"], ["p2", "too long"]]
    rows = [row(i, provenance={"left_out": left_out, "seed": 0}) for i in range(5)]
    rows += [row(9, "b", provenance={"in_pieces": ["gladly"]}), row(8, "c", provenance={"seed": 1})]
    (pairs, words) = shown(rows).notes()
    assert pairs.startswith("a, : 2 pairs left out (p1: too long; p2: too long)")
    assert words.startswith(": 1 words are several tokens each (gladly) and stay out of")


def test_designs_that_tell_nothing_from_chance_are_told():
    rows = [
        Row(f"e[{i}]", "x", str(i), 0, 1, {"model": "m", "emotion": "joy", "heads": f"L{i}H0"},
            values={"logit_diff": {"mean": 1.0, "ci": None}})
        for i in range(40)
    ]  # fmt: skip
    asked = []
    (line,) = shown(rows).out_of_reach(lambda row: asked.append(row.key) or (3, "templates"))
    assert line.startswith("x: 3 templates and 40 tests:") and asked == ["0"]
    assert list(shown(rows[:1]).out_of_reach(lambda row: (12, "templates"))) == []
