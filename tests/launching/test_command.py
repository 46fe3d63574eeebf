"""The command of a run: whose it is, where its results go, and what is not for a part of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from emolib.errors import InputError
from emolib.launching.command import read_command

HERE = Path("/study")


def read(text):
    return read_command(text.split(), HERE)


@pytest.mark.parametrize("start", ["pytest", "py.test", "python -m pytest", "python3 -m pytest"])
def test_arguments_are_those_behind_pytest_and_results_go_where_all_find_them(start):
    found = read(f"{start} experiments -k joy -x")
    assert found.arguments == ("experiments", "-k", "joy", "-x", "--results-dir=/study/results")
    assert (found.results, found.workers) == (Path("/study/results/demo"), 1)


@pytest.mark.parametrize(
    ("text", "results", "workers"),
    [
        ("--results-dir out --profile mine", "/study/out/mine", 1),
        ("--results-dir=/data --profile=a/b.toml -n 4", "/data/b", 4),
        ("-n auto", "/study/results/demo", 1),
        ("-n2", "/study/results/demo", 2),
        ("--numprocesses=3", "/study/results/demo", 3),
    ],
)
def test_what_it_says_of_results_and_workers(text, results, workers):
    found = read(f"pytest experiments {text}")
    assert (str(found.results), found.workers) == (results, workers)
    base = Path(results).parent
    assert found.arguments[0] == "experiments" and found.arguments[-1] == f"--results-dir={base}"
    if workers > 1:
        assert f"--numprocesses={workers}" in found.arguments


@pytest.mark.parametrize("text", ["", "make experiments", "python run.py", "pytestx"])
def test_what_is_no_run_is_refused(text):
    with pytest.raises(InputError, match="expected the command of a run behind --"):
        read(text)


@pytest.mark.parametrize(
    "flag", ["--shard 1/2", "--shard=1/2", "--plan", "--collect-only", "--effects-compare=x"]
)
def test_what_is_not_for_a_part_is_refused(flag):
    with pytest.raises(InputError, match=f"{flag.split('=')[0].split()[0]} is not for a part"):
        read(f"pytest experiments {flag}")


def test_a_flag_without_its_value_is_refused_in_a_line():
    with pytest.raises(InputError, match="launch: argument --profile: expected one argument"):
        read("pytest experiments --profile")
