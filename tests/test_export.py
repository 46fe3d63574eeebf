from __future__ import annotations

import ast
import builtins
import csv
from pathlib import Path

import pandas as pd
import pytest
from made import HOSTILE, PAIRS, make_results

import emolib
from emolib.errors import InputError
from emolib.export import FORMATS, export


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"), models=("one",), text=HOSTILE)


def test_csv_has_a_line_a_record_and_a_line_a_prompt(results, tmp_path):
    files = {path.stem: path for path in export(results, "csv", tmp_path)}
    assert set(files) == {
        name + end
        for name in ("attention_patterns", "head_ablation", "head_patching", "head_screening")
        for end in ("", "_prompts")
    }
    with files["head_ablation"].open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 2 * 4 * 3 and {line["heads"] for line in lines} >= {"L0H0", "L1H1"}
    with files["head_patching_prompts"].open(encoding="utf-8", newline="") as file:
        prompts = list(csv.DictReader(file))
    assert len(prompts) == 2 * 4 * 4 * PAIRS
    assert {line["direction"] for line in prompts} == {"denoise", "noise"}
    assert {line["patched_text"] for line in prompts} == {HOSTILE, ""}
    second = prompts[1]
    assert (second["record"], second["prompt_index"], second["id"]) == ("0", "1", "p1")


@pytest.mark.parametrize(
    ("fmt", "read"), [("parquet", pd.read_parquet), ("pickle", pd.read_pickle)]
)
def test_frames_hold_what_csv_holds(results, tmp_path, fmt, read):
    (path, long) = export(results, fmt, tmp_path, experiment="head_ablation")
    assert (path.name, long.suffix) == (f"head_ablation{FORMATS[fmt]}", FORMATS[fmt])
    plain, _ = export(results, "csv", tmp_path, experiment="head_ablation")
    expected = pd.read_csv(plain)
    frame = read(path)
    assert list(frame.columns) == list(expected.columns)
    assert frame["logit_diff"].tolist() == pytest.approx(expected["logit_diff"].tolist())
    assert read(long)["ablated_text"][0] == f"{HOSTILE} 0"


def test_latex_escapes_texts(results, tmp_path):
    (_, path) = export(results, "latex", tmp_path, experiment="head_ablation")
    text = path.read_text("utf-8")
    assert r"\$z\$" in text and r"\textbackslash frac\{\}\_\{\}" in text and " $z$" not in text


def test_the_folder_is_beside_the_results(tmp_path):
    made = make_results(tmp_path, models=("one",), emotions=("joy",))
    assert export(made, "csv", experiment="head_screening")[0].parent == made / "export"


def test_nothing_of_it_is_one_line(results, tmp_path):
    with pytest.raises(InputError, match=r"records\.jsonl: no rows; run"):
        export(tmp_path, "csv")
    with pytest.raises(InputError, match=r"^--experiment other: no rows in .*; expected one of "):
        export(results, "csv", experiment="other")


@pytest.mark.parametrize(
    ("fmt", "package"), [("parquet", "pyarrow"), ("pickle", "pandas"), ("latex", "pandas")]
)
def test_a_missing_package_names_the_extra(results, tmp_path, monkeypatch, fmt, package):
    real = builtins.__import__

    def refused(name, *args, **kwargs):
        if name == package:
            raise ImportError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refused)
    with pytest.raises(InputError) as error:
        export(results, fmt, tmp_path)
    assert str(error.value) == (
        f"--format {fmt} needs {package}; install emolib's extra: pip install 'emolib[export]'"
    )


def test_nothing_in_the_library_unpickles():
    """Pickle is written for others. torch.load would unpickle too."""
    forbidden = {"read_pickle", "pickle", "dill", "joblib", "Unpickler"}
    for path in Path(emolib.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = {
                *([node.attr] if isinstance(node, ast.Attribute) else []),
                *([node.id] if isinstance(node, ast.Name) else []),
                *([a.name for a in node.names] if isinstance(node, ast.Import) else []),
                *([node.module] if isinstance(node, ast.ImportFrom) else []),
            }
            assert not names & forbidden, path
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            assert called != "torch.load", path
