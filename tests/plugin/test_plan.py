"""``--plan``: what would run and what it costs, and nothing is run."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from pytest_emolib.fixture_table import FIXTURES
from pytest_emolib.plan import costs_of

ABLATION = """
def exp_ablation(run, heads, ablation, record):
    clean, ablated = run(), run(ablation(heads))
    record(logit_diff=ablated.logit_diff - clean.logit_diff, text=ablated.texts)


def exp_patching(patched, heads, record):
    for case in patched(heads, ["last"]):
        record(logit_diff=case.run.logit_diff)


def exp_screening(screening, head, record):
    record(**screening.of(head))


def exp_nothing(record):
    record(a=1)
"""


RANKED = """
def exp_ranked(run, heads, ablation, record):
    record(a=run(ablation(heads)).logit_diff)


def exp_screening(screening, head, record):
    record(a=1)


def exp_controls(controls, record):
    record(a=1)


def exp_circuit(circuit, record):
    record(a=1)


def exp_units(run, units, record):
    record(a=1)


def exp_matched(run, units, matched_units, record):
    record(a=1)


def exp_unit_screening(unit_screening, record):
    record(a=1)
"""


def table(result):
    """Give the table's rows by model, as {column: text}."""
    lines = result.outlines
    start = next(i for i, line in enumerate(lines) if line.startswith("model "))
    names = lines[start].split()
    rows = {}
    for line in lines[start + 2 :]:
        cells = line.split()
        if len(cells) != len(names):
            break
        rows[cells[0]] = dict(zip(names, cells, strict=True))
    return rows


@pytest.fixture
def planned(folder):
    folder.write("exp_effect.py", ABLATION)
    return folder


def test_a_plan_runs_nothing_and_writes_nothing(planned):
    result = planned.pytest("--plan")
    assert result.ret == 0
    row = table(result)["tiny-neo"]
    # Three head sets twice, four heads one by one, whose scores need the clean runs and more.
    assert (row["items"], row["stored"]) == ("10", "0")
    assert float(row["GFLOP"]) > 0 and float(row["MB"]) > 1 and int(row["batches"]) > 5
    result.stdout.fnmatch_lines(["1 items that run on no model are not counted"])
    assert not planned.results().exists()


def test_the_rows_are_those_that_are_then_computed(planned, monkeypatch):
    """Of ablation: a clean run of each side's logits and texts, and each item's own."""
    result = planned.pytest("--plan", "-k", "ablation")
    # Two clean runs, three ablations, their three texts.
    assert table(result)["tiny-neo"]["rows"] == "8"
    planned.pytest("-k", "ablation")
    again = planned.pytest("--plan", "-k", "ablation")
    row = table(again)["tiny-neo"]
    assert (row["items"], row["stored"], row["rows"], row["batches"]) == ("3", "3", "0", "0")
    fresh = planned.pytest("--plan", "--fresh", "-k", "ablation")
    assert table(fresh)["tiny-neo"]["rows"] == "8"


def test_a_plan_of_what_is_stored_loads_no_engine(planned):
    """It took ten seconds to say 0: those that torch and transformers take to load."""
    assert planned.pytest("-k", "ablation").ret == 0
    script = (
        "import sys, pytest; pytest.main(['--profile', 'small', '--plan', '-k', 'ablation']);"
        "print('LOADED', sorted({'torch', 'transformers', 'emolib.engine'} & set(sys.modules)))"
    )
    done = planned.python("-c", script)
    assert "all of it is in the store" in done.stdout, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_a_plan_with_workers_tells_of_them(planned):
    result = planned.pytest("--plan", "-n", "2")
    assert result.ret == 0 and table(result)["tiny-neo"]["items"] == "10"
    assert any(re.match(r"with -n 2: about \d+ s", line) for line in result.outlines)


def test_a_plan_of_free_prompts_and_of_bad_input(planned):
    for name, texts in (
        ("e", ["Thank you for", "I am glad"]),
        ("n", ["The table", "They went"]),
    ):
        planned.write(f"{name}.json", json.dumps({"prompts": texts}))
    free = ["--emotion-prompts", "e.json", "--neutral-prompts", "n.json", "-k", "ablation"]
    assert table(planned.pytest("--plan", *free))["tiny-neo"]["items"] == "3"
    wrong = planned.pytest("--plan", "--head-spec", "9:9")
    assert wrong.ret == 4
    wrong.stderr.fnmatch_lines(["*9:9*"])


COSTS = {name for f in FIXTURES.values() for name in (*f.once, *f.ranked, *f.each)}


@pytest.mark.parametrize("name", sorted(COSTS))
def test_every_cost_is_stated_by_its_method(name):
    (parameter,) = inspect.signature(costs_of(name)).parameters
    assert parameter == "planned"


def test_every_method_that_states_a_cost_is_asked_for_it():
    """Costs that others are made of aside."""
    stated = {
        f"{path.stem}.{name}"
        for path in Path(inspect.getfile(costs_of("study.costs"))).parent.glob("*.py")
        for name in re.findall(r"^def (\w*costs)\(", path.read_text("utf-8"), re.M)
    }
    assert stated - {"attribution.verify_costs", "unit_effects.exact_costs"} == COSTS


def test_what_others_need_too_is_counted_once(folder):
    folder.write("exp_effect.py", RANKED)

    def rows(*args):
        return int(table(folder.pytest("--plan", *args))["tiny-neo"]["rows"])

    # Two clean runs with their texts each time; verify = 1 in the profile.
    heads = rows("-k", "ranked")
    assert heads == 2 + 3 * 2
    # Their ranking takes six backward passes on neutral prompts and one on emotion prompts.
    ranked = ["--head-spec", "top:3"]
    assert rows("-k", "ranked", *ranked) == heads + 7
    screening = rows("-k", "exp_screening and not unit")
    # The clean runs with their texts, the ranking, the top head and 12 of 15 others verified both
    # ways; what else is read of clean runs is kept of them.
    assert screening == 2 + 7 + 2 * 13
    assert rows("-k", "exp_screening and not unit", "--verify", "0") == 2 + 7
    assert rows("-k", "exp_screening and not unit", "--verify", "all") == 2 + 7 + 2 * 16
    assert rows("-k", "ranked or (exp_screening and not unit)", *ranked) == heads + screening - 2
    # Of one head denoise, noise, same layer and lexical, whose study has two clean runs.
    assert rows("-k", "controls") == 2 + 7 + 4 + 2
    assert rows("-k", "controls or (exp_screening and not unit)") == screening + 4 + 2
    # Sets of six sizes between none and all, each with ten draws; a circuit of five heads.
    assert rows("-k", "circuit") == 2 + 7 + 1 + 6 * 11 + 7
    assert rows("-k", "circuit or controls") == rows("-k", "controls") + 1 + 6 * 11 + 7
    # Units are ranked by gradients and relevance on both sides.
    units = ["--unit-spec", "top:2"]
    assert rows("-k", "exp_units", *units) == 2 + 2 * 2 + 4
    assert rows("-k", "matched", *units) == 2 + 2 * 4 + 4 + 2
    assert rows("-k", "matched", "--unit-spec", "0:1") == 2 + 4 + 2
    # 20 units and 2 × 2 sets, of two kinds; 36 units patched both ways; clean runs for what they
    # are patched with and the activity.
    assert rows("-k", "unit_screening") == 2 + 4 + 48 + 72 + 4
    assert rows("-k", "unit_screening or exp_units", *units) == 2 + 4 + 48 + 72 + 4 + 4
