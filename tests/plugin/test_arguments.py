"""Whether experiments are asked for, told from the command line and the names of files alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pytest_emolib.arguments import expects_experiments
from pytest_emolib.options import OPTIONS


def config(*args, given=(), patterns=("exp_*.py", "test_*.py"), pyargs=False):
    values = dict.fromkeys((option.dest for option in OPTIONS), None) | dict(given)
    return SimpleNamespace(
        args=args,
        option=SimpleNamespace(pyargs=pyargs),
        getoption=values.__getitem__,
        getini={"python_files": list(patterns)}.__getitem__,
    )


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("exp_one.py", True),
        ("exp_one.py::exp_it[m]", True),
        ("tests", False),
        ("tests/test_one.py", False),
        ("deep", True),
        ("installed", False),
        ("nowhere", False),
    ],
)
def test_a_place_leads_to_experiments(tmp_path, monkeypatch, place, expected):
    monkeypatch.chdir(tmp_path)
    files = ("exp_one.py", "tests/test_one.py", "deep/er/exp_two.py",
             "installed/site-packages/exp_three.py", "installed/.git/exp_four.py")  # fmt: skip
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert expects_experiments(config(place)) is expected
    assert not expects_experiments(config(place, patterns=["test_*.py"]))


def test_an_option_of_emolib_asks_for_experiments():
    assert expects_experiments(config("nowhere", given={"emolib_seed": 0}))
