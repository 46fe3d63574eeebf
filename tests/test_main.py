"""The commands after a run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from made import make_results

from emolib import __main__ as command
from emolib.launching import options
from emolib.launching.command import read_command
from emolib.results.records import Store

_HEAVY = ["torch", "scipy", "matplotlib", "pandas", "pyarrow"]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_results(tmp_path / "results/demo", emotions=("joy",))


def test_plots_prints_the_files_it_draws(results, capsys):
    assert command.main(["plots", "--top-n", "2"]) == 0
    made = capsys.readouterr().out.splitlines()
    assert [line.removeprefix("results/demo/plots/") for line in made[:7]] == [
        "heads/head_reaction_heatmap.png",
        "heads/top_heads.png",
        "heads/head_effects.png",
        "heads/ablation_sentiment_comparison.png",
        "heads/effect_by_layer.png",
        "heads/model_comparison.png",
        "heads/patching_keyword_comparison.png",
    ]
    assert len(made) == 9 and "attention/attention_patterns_one_joy_" in made[7]


def test_plots_takes_named_files_of_older_scripts(results, capsys):
    chosen = [
        "--ablation-file", "results/demo/patching/head_ablation/one_joy_L1H0-zero.json",
        "--patching-file", "results/demo/patching/head_patching/one_joy_L1H0.json",
        "--head-scores", "results/demo/alignment/head_scores_one.json",
        "--output-dir", "out",
    ]  # fmt: skip
    assert command.main(["plots", *chosen]) == 0
    made = capsys.readouterr().out.splitlines()
    assert len(made) == 7 and all(line.startswith("out/") for line in made)


def test_plots_are_written_in_a_format_and_a_style(results, capsys):
    chosen = ["--head-scores", "results/demo/alignment/head_scores_one.json", "--output-dir", "out"]
    named = ["--ablation-file", "results/demo/patching/head_ablation/one_joy_L1H0-zero.json"]
    assert command.main(["plots", *chosen, *named, "--format", "pdf", "--style", "paper"]) == 0
    made = capsys.readouterr().out.splitlines()
    assert "out/head_effects.pdf" in made and all(line.endswith(".pdf") for line in made)
    for option, value in (("--format", "eps"), ("--style", "print")):
        assert command.main(["plots", option, value]) == 2
        assert f"{option} {value}: unknown; expected one of" in capsys.readouterr().err


def test_report_compare_and_export(results, capsys):
    assert command.main(["report", "--profile", "studies/demo.toml"]) == 0
    assert capsys.readouterr().out == "results/demo/report/head_analysis_report.md\n"
    assert command.main(["compare"]) == 0
    out = capsys.readouterr().out
    assert "one, two  joy" in out and out.endswith("results/demo/tables/model_comparison.md\n")
    assert command.main(["export", "--format", "csv", "--experiment", "head_screening"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "results/demo/export/head_screening.csv"


def test_runs_pack_and_what_one_run_has(results, capsys):
    first = Store(Path("results/demo")).runs()[0].id
    again = Store(Path("results/demo"))
    again.touch(next(iter(again)))
    again.close()
    assert command.main(["runs"]) == 0
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["run", "started", "ended", "command"]
    assert [line.split()[0] for line in lines] == [first, again.run]
    assert command.main(["export", "--run", again.run, "--output-dir", "one"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "one/head_screening.csv",
        "one/head_screening_prompts.csv",
    ]
    assert len(Path("one/head_screening.csv").read_text("utf-8").splitlines()) == 2
    assert command.main(["report", "--run", first]) == 0
    assert command.main(["plots", "--run", first, "--output-dir", "drawn"]) == 0
    capsys.readouterr()
    assert command.main(["pack"]) == 0
    out = capsys.readouterr().out
    assert first in out and re.search(
        r"^2 segments packed: [\d.]+ MB are [\d.]+ MB now$", out, re.M
    )
    assert command.main(["pack"]) == 0
    assert capsys.readouterr().out == "nothing to pack: 2 segments are packed already\n"
    assert [run.id for run in Store(Path("results/demo")).runs()] == [first, again.run]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plots", "--score", "size"], "ERROR: --score size: unknown; "),
        (["plots", "--emotion", "envy", "--profile", "x"], "ERROR: results/x: no results to draw "),
        (["plots", "--ablation-file", "x.json"], "ERROR: x.json: no such file; run the "),
        (["plots", "--profile", "other"], "ERROR: results/other: no results to draw; run "),
        (["report", "--emotion", "envy"], "ERROR: results/demo/records: no rows on 'envy'"),
        (["report", "--profile", "other"], "ERROR: results/other/records: no rows; run "),
        (["compare", "--profile", "other"], "ERROR: results/other: nothing to compare; run "),
        (["export", "--experiment", "x"], "ERROR: --experiment x: no rows in results/demo/"),
        (["compare", "--head-scores", "x.json"], "ERROR: x.json: no such file; run "),
        (["runs", "--profile", "other"], "ERROR: results/other/records: no runs; run "),
        (["pack", "--profile", "other"], "ERROR: results/other: no records to pack; run "),
        *(
            ([name, "--run", "x"], "ERROR: --run x: expected the id of a run in results/demo/rec")
            for name in ("plots", "report", "export")
        ),
        (["merge", "--profile", "other"], "ERROR: results/other: nothing was recorded there; "),
        (["merge", "nowhere"], "ERROR: nowhere: no results there, nor any of the profile demo "),
        (["launch", "--shards", "2", "--", "make"], "ERROR: launch: expected the command of a "),
        (["launch", "--shards", "2", "--set", "=1", "--", "pytest"], "ERROR: --set: expected "),
        *(
            ([name, "--output-dir", "results/demo/records/lock/x"], "ERROR: results/demo/records/")
            for name in ("plots", "report", "compare", "export")
        ),
    ],
)
def test_wrong_input_is_one_line(results, capsys, arguments, message):
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(message) and error.count("\n") == 1


def test_compare_takes_scores_of_other_places(results, capsys, tmp_path):
    named = [f"--head-scores=results/demo/alignment/head_scores_{m}.json" for m in ("one", "two")]
    chosen = ["--profile", "other", "--output-dir", str(tmp_path / "out"), *named]
    assert command.main(["compare", *chosen]) == 0
    assert "one, two  joy" in capsys.readouterr().out
    assert (tmp_path / "out/rank_overlap.csv").is_file()


def test_merge_tells_what_there_is_and_leaves_it_as_it_is(results, capsys):
    scores = results / "alignment/head_scores_one.json"
    before = scores.read_bytes()
    assert command.main(["merge"]) == 0
    assert capsys.readouterr().out == "results/demo: 1 run, 48 items\n"
    assert scores.read_bytes() == before and (results / "tables/head_screening.csv").is_file()
    assert command.main(["merge", "results", "--into", "all"]) == 0
    assert capsys.readouterr().out == "all/demo: 1 run, 48 items; new: 1 run, 48 items\n"


def test_launch_starts_shards_joins_them_and_tells_what_failed(results, capsys, monkeypatch):
    found = {"lines": []}

    def run(options):
        given = read_command(options.words[1:], Path.cwd())
        return given, found["lines"]

    monkeypatch.setattr(options, "run", run)
    arguments = ["launch", "--shards", "2", "--", "pytest", "experiments"]
    assert command.main(arguments) == 0
    assert capsys.readouterr().out == f"{results}: 1 run, 48 items\n"
    found["lines"] = ["shard 1/2 ended with 1"]
    assert command.main(arguments) == 1
    assert capsys.readouterr().out.splitlines()[0] == "shard 1/2 ended with 1"
    found["lines"] = None
    assert command.main(arguments) == 0
    into = f"--profile demo --into {results.parent}"
    assert capsys.readouterr().out == f"when it is done: python -m emolib merge {into}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["plots", "--top-n", "0"],
        ["export", "--format", "word"],
        ["launch", "--", "pytest"],
        ["launch", "--shards", "0", "--", "pytest"],
        ["launch", "--shards", "2", "--on", "moon", "--", "pytest"],
    ],
)
def test_argparse_refuses_the_rest(results, arguments):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2


def test_commands_load_no_torch_and_help_nothing_heavy(results):
    """One process after another asks for help and runs them all: what one loads stays loaded."""
    script = (
        "import sys; from emolib.__main__ import main\n"
        "def loaded(names): return sorted(set(names) & set(sys.modules))\n"
        "names = ['plots', 'report', 'compare', 'export', 'merge']\n"
        "for arguments in [[name, '--help'] for name in [*names, 'launch']]:\n"
        "    try: main(arguments)\n"
        "    except SystemExit: pass\n"
        f"    print('LOADED', *arguments, loaded({_HEAVY!r}))\n"
        "for name in names:\n"
        "    code = main([name])\n"
        "    print('LOADED', name, code, loaded(['torch']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("LOADED")]
    names = ("plots", "report", "compare", "export", "merge")
    assert said == [
        *(f"LOADED {name} --help []" for name in (*names, "launch")),
        *(f"LOADED {name} 0 []" for name in names),
    ]


def test_models_verifies_every_type_and_writes_the_page(tmp_path, monkeypatch, capsys):
    from emolib.methods import verification

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(verification, "model_types", lambda: ["llama", "bert"])
    assert command.main(["models"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[2].split()[:3] == ["llama", "own", "layers"]
    assert told[-1] == "1 supported, 1 refused, 0 not built"
    assert command.main(["models", "--write", "models.md"]) == 0
    assert capsys.readouterr().out == "models.md\n"
    assert "## Supported (1)" in (tmp_path / "models.md").read_text()


def test_models_verifies_one_model(capsys):
    assert command.main(["models", "tiny-gpt2"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "tiny-gpt2: own layers" and told[2].startswith("ok  identity: 0 (limit 0)")
    assert told[-3:-1] == ["heads: all layers", "units: 256 a layer"]
    assert told[-1].startswith("dla: adds up (")
    assert command.main(["models", "tiny-gpt2", "--write", "x.md"]) == 2
    assert capsys.readouterr().err.startswith("ERROR: --write: the page is of every architecture")


def test_who_reads_may_have_enough(results):
    command_line = f"{sys.executable} -m emolib columns | head -n 1"
    done = subprocess.run(["bash", "-c", command_line], capture_output=True, text=True, check=True)
    assert done.stderr == "" and len(done.stdout.splitlines()) == 1


def test_a_place_of_a_name_too_long_is_one_line(results, capsys):
    assert command.main(["report", "--results-dir", "x" * 5000]) == 2
    assert capsys.readouterr().err.endswith("…: File name too long; name another place\n")
