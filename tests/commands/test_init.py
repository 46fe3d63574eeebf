"""``emolib init``: the folder it writes runs as it is, and it writes over nothing."""

from __future__ import annotations

import pytest
from folders import run_in

from emolib import __main__ as command
from emolib.results.records import Store

FILES = ["data/profiles/mine.toml", "exp_first.py", "pytest.ini"]


def test_the_folder_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["init", "study"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[:3] == [f"study/{name}" for name in FILES]
    *_, folder, typed = out.splitlines()
    assert (folder, typed) == ("  cd study", "  pytest --profile mine")
    ini = (tmp_path / "study/pytest.ini").read_text("utf-8").splitlines()
    assert ini[0] == "[pytest]" and len(ini) == 3
    code, out = run_in(tmp_path / "study", *typed.split()[1:], "-k", "L0H2")
    assert code == 0 and "1 recorded" in out, out
    (row,) = Store(tmp_path / "study/results/mine").rows()
    assert row.item == "exp_first.py::exp_silence[tiny-gpt2-gratitude-L0H2]"
    # The head that the model's emotion words hang on.
    assert row.values["logit_diff"]["ci"][1] < -1
    (whole,) = Store(tmp_path / "study/results/mine").whole_rows("silence")
    assert whole.texts["clean_text"] != whole.texts["silenced_text"]


@pytest.mark.parametrize("name", FILES)
def test_what_is_there_is_left_alone(tmp_path, capsys, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("mine", encoding="utf-8")
    assert command.main(["init", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ERROR: {tmp_path}: expected a folder without ")
    assert f"got one with {tmp_path / name}; " in error and error.count("\n") == 1
    assert (tmp_path / name).read_text("utf-8") == "mine"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_a_folder_with_other_files_will_do(tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    assert command.main(["init", str(tmp_path)]) == 0
