"""Two runs beside each other in a terminal and as JSON."""

from __future__ import annotations

import json

import pytest
from made import HOSTILE
from two_runs import SIDES, effect, moved

from emolib.reporting.run_pairs import Diff, Moved, Side
from emolib.reporting.run_pairs_told import as_json, clipped, in_words, lines
from emolib.results.runs import Run


def told(*effects, width=80, shown=24, **more):
    found = Diff(*SIDES, list(effects), **{"only_a": [], "only_b": []} | more)
    return list(lines(found, width, shown))


def test_what_drifted_is_said_in_words_before_any_table():
    found = [moved(2.0, 1.0), moved(2.0, 1.5, emotion="fear"), moved(1.0, 3.0, "L1H1"),
             moved(1.0, -1.0, "L1H2"), moved(2.0, 2.0, "L2H2")]  # fmt: skip
    words = in_words(Diff(*SIDES, found, [], []))
    assert words == [
        "one L0H0: two effects smaller by 25–49 %",
        "one L1H1: one effect larger by 193 %",
        "one L1H2: one effect turned around",
    ]
    said = told(*found)
    assert said[:3] == ["A: results/old", "B: results/new", ""]
    assert said[3] == "five effects in both: 4 drifted, 1 replayed"
    assert said[4:7] == words


def test_the_tables():
    said = told(moved(2.0, 1.0), moved(2.0, 2.0, "L2H2"), only_b=["x[one-joy-L9H9]"])
    start = said.index("drifted (1): moved by more than δ, and not by chance")
    assert said[start + 1].split() == ["effect,", "logit_diff", "A", "B", "drift,", "90", "%", "δ"]
    name, old, new, drift, _, half, delta = said[start + 3].split()
    assert (name, old, new, drift) == ("ablation[one-joy-L0H0]", "2.035", "1.035", "-1")
    assert float(half) < 0.01 and delta == "0.41"
    study = next(line for line in said if line.startswith("one, "))
    assert study.split() == ["one,", "joy", "1", "1"]
    assert said[-1] == "in B alone (1): x[one-joy-L9H9]"


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_line_is_wider_than_the_terminal(width):
    long = [moved(2.0, 1.0, "+".join(f"L{i}H{i}" for i in range(n))) for n in (1, 9, 30)]
    found = told(*long, width=width, only_a=["y" * 300], differing=[f"seed: {'0' * 200} in A"])
    assert max(map(len, found)) <= width
    # Names are cut in the middle: they differ at their ends.
    assert [line.split()[0][-3:] for line in found if line.startswith("ablation")] == [
        "H0]", "H8]", "29]"
    ]  # fmt: skip


def test_as_many_of_a_kind_as_asked_for_and_none_that_did_not_move():
    still = Moved(effect([1.0, 2.0]), effect([1.0, 2.0]), None, "size is not in logits")
    other = Moved(effect([1.0, 2.0], "L1H1"), effect([1.0, 4.0], "L1H1"), None, "of other pairs")
    said = told(*(moved(2.0, 1.0, f"L0H{i}") for i in range(5)), still, other, shown=3)
    assert sum(line.startswith("ablation[one-joy-L0H") for line in said) == 3
    assert "(the 3 of 5 that moved most, in units of δ)" in said
    assert "not judged (2): size is not in logits (1); of other pairs (1)" in said
    assert sum(line.startswith("ablation[one-joy-L1H1]") for line in said) == 1
    assert "(and 1 that did not move)" in said


def test_a_run_is_called_by_what_it_ran():
    run = Run("2026x", "2026-01-01T00:00:00+00:00", "", "pytest -k joy", "", "", "", {}, 1, 0)
    found = Diff(Side("20", "r", run), SIDES[1], [moved(1.0, 1.0)], [], [])
    assert next(lines(found, 80)) == "A: run 2026x (2026-01-01T00:00:00, pytest -k joy)"


def test_hostile_names_move_no_cursor_and_break_no_line():
    bad = "\x1b[2J\u202e" + HOSTILE
    found = told(moved(2.0, 1.0, bad, model=bad, emotion=bad), only_a=[bad], differing=[bad])
    text = "\n".join(found)
    assert "\x1b" not in text and "\u202e" not in text and "\n# e" not in text
    assert max(map(len, found)) <= 80


def test_clipped_is_one_line():
    assert clipped("a\n b\tc", 10) == "a b c" and clipped("abcdef", 4) == "abc…"


def test_json_has_every_effect():
    still = Moved(effect([1.0, 2.0]), effect([1.0, 2.5]), None, "of other pairs")
    found = json.loads(as_json(Diff(*SIDES, [moved(2.0, 1.0), still], ["x"], [], ["seed: 0"])))
    assert found["a"] == {"folder": "results/old", "run": None}
    assert found["counts"]["drifted"] == found["counts"]["not judged"] == 1
    assert list(found["counts"]) == ["drifted", "inconclusive", "equivalent", "replayed",
                                     "not judged"]  # fmt: skip
    first, second = found["effects"]
    assert first["name"] == "ablation[one-joy-L0H0]" and first["verdict"] == "drifted"
    assert first["n"] == 8 and first["ci"][0] < first["drift"] < first["ci"][1]
    assert second["ci"] is None and second["delta"] is None and second["drift"] == 0.25
    assert (found["only_a"], found["only_b"], found["differing"]) == (["x"], [], ["seed: 0"])
