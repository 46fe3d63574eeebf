"""What the command is called where it tells how it is used, and what may be typed for a name."""

from __future__ import annotations

import sys

import pytest

from emolib import __main__ as command


@pytest.mark.parametrize(
    ("program", "name"),
    [
        ("/venv/bin/emolib", "emolib"),
        ("/venv/site-packages/emolib/__main__.py", "python -m emolib"),
    ],
)
def test_it_is_called_as_it_was_typed(monkeypatch, capsys, program, name):
    monkeypatch.setattr(sys, "argv", [program, "--help"])
    with pytest.raises(SystemExit):
        command.main()
    assert capsys.readouterr().out.startswith(f"usage: {name} [-h]")
    with pytest.raises(SystemExit):
        command.main(["init", "--help"])
    assert capsys.readouterr().out.startswith(f"usage: {name} init [-h] DIR")


@pytest.mark.parametrize(
    "arguments",
    [
        ["runs", "--results-dir="],
        ["runs", "--profile= "],
        ["export", "--run="],
        ["export", "--output-dir="],
        ["report", "--output-dir=a\x1b[31m"],
        ["columns", "--write=\udcff"],
        ["init", "a\nb"],
        ["report", "--top-n", "9" * 5000],
        ["launch", "--shards", "1000000", "--", "pytest"],
        # They write nothing there.
        ["runs", "--output-dir=x"],
        ["pack", "--output-dir=x"],
        ["models", "--results-dir=x"],
    ],
)
def test_what_names_nothing_is_refused(monkeypatch, tmp_path, capsys, arguments):
    """Nothing would pass for the default, and what is not used would be left out unsaid."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2 and ": error: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_experiment_without_a_column_is_told(capsys):
    assert command.main(["columns", "--experiment", "head_circuit"]) == 2
    assert "name one, or a pattern" in capsys.readouterr().err
