"""What the command is called where it tells how it is used."""

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
