"""The section of the report on circuits, from rows as a store would give them."""

from __future__ import annotations

import re

from circuit_rows import points, summary
from made import HOSTILE, lines_of, rows_of

from emolib.reporting.report_circuits import circuits, sets


def test_the_circuit_stands_with_what_it_keeps_beside_random_heads():
    text = "\n".join(circuits(summary() + summary(model="two"), 10))
    first, second = lines_of(text)
    assert (first["model"], second["model"]) == ("one", "two")
    assert first["circuit"] == "L0H1+L0H2" and (first["heads"], first["of"]) == ("2", "5")
    assert first["chosen on"] == "0.910" and first["held out"] == "0.850 [0.800, 0.900]"
    assert first["rest"].startswith("0.020 [") and first["CPR"] == "0.800 [0.750, 0.850]"
    assert (first["CPR, random"], first["CMD, random"]) == ("0.400", "0.600")
    assert "- " not in text.partition("CPR, CMD: area")[2]


def test_what_is_lacking_is_told_with_the_reason():
    more = {"ranking": "reliability 0.30 < 0.8", "circuit": "", "k": None, "held_out": None,
            "why_no_circuit": "3 templates: fewer than 4"}  # fmt: skip
    text = "\n".join(circuits(summary(more), 10))
    assert "- one, joy: the order of the heads is no ranking: reliability 0.30 &lt; 0.8" in text
    assert "- one, joy: no circuit: 3 templates: fewer than 4" in text


def test_f_by_the_number_of_heads():
    text = "\n".join(sets(points(), 10))
    assert "### one, joy: F by the number of heads" in text
    curve, lost = text.split("What the circuit loses")
    lines = {line["k"]: line for line in lines_of(curve)}
    assert list(lines) == ["0", "1", "2", "5"]
    assert lines["1"]["F, ranking"] == "0.700 [0.650, 0.750]"
    assert lines["1"]["F, random"] == "0.175" and lines["1"]["of draws"] == "[-0.025, 0.375]"
    assert lines["2"]["last head, ranking"] == "L0H2"
    # The head that is missed most stands first.
    assert [line["head"] for line in lines_of(lost)] == ["L0H2", "L0H1"]
    assert lines_of(lost)[0]["lost"] == "0.600 [0.550, 0.650]"
    assert len(lines_of("\n".join(sets(points(), 1)).split("What the circuit loses")[1])) == 1


def test_a_greedy_order_stands_beside_it():
    greedy = rows_of("head_circuit", {"order": "greedy", "k": 1, "head": "L3H3",
                                      "faithfulness": 0.75})  # fmt: skip
    (line,) = [x for x in lines_of("\n".join(sets(points() + greedy, 0)).split("What")[0])
               if x["k"] == "1"]  # fmt: skip
    assert line["F, greedy"] == "0.750" and line["last head, greedy"] == "L3H3"


def test_without_rows_the_command_is_named():
    assert list(circuits([], 10)) == [
        "## Circuits", "Not run: `pytest experiments/exp_head_circuit.py`."
    ]  # fmt: skip
    assert list(sets([], 10)) == []


def test_hostile_names_break_no_table():
    told = summary({"circuit": HOSTILE, "why_no_rest": HOSTILE}, model="a|<b>")
    text = "\n".join([*circuits(told, 10), *sets(points(model="a|<b>"), 10)])
    assert not re.search(r"<(b|i|script)>", text)
