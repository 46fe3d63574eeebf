"""What an item says of itself: where it writes, what else may write there, what it needs."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'../out.json'", "expected a relative path to a file in which {model}, {emotion}, "
         "{heads}, {units}, {ablation}, {variant} may stand, got '../out.json'"),
        ("'/tmp/out.json'", "expected a relative path to a file in which {model}, {emotion}, "
         "{heads}, {units}, {ablation}, {variant} may stand, got '/tmp/out.json'"),
        ("'{layer}.json'", "expected a relative path to a file in which {model}, {emotion}, "
         "{heads}, {units}, {ablation}, {variant} may stand, got '{layer}.json'"),
        ("'a.json', shape='row'", "shape: expected one of item, scores, importances, got 'row'"),
    ],
)  # fmt: skip
def test_a_wrong_results_marker_is_an_error(folder, arguments, message):
    folder.write(
        "exp_effect.py",
        f"import pytest\n\n@pytest.mark.results({arguments})\ndef exp_it(record): record(n=1)\n",
    )
    result = folder.pytest()
    assert f"ERROR: exp_effect.py::exp_it: results marker: {message}" in result.errlines
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_two_items_cannot_share_a_results_file(folder):
    source = """
import pytest

@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.results("x/PATH.json")
def exp_it(model_source, factor, record): record(n=factor)
"""
    folder.write("exp_effect.py", source.replace("PATH", "{model}"))
    refused = folder.pytest()
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert (
        "ERROR: exp_effect.py::exp_it[tiny-neo-1] and exp_effect.py::exp_it[tiny-neo-2] would "
        "both write x/tiny-neo.json; name more of {model}, {emotion}, {heads}, {units}, "
        "{ablation}, {variant}, {factor} in the results marker"
    ) in refused.errlines
    folder.write("exp_effect.py", source.replace("PATH", "{model}_{factor}"))
    folder.pytest()
    assert {path.name for path in folder.results("x").iterdir()} == {
        "tiny-neo_1.json",
        "tiny-neo_2.json",
    }


@pytest.mark.parametrize(
    ("function", "got"),
    [
        ("exp_scores(run, heads, record)", "tiny-neo-gratitude-L0H0+L0H1"),
        ("exp_scores(model, head, record)", "tiny-neo-L2H0"),
        ("exp_scores(record)", "an item of neither"),
    ],
)
def test_scores_are_of_one_head_and_emotion(folder, function, got):
    marker = "@pytest.mark.results('alignment/{model}.json', shape='scores')"
    folder.write("exp_effect.py", f"import pytest\n\n{marker}\ndef {function}: record(atp_ig=1)\n")
    result = folder.pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: *: results marker: shape 'scores' takes items of one head and one emotion, got "
         f"{got}; ask for the fixtures head and screening (or emotion), or use shape 'item'"]
    )  # fmt: skip
    assert not folder.results().exists()


def test_two_functions_cannot_share_a_table(folder):
    folder.write("exp_other.py", "def exp_effect(record): record(n=1)\n")
    result = folder.pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: exp_effect.py::exp_effect and exp_other.py::exp_effect would both fill "
         "tables/effect.csv; rename one, or run them with a --results-dir each"]
    )  # fmt: skip


def test_names_stay_inside_the_results_folder(folder):
    """A parameter or a model cannot lead a file out of the folder."""
    folder.write(
        "exp_effect.py",
        """
import pytest

@pytest.mark.results("x/{model}.json")
def exp_it(model_source, record): record(n=1)
""",
    )
    folder.pytest()
    assert (folder.results("x/tiny-neo.json")).is_file()


def test_an_experiment_of_pairs_refuses_free_lists(folder):
    folder.write("free.json", '{"prompts": ["Anna thanked him", "He was glad and she"]}')
    folder.write("exp_effect.py", "def exp_it(pairs, record): record(n=len(pairs))")
    result = folder.pytest("--emotion-prompts", "gratitude=free.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: exp_effect.py::exp_it[[]tiny-neo-gratitude[]] needs aligned pairs (pairs), got "
         "free prompt lists; drop --emotion-prompts/--neutral-prompts, or name experiments that "
         "need none, as experiments/exp_head_ablation.py"]
    )  # fmt: skip
    folder.write("exp_other.py", "def exp_other(prompts, record): record(n=len(prompts))")
    result = folder.pytest("--emotion-prompts", "gratitude=free.json", "-k", "exp_other.py")
    result.stdout.fnmatch_lines(["*1 deselected, 1 recorded*"])
