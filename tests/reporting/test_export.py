from __future__ import annotations

import ast
import csv
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from made import HOSTILE, PAIRS, make_results

import emolib
from emolib.errors import InputError
from emolib.reporting.export import SUFFIXES, write_export
from emolib.reporting.tables import to_columns
from emolib.results.blocks import flat
from emolib.results.chances import columns
from emolib.results.item_files import per_prompt
from emolib.results.records import Store


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"), models=("one",), text=HOSTILE)


def test_csv_has_a_line_a_record_and_a_line_a_prompt(results, tmp_path):
    files = {path.stem: path for path in write_export(results, "csv", tmp_path)}
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


def test_csv_is_what_all_lines_make_at_once(results, tmp_path):
    """Written as rows are read, columns that come late and numbers as they are stored."""
    store = Store(results)
    for name in store.experiments():
        plain, long = write_export(results, "csv", tmp_path, experiment=name)
        rows = list(store.whole_rows(name))
        tests = columns(rows)
        flats = [flat(row) | tests.get((row.item, row.row), {}) for row in rows]
        assert plain.read_bytes().decode() == to_columns(flats)
        lines = [
            {"item": row.item, **row.dims, **row.labels, "record": row.row, "prompt_index": i}
            | {n: json.dumps(v) if isinstance(v, list) else v for n, v in values.items()}
            for row in rows
            for i, values in enumerate(per_prompt(row))
        ]
        assert long.read_bytes().decode() == to_columns(lines)


def test_a_run_that_is_named_is_exported(tmp_path):
    made = make_results(tmp_path, ("one",), ("joy",))
    store = Store(made)
    (before,) = [run.id for run in store.runs()]
    (row,) = store["exp_x.py::exp_head_ablation[one-joy-L1H0-zero]"]
    store.append([replace(row, key="new", context="new", values=row.values | {"kl": 0.5})])
    store.close()
    for run, lines in ((None, 1), (before, 12), (store.run, 1)):
        plain, long = write_export(made, "csv", experiment="head_ablation", run=run)
        with plain.open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == lines
        with long.open(encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == lines * PAIRS


@pytest.mark.parametrize(
    ("fmt", "read"), [("parquet", pd.read_parquet), ("pickle", pd.read_pickle)]
)
def test_frames_hold_what_csv_holds(results, tmp_path, fmt, read):
    (path, long) = write_export(results, fmt, tmp_path, experiment="head_ablation")
    assert (path.name, long.suffix) == (f"head_ablation{SUFFIXES[fmt]}", SUFFIXES[fmt])
    plain, _ = write_export(results, "csv", tmp_path, experiment="head_ablation")
    expected = pd.read_csv(plain)
    frame = read(path)
    assert list(frame.columns) == list(expected.columns)
    assert frame["logit_diff"].tolist() == pytest.approx(expected["logit_diff"].tolist())
    assert read(long)["ablated_text"][0] == f"{HOSTILE} 0"


def test_what_is_tested_has_p_and_q_in_every_format(results, tmp_path):
    names = [f"logit_diff_{name}" for name in ("p", "q", "max_t", "max_t_hall")]
    for fmt, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet),
                      ("pickle", pd.read_pickle)):  # fmt: skip
        frame = read(write_export(results, fmt, tmp_path, experiment="head_ablation")[0])
        assert frame[names].notna().all(axis=None) and (frame[names] <= 1).all(axis=None)
        # L1H0 matters, and is told apart where chance allows.
        strong = frame[(frame["heads"] == "L1H0") & (frame["ablation"] == "zero")]
        assert (strong["logit_diff_q"] < 0.05).all()


def test_chosen_columns_are_written_alone(results, tmp_path):
    made = write_export(results, "csv", tmp_path, columns=["heads,logit_diff*", "emotion"])
    files = {path.stem: path.read_text("utf-8").splitlines() for path in made}
    # Screening and attention have none of them but what names a row.
    assert {name.removesuffix("_prompts") for name in files} == {"head_ablation", "head_patching"}
    assert files["head_ablation"][0].startswith("heads,logit_diff,logit_diff_ci_low,")
    assert files["head_ablation"][0].endswith("logit_diff_ci_t_high,emotion")
    assert files["head_ablation_prompts"][0] == "heads,logit_diff,emotion"


def test_a_column_that_there_is_nowhere_is_one_line_and_nothing_is_written(results, tmp_path):
    with pytest.raises(InputError, match=r"--columns logit_dif: no such column .*logit_diff"):
        write_export(results, "csv", tmp_path / "x", columns=["heads", "logit_dif"])
    assert not (tmp_path / "x").exists()


def test_latex_has_what_a_paper_prints_and_no_prompts(results, tmp_path):
    made = write_export(results, "latex", tmp_path)
    assert not [path for path in made if "_prompts" in path.name]
    lines = (tmp_path / "head_ablation.tex").read_text("utf-8").splitlines()
    assert lines[1] == r"\begin{longtable}{" + "l" * lines[3].count("&") + "l}"
    assert lines[3].startswith(r"model & emotion & heads & ablation & \ensuremath{\Delta} logit")
    body = lines[8:-1]
    assert len(body) == 2 * 4 * 3
    assert r"{[}95 \% CI{]} & d\_z & q & " in lines[3]
    (strong,) = (line for line in body if line.startswith("one & joy & L1H0 & zero"))
    interval = r"\\ensuremath\{-\}"
    assert re.search(rf"& {interval}\d\.\d\d \{{\[\}}{interval}\d\.\d\d, ", strong)
    assert re.search(r" & 0\.0\d\d & ", strong)


@pytest.mark.parametrize("experiment", ["head_ablation", "attention_patterns"])
def test_latex_escapes_texts_and_lists(results, tmp_path, experiment):
    texts = "prompt" if experiment == "head_ablation" else "emotion_tokens"
    asked = ["prompt_index", texts]
    (path,) = write_export(results, "latex", tmp_path, experiment=experiment, columns=asked)
    assert path.name == f"{experiment}_prompts.tex"
    lines = path.read_text("utf-8").splitlines()
    head, body = lines[3], lines[8:-1]
    assert len(body) == 2 * 4 * PAIRS * (3 if experiment == "head_ablation" else 1)
    assert not head.startswith("[") and "prompt\\_index" in head
    for line in body:
        assert len(re.findall(r"(?<!\\)&", line)) == len(re.findall(r"(?<!\\)&", head))
        assert not re.search(r"(?<!\\)[$#%_]", line) and line.endswith(r" \\")
    shown = r"\$z\$ \textbackslash{}n *d* \# e 1. f \& \textbackslash{}frac\{\}\_\{\}"
    assert (shown if experiment == "head_ablation" else r"\$x\_1\$") in body[0]


def test_lists_are_json_in_every_format(results, tmp_path):
    for fmt, read in (("csv", pd.read_csv), ("parquet", pd.read_parquet)):
        (_, path) = write_export(results, fmt, tmp_path, experiment="attention_patterns")
        frame = read(path)
        assert json.loads(frame["emotion_tokens"][0]) == ["<s>", "$x_1$", "a\nb", "end"]
        assert json.loads(frame["slot"][0]) == [1, 3]


@pytest.mark.parametrize("fmt", list(SUFFIXES))
def test_an_unwritable_folder_is_one_line_and_leaves_nothing(results, tmp_path, fmt):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/x/attention_patterns\..*: cannot be written"):
        write_export(results, fmt, tmp_path / "file/x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_folder_is_beside_the_results(tmp_path):
    made = make_results(tmp_path, models=("one",), emotions=("joy",))
    assert write_export(made, "csv", experiment="head_screening")[0].parent == made / "export"


def test_nothing_of_it_is_one_line(results, tmp_path):
    with pytest.raises(InputError, match=r"records: no rows; run"):
        write_export(tmp_path, "csv")
    with pytest.raises(InputError, match=r"^--experiment other: no rows in .*; expected one of "):
        write_export(results, "csv", experiment="other")


@pytest.mark.parametrize(("fmt", "package"), [("parquet", "pyarrow"), ("pickle", "pandas")])
def test_a_missing_package_names_the_extra(results, tmp_path, monkeypatch, fmt, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as error:
        write_export(results, fmt, tmp_path)
    assert str(error.value) == (
        f"--format {fmt} needs {package}; install emolib's extra: pip install 'emolib[export]'"
    )


def test_files_are_those_that_the_run_wrote(results, tmp_path):
    """Those of items and the one of all heads; of one experiment alone its own."""
    written = {path.relative_to(results): path.read_bytes()
               for path in results.rglob("*.json")}  # fmt: skip
    made = write_export(results, "files", tmp_path / "all")
    assert {path.relative_to(tmp_path / "all"): path.read_bytes() for path in made} == written
    some = write_export(results, "files", tmp_path / "some", experiment="head_screening")
    assert [path.name for path in some] == ["head_scores_one.json"]
    (path,) = [path for path in written if path.name == "one_joy_L0H0-zero.json"]
    (results / path).unlink()
    assert results / path in write_export(results, "files", experiment="head_ablation")
    assert (results / path).read_bytes() == written[path]


def test_csv_and_latex_need_no_extra(results, tmp_path, monkeypatch):
    for package in ("pandas", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    assert write_export(results, "csv", tmp_path) and write_export(results, "latex", tmp_path)


def test_nothing_in_the_library_unpickles():
    """Pickle is written for others. torch.load would unpickle too."""
    forbidden = {"read_pickle", "pickle", "dill", "joblib", "Unpickler"}
    for path in Path(emolib.__file__).parent.rglob("*.py"):
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
