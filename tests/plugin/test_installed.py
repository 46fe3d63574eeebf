"""The experiments that a wheel installs: when they are asked for, and what is known then."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from pytest_emolib import installed
from pytest_emolib.arguments import expects_experiments
from pytest_emolib.installed import asks_for_them, expect_them, module_of


def config(*args, pyargs=True, **patterns):
    values = {"python_files": ["test_*.py"], "python_functions": ["test"]} | patterns
    return SimpleNamespace(
        args=args,
        option=SimpleNamespace(pyargs=pyargs),
        getini=values.__getitem__,
        getoption=lambda _: None,
        addinivalue_line=lambda name, line: values[name].append(line),
    )


@pytest.mark.parametrize(
    ("args", "asked"),
    [
        (["emolib_experiments"], True),
        (["tests", "emolib_experiments.exp_head_ablation"], True),
        (["emolib_experiments.exp_steering::exp_steering"], True),
        (["emolib_experiments_of_mine"], False),
        (["tests/emolib_experiments"], False),
    ],
)
def test_they_are_asked_for_by_the_name_of_the_package(args, asked):
    assert asks_for_them(config(*args)) is expects_experiments(config(*args)) is asked
    assert not asks_for_them(config(*args, pyargs=False))


def test_their_files_and_functions_are_known_where_they_are_asked_for():
    found = config("emolib_experiments")
    expect_them(found)
    assert found.getini("python_files") == ["test_*.py", "exp_*.py"]
    assert found.getini("python_functions") == ["test", "exp_*"]
    known = config("emolib_experiments", python_files=["exp_*.py"], python_functions=["exp_*"])
    expect_them(known)
    assert known.getini("python_files") == ["exp_*.py"]
    other = config("tests")
    expect_them(other)
    assert other.getini("python_files") == ["test_*.py"]


def test_a_module_of_another_place_is_pytest_s(tmp_path, monkeypatch):
    parent = SimpleNamespace(config=config("emolib_experiments"))
    assert module_of(tmp_path / "exp_it.py", parent) is None
    monkeypatch.setattr(installed, "_folder", lambda: tmp_path)
    assert module_of(tmp_path / "exp_it.py", SimpleNamespace(config=config("tests"))) is None
