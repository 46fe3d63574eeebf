"""The glossary as a page, which docs have as it is, and as the command prints it."""

from __future__ import annotations

from pathlib import Path

import pytest

from emolib.__main__ import main
from emolib.errors import InputError
from emolib.reporting.glossary_page import find, listed, page, told
from emolib.results.glossary import entries

PAGE = Path(__file__).parents[2] / "docs/columns.md"


def test_the_page_in_docs_is_that_of_the_glossary():
    said = "write it anew: python -m emolib columns --write docs/columns.md"
    assert PAGE.read_text(encoding="utf-8") == page(), said


def test_the_page_has_every_entry_and_no_broken_row():
    lines = page().splitlines()
    for one in entries():
        assert any(line.startswith(f"| `{one.name}` |") for line in lines), one.name
    width = 0
    for line in lines:
        cells = line.replace("\\|", "").count("|")
        width = 0 if not line.startswith("|") else width or cells
        assert cells == width or not line.startswith("|"), line


@pytest.mark.parametrize("width", [40, 80, 120])
def test_an_entry_fits_the_terminal(width):
    for one in entries():
        # A name alone may be longer than a narrow line.
        assert all(len(line) <= width or " " not in line.strip() or line.startswith(one.name)
                   for line in told(one, width).splitlines()), one.name  # fmt: skip
    assert all(len(line) <= width for line in listed(width).splitlines())


def test_the_command_prints_what_was_asked_for(capsys):
    assert main(["columns", "logit_diff", "verify"]) == 0
    printed = capsys.readouterr().out
    assert "unit     logits" in printed and "in head_circuit:" in printed
    assert "verify (setting)" in printed
    assert main(["columns", "logit_diff", "--experiment", "head_circuit"]) == 0
    assert "in head_circuit:" not in capsys.readouterr().out
    assert main(["columns"]) == 0
    printed = capsys.readouterr().out
    assert all(one.name in printed for one in entries())


def test_a_name_may_be_a_pattern_or_both_a_column_and_a_setting():
    names = ["missed_most", "missed_rest", "missed_drawn", "missed_tau"]
    assert [one.name for one in find("missed_*")] == names
    assert [one.kind for one in find("heads")] == ["dimension", "setting"]
    assert [one.kind for one in find("heads", "head_ablation")] == ["dimension"]


@pytest.mark.parametrize(
    "name, said",
    [
        ("self_repiar", "did you mean self_repair"),
        ("nothing*", "not a column that emolib writes"),
    ],
)
def test_an_unknown_name_is_one_clear_error(name, said, capsys):
    with pytest.raises(InputError, match=said):
        find(name)
    assert main(["columns", name]) == 2
    assert said in capsys.readouterr().err


def test_a_column_of_another_experiment_is_not_taken_for_one():
    with pytest.raises(InputError, match="not a column of mine"):
        find("loss", "mine")


def test_the_page_is_written_whole(tmp_path, capsys):
    path = tmp_path / "new/columns.md"
    assert main(["columns", "--write", str(path)]) == 0
    assert path.read_text(encoding="utf-8") == page() and str(path) in capsys.readouterr().out
    assert main(["columns", "kl", "--write", str(path)]) == 2
