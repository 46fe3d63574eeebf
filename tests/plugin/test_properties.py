"""A file of ``--junitxml`` has the first metrics of items, with and without workers."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from made import around, rows_of
from pytest_emolib.properties import MOST, ROWS, properties

SEVERAL = """
def exp_it(heads, record):
    record(direction="denoise", a=1, b=None, why_no_b="it is not", text=["x", "y"])
    record(direction="noise", a=2, b=0.5)
"""
LIGHT = """
def exp_it(heads, record):
    record(effect=[1.0, 2.0, 4.0], count=3, b=1, c=2, note="<x>", text=["secret"] * 3)


def exp_error(heads, record):
    record(a=1)
    raise ValueError("no")


def test_other():
    pass
"""


def of_file(folder):
    """Give by the name of a case its properties."""
    cases = ET.parse(folder.path / "junit.xml").getroot().iter("testcase")
    return {
        case.get("name"): {one.get("name"): one.get("value") for one in case.iter("property")}
        for case in cases
    }


def run(folder, *args):
    return folder.pytest("--head-spec", "2:0", "--junitxml=junit.xml", *args)


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["serial", "workers"])
def test_metrics_are_in_the_file(folder, workers):
    folder.write("exp_effect.py", LIGHT)
    folder.write("pytest.ini", (folder.path / "pytest.ini").read_text("utf-8").replace(
        "python_functions = exp_*", "python_functions = exp_* test_*"))  # fmt: skip
    # The second time the rows come from the store.
    for _ in range(2):
        run(folder, *workers)
        found = of_file(folder)
        (row,) = (row for row in folder.rows() if row["experiment"] == "it")
        low, high = row["values"]["effect"]["ci"]
        assert found["exp_it[tiny-neo-L2H0]"] == {
            "effect": str(7 / 3), "effect_ci_low": str(low), "effect_ci_high": str(high),
            "count": "3", "b": "1",
        }  # fmt: skip
        assert found["exp_error[tiny-neo-L2H0]"] == found["test_other"] == {}
        assert "secret" not in (folder.path / "junit.xml").read_text("utf-8")


def test_rows_are_told_apart(folder):
    folder.write("exp_effect.py", SEVERAL)
    run(folder)
    (found,) = of_file(folder).values()
    assert found == {"a[denoise]": "1", "a[noise]": "2", "b[noise]": "0.5"}


def test_without_a_file_nothing_is_kept(folder):
    folder.write("exp_effect.py", LIGHT)
    folder.write("conftest.py", """
def pytest_runtest_logreport(report):
    assert not report.user_properties
""")  # fmt: skip
    folder.pytest("--head-spec", "2:0", "-k", "exp_it").stdout.fnmatch_lines(["*1 recorded*"])


def test_few_metrics_of_few_rows_are_told():
    rows = rows_of("it", *[{f"m{i}": around(float(i)) for i in range(9)}] * 20)
    found = dict(properties(rows))
    assert len(found) == ROWS * MOST * 3 and "m2_ci_high[7]" in found and "m3[0]" not in found
    (one,) = rows_of("it", {"f": 0.5, "f_ci_low": 0.25, "f_ci_high": 0.75, "g": None})
    assert dict(properties([one])) == {"f": "0.5"}
