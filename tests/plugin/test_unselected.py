"""Options that leave nothing: what there is, and what is called nearly as typed, is said."""

from __future__ import annotations

import pytest
from folders import CROSSED, LIGHT
from pytest_emolib.unselected import lines


@pytest.fixture
def crossed(folder, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    folder.write("data/profiles/small.toml", CROSSED)
    folder.write("exp_effect.py", LIGHT + "def exp_other(ablation, emotion, record): pass\n")
    return folder


def said(result):
    """Give the lines from the first on what is left."""
    found = result.outlines
    start = next(i for i, line in enumerate(found) if line.startswith("nothing is left"))
    return found[start:-1]


@pytest.mark.parametrize(
    ("typed", "word", "nearest"),
    [
        (["-k", "graditude"], "graditude", "gratitude"),
        (["-k", "tiny-neo and not graditude"], "graditude", None),
        (["-k", "GRADITUDE and tiny-neo"], "GRADITUDE", "gratitude"),
        (["-k", "exp_ligth"], "exp_ligth", "exp_light"),
        (["-k", "lihgt"], "lihgt", "light"),
        (["-k", "tiny-gpt3-anger"], "tiny-gpt3-anger", "tiny-gpt2-anger"),
        (["-m", "gatd"], "gatd", None),
    ],
)
def test_the_nearest_name(crossed, typed, word, nearest):
    result = crossed.pytest(*typed)
    if "not" in typed[1]:
        assert result.ret == 0
        return
    assert result.ret == 5
    line = next(line for line in said(result) if line.startswith(f"{word}: "))
    _, _, hint = line.partition(f"{word}: none of them is called that")
    assert hint.startswith(f"; did you mean {nearest}") if nearest else not hint


def test_what_there_is(crossed):
    found = said(crossed.pytest("-k", "graditude"))
    assert found[0] == "nothing is left of 16 items by -k 'graditude'"
    assert found[2:] == [
        "models:      tiny-neo, tiny-gpt2",
        "emotions:    gratitude, anger",
        "ablations:   zero, resample",
        "heads:       L2H0, L0H2",
        "experiments: light, other",
    ]


def test_marks_are_told_where_marks_were_asked_for(crossed):
    crossed.write(
        "exp_marked.py",
        "import pytest\n@pytest.mark.results('x.json')\ndef exp_marked(record): record(a=1)\n",
    )
    found = said(crossed.pytest("-m", "reslts"))
    assert found[1] == "reslts: none of them is called that; did you mean results?"
    assert found[-1] == "marks (-m):  results"


def test_names_that_fit_and_do_not_fit_together(crossed):
    found = said(crossed.pytest("-k", "gratitude and anger"))
    assert found[1] == "each name fits some of them, and no item fits all that is asked for"


@pytest.mark.parametrize("more", [["-n", "1"], ["--collect-only", "-q"], ["--plan"]])
def test_workers_and_dry_runs_say_it_once(crossed, more):
    result = crossed.pytest("-k", "graditude", *more)
    assert result.ret == 5
    assert result.stdout.str().count("did you mean gratitude?") == 1


def test_nothing_is_said_where_something_is_left_or_nothing_was(crossed):
    assert "nothing is left" not in crossed.pytest("-k", "light and gratitude").stdout.str()
    crossed.write("exp_effect.py", "def exp_test():\n    pass\n")
    assert "nothing is left" not in crossed.pytest("-k", "graditude").stdout.str()


def test_names_cannot_command_a_terminal():
    bad = "\x1b[2J\u202e" + "x" * 200
    names = {"models": [bad], "experiments": []}
    told = {"given": {"-k": bad}, "count": 1, "unknown": {bad: [bad]}, "names": names}
    found = list(lines(told, 80))
    assert "\x1b" not in "".join(found) and "\u202e" not in "".join(found)
    assert max(map(len, found)) <= 80
