"""Results files of items: all of a small run, those asked for of a large one, later by export."""

from __future__ import annotations

import json

import pytest
from pytest_emolib import item_files

from emolib.__main__ import main

OWN = """
import pytest


@pytest.mark.results("own/{model}_{emotion}_{heads}.json")
def exp_own(emotion, heads, record):
    record(words=[0.5, 1.5], text=["a", "é"], count=len(emotion.lexicon.words))
    record(words=[2.5, 3.5], split="b")
"""


@pytest.fixture
def few(light, monkeypatch):
    """Give eight items with files of their own, one more than get them unasked."""
    light.write("exp_effect.py", OWN)
    monkeypatch.setattr(item_files, "MOST", 7)
    return light


def own(folder):
    return {name for name in folder.files() if name.startswith("own/")}


@pytest.mark.parametrize("parallel", [(), ("-n", "2")])
def test_beyond_the_most_files_are_left_out_and_the_run_says_how_to_get_them(few, parallel):
    result = few.pytest(*parallel)
    result.stdout.fnmatch_lines(
        ["8 items without a results file (--item-files); to write them: "
         "python -m emolib export --format files --profile small"]
    )  # fmt: skip
    assert result.ret == 0 and not own(few) and len(few.rows()) == 16


def test_files_written_later_are_those_of_the_run(few, capsys):
    few.pytest("--item-files=always")
    run = {name: few.results(name).read_bytes() for name in own(few)}
    assert len(run) == 8
    for name in run:
        few.results(name).unlink()
    assert main(["export", "--format", "files", "--profile", "small"]) == 0
    assert capsys.readouterr().out.endswith("\n8 files in results/small\n")
    assert {name: few.results(name).read_bytes() for name in own(few)} == run


def test_up_to_the_most_they_are_written(few):
    result = few.pytest("-k", "tiny-neo")
    assert len(own(few)) == 4
    result.stdout.no_fnmatch_line("*without a results file*")
    few.pytest("-k", "tiny-gpt2", "--item-files=never")
    assert len(own(few)) == 4


def test_the_option_alone_asks_for_all_and_stored_items_get_theirs(few):
    few.pytest()
    result = few.pytest("--item-files")
    assert len(own(few)) == 8 and len(few.rows()) == 16
    result.stdout.no_fnmatch_line("*without a results file*")


def test_a_file_that_is_there_is_kept_up_to_date(few):
    few.pytest("-k", "tiny-neo")
    before = {name: few.results(name).read_text("utf-8") for name in own(few)}
    few.write("exp_effect.py", OWN.replace("2.5, 3.5", "4.5, 5.5"))
    result = few.pytest("--item-files=never")
    result.stdout.fnmatch_lines(["4 items without a results file*"])
    assert own(few) == set(before)
    for name, text in before.items():
        now = few.results(name).read_text("utf-8")
        assert json.loads(now)["records"][1]["prompts"] == [{"words": 4.5}, {"words": 5.5}]
        assert now != text


def test_another_value_is_one_line_and_names_a_path_that_follows(few):
    result = few.pytest("--item-files", "exp_effect.py")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: --item-files exp_effect.py: expected one of auto, always, never; write "
         "--item-files=always where a path follows"]
    )  # fmt: skip
