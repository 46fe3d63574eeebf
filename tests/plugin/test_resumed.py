"""A run that broke off anywhere and was started again is the run that never did, to the bit."""

from __future__ import annotations

import json
import random
import shutil

import pytest
from folders import pairs, rounded

# Two kinds of ablation, rows that share a clean run, and draws: what could depend on what ran
# before. A run breaks in the middle of a forward, at a call of the edit that is counted there.
BREAKS = """
from pathlib import Path

from emolib.interventions import edit

PLAN = Path("plan.txt").read_text().split() if Path("plan.txt").exists() else ["0", "never"]
LEFT = [int(PLAN[0])]


def breaks(z):
    LEFT[0] -= 1
    if LEFT[0] == 0:
        raise {"ctrl-c": KeyboardInterrupt, "error": ZeroDivisionError}[PLAN[1]]
    Path("calls.txt").write_text(str(-LEFT[0]))
    return 0.5 * z


def exp_effect(run, ablation, heads, record):
    clean, ablated = run(), run(ablation(heads))
    record(logit_diff=ablated.logit_diff - clean.logit_diff, kl=ablated.kl(clean))
    scaled = run(ablation(heads), edit(heads, breaks))
    record(logit_diff=scaled.logit_diff - clean.logit_diff, text=scaled.texts, part=str(heads))
"""
SPECS = ("--head-spec", "2:0", "--head-spec", "0:1,3:1", "--ablation", "mean",
         "--ablation", "resample")  # fmt: skip
# Which calls break, of all that there are: the first, one within an item, the last.
PLACES = (0.0, 0.3, 0.999)


def rows_of(folder):
    """Give the rows by item and number, without when and in which run they were made."""
    rows = folder.rows()
    kept = {
        (row["item"], row["row"]): row | {"time": "", "provenance": row["provenance"] | {"run": ""}}
        for row in rows
    }
    assert len(kept) == len(rows), "a row is there twice"
    return rounded(kept)


def table_of(folder):
    lines = sorted(folder.results("tables/effect.csv").read_text("utf-8").splitlines())
    return [[number(cell) for cell in line.split(",")] for line in lines]


def number(cell):
    try:
        return rounded(float(cell))
    except ValueError:
        return cell


def go(folder):
    return folder.interrupted(*SPECS)


@pytest.fixture
def whole(folder):
    """Give the folder emptied of results, and the rows, table and calls of a whole run."""
    folder.write("exp_effect.py", BREAKS)
    folder.write("data/pairs/gratitude.json", json.dumps(pairs(count=5)))
    go(folder).stdout.fnmatch_lines(["*4 recorded*"])
    found = rows_of(folder), table_of(folder)
    calls = int((folder.path / "calls.txt").read_text("utf-8"))
    assert len(found[0]) == 8 and calls > 30
    return folder, *found, calls


def broken_off(folder, at, how):
    """Run with a break at a call, then take the break away."""
    shutil.rmtree(folder.results())
    plan = folder.write("plan.txt", f"{at + 1} {how}")
    result = go(folder)
    plan.unlink()
    return result


def test_broken_off_by_ctrl_c_anywhere(whole):
    folder, rows, table, calls = whole
    kept = []
    for place in PLACES:
        result = broken_off(folder, int(place * calls), "ctrl-c")
        assert result.ret == pytest.ExitCode.INTERRUPTED
        before = rows_of(folder)
        kept.append(len(before))
        # What the item had recorded when it broke is not kept: the rows of an item are one thing.
        assert all(rows[name] == row for name, row in before.items()) and len(before) % 2 == 0
        go(folder).stdout.fnmatch_lines(["*4 recorded*"])
        assert rows_of(folder) == rows and table_of(folder) == table
    assert kept[0] == 0 and kept[-1] == 6 and len(set(kept)) > 2


def test_an_item_that_raises_changes_no_later_number(whole):
    folder, rows, table, calls = whole
    for place in (0.1, 0.6):
        result = broken_off(folder, int(place * calls), "error")
        result.stdout.fnmatch_lines(["*1 error, 3 recorded*"])
        others = rows_of(folder)
        assert len(others) == 6 and all(rows[name] == row for name, row in others.items())
        go(folder).stdout.fnmatch_lines(["*4 recorded*"])
        assert rows_of(folder) == rows and table_of(folder) == table


def test_killed_at_any_byte(whole):
    """The last line may be torn, or rows of an item lack the ones after them."""
    folder, rows, table, _ = whole
    (path,) = folder.segments()
    data = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(data) if byte == ord("\n")]
    cuts = random.Random(0).sample(range(len(data)), 3)
    for cut in [ends[0], ends[-1] - 1, *cuts]:
        shutil.rmtree(path.parent)
        path.parent.mkdir()
        path.write_bytes(data[:cut])
        go(folder).stdout.fnmatch_lines(["*4 recorded*"])
        assert rows_of(folder) == rows and table_of(folder) == table
