"""What a function becomes: items, their ids, and how pytest's own options treat them."""

from __future__ import annotations

import pytest

SMALL = ["tiny-neo-gratitude-L2H0", "tiny-neo-gratitude-L3H1", "tiny-neo-gratitude-L0H0+L0H1"]


def ids(result):
    return [line.partition("[")[2][:-1] for line in result.outlines if "::" in line]


def test_ids_are_what_a_person_would_type(folder):
    result = folder.pytest("--collect-only", "-q")
    assert ids(result) == SMALL
    assert result.outlines[0] == "exp_effect.py::exp_effect[tiny-neo-gratitude-L2H0]"
    assert not folder.results().exists()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("gratitude", SMALL), ("L3H1", SMALL[1:2]), ("not L3H1", [SMALL[0], SMALL[2]]), ("anger", [])],
)
def test_k_selects_by_the_parts_of_an_id(folder, expression, expected):
    assert ids(folder.pytest("--collect-only", "-q", "-k", expression)) == expected


def test_options_go_over_the_profile(folder):
    result = folder.pytest(
        "--collect-only", "-q", "--model", "tiny-gpt2", "--model", "tiny-neox",
        "--head-spec", "layer:1", "--head-spec", "1:0",
    )  # fmt: skip
    heads = ["L1H0", "L1H1", "L1H2", "L1H3"]
    assert ids(result) == [
        f"{model}-gratitude-{head}" for model in ("tiny-gpt2", "tiny-neox") for head in heads
    ]


def test_kinds_of_ablation_show_in_the_id_except_zero(folder):
    folder.write("exp_effect.py", "def exp_kinds(ablation, heads, record): pass")
    result = folder.pytest(
        "--collect-only", "-q", "--head-spec", "2:0", "--ablation", "zero", "--ablation", "mean",
        "--ablation", "resample",
    )  # fmt: skip
    name = "tiny-neo-gratitude-L2H0"
    assert ids(result) == [name, f"{name}-mean", f"{name}-resample"]


def test_a_function_of_one_head_sees_joint_sets_head_by_head(folder):
    folder.write("exp_effect.py", "def exp_one(head, record): record(head=str(head), n=1)")
    result = folder.pytest("--head-spec", "0:0,0:1", "--head-spec", "0:1")
    result.assert_outcomes()
    assert [row["labels"]["head"] for row in folder.rows()] == ["L0H0", "L0H1"]
    assert [row["item"].partition("[")[2] for row in folder.rows()] == [
        "tiny-neo-L0H0]",
        "tiny-neo-L0H1]",
    ]


def test_a_large_joint_set_gets_a_short_stable_name(folder):
    spec = ",".join(f"{layer}:{head}" for layer in (0, 1) for head in range(4))
    first = ids(folder.pytest("--collect-only", "-q", "--head-spec", spec))
    turned = ids(
        folder.pytest("--collect-only", "-q", "--head-spec", ",".join(spec.split(",")[::-1]))
    )
    assert first == turned
    assert first[0].startswith("tiny-neo-gratitude-8heads-") and len(first[0]) < 40


def test_fixtures_decide_what_an_item_runs_on(folder):
    folder.write(
        "exp_effect.py",
        """
        def exp_nothing(record): record(n=1)
        def exp_profile(profile, record): record(seed=profile.seed)
        def exp_emotion(emotion, record): record(words=len(emotion.lexicon.words))
        def exp_model(model_source, record): record(layers=model_source.n_layers)
        """.replace("\n        ", "\n"),
    )
    result = folder.pytest("-v", "--model", "tiny-neo", "--model", "tiny-gpt2")
    names = [row["item"].partition("::")[2] for row in folder.rows()]
    assert names == [
        "exp_nothing",
        "exp_profile",
        "exp_emotion[gratitude]",
        "exp_model[tiny-neo]",
        "exp_model[tiny-gpt2]",
    ]
    result.stdout.fnmatch_lines(["*::exp_emotion[[]gratitude] RECORDED*", "*5 recorded in *"])


def test_parameters_of_the_users_own_join_the_id(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest
from emolib.interventions import scale

@pytest.mark.parametrize("factor", [0.5, 2.0])
def exp_scale(run, heads, factor, record):
    record(logit_diff=run(scale(heads, factor)).logit_diff - run().logit_diff)
""",
    )
    folder.pytest("--head-spec", "2:0")
    assert [row["item"].partition("::")[2] for row in folder.rows()] == [
        "exp_scale[tiny-neo-gratitude-L2H0-0.5]",
        "exp_scale[tiny-neo-gratitude-L2H0-2.0]",
    ]
    assert [row["dims"]["factor"] for row in folder.rows()] == ["0.5", "2.0"]
    half, double = (row["values"]["logit_diff"]["mean"] for row in folder.rows())
    assert half < 0 < double


def test_heads_of_the_users_own_replace_the_profiles(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest
from emolib.inputs.heads import Head
from emolib.interventions import zero

@pytest.mark.parametrize("heads", [Head(2, 0)], ids=str)
def exp_mine(run, heads, record):
    record(logit_diff=run(zero(heads)).logit_diff)
""",
    )
    result = folder.pytest("--collect-only", "-q")
    assert ids(result) == ["tiny-neo-gratitude-L2H0"]


def test_recorded_failed_error_and_skipped_are_told_apart(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest

def exp_recorded(record): record(n=1)
def exp_asserts(record):
    record(n=1)
    assert 1 == 2
def exp_raises(record): raise KeyError("no such thing")
def exp_fixture_raises(record, missing_thing): pass
def exp_skips(record): pytest.skip("not today")
def exp_records_nothing(record): pass
def exp_plain(): pass
""",
    )
    result = folder.pytest("-rA")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*KeyError: 'no such thing'*", "*assert 1 == 2*", "*1 failed, 2 passed, 1 skipped, "
         "2 errors, 1 recorded in *"]
    )  # fmt: skip
    assert [row["item"].partition("::")[2] for row in folder.rows()] == ["exp_recorded"]


def test_x_stops_and_lf_runs_the_failed_one_again(folder):
    source = """
def exp_one(record): record(n=1)
def exp_two(record): raise RuntimeError("broken")
def exp_three(record): record(n=3)
"""
    folder.write("exp_effect.py", source)
    stopped = folder.pytest("-x")
    stopped.stdout.fnmatch_lines(["*stopping after 1 failures*", "*1 error, 1 recorded in*"])
    again = folder.pytest("--lf", "-v")
    again.stdout.fnmatch_lines(["*::exp_two ERROR*", "*1 error in*"])
    folder.write("exp_effect.py", source.replace('raise RuntimeError("broken")', "record(n=2)"))
    folder.pytest("--lf").stdout.fnmatch_lines(["*1 recorded in*"])


def test_works_without_xdist(folder):
    folder.pytest("-p", "no:xdist").stdout.fnmatch_lines(["*3 recorded in*"])


def test_an_own_trace_gives_the_same_table(folder):
    folder.write(
        "exp_effect.py",
        """
from emolib.engine.forwards import forward
from emolib.tracing import Trace
from emolib.interventions import zero

def exp_trace(model, prompts, run, head, record):
    layer = model.attn_out(head.layer)

    def edit(output, layer, inputs):
        z = inputs[0].unflatten(-1, (model.n_heads, -1))[:, -1, head.index]
        output = output.clone()
        output[:, -1] -= z @ model.w_o(head)
        return output

    batch = next(prompts.batches(100, model.pad, model.device))
    with Trace(model.hf, layer, edit_output=edit):
        logits = forward(model, batch).logits[:, -1]
    expected = run(zero(head)).logits[0]
    record(difference=(logits - expected).abs().amax(-1))
""",
    )
    folder.pytest("--head-spec", "2:0").stdout.fnmatch_lines(["*1 recorded in*"])
    assert abs(folder.rows()[0]["values"]["difference"]["mean"]) < 1e-4


def test_plain_tests_of_others_are_left_alone(pytester):
    pytester.makepyfile(test_plain="def test_plain(): pass")
    result = pytester.runpytest_inprocess()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*emolib: profile*")
    assert not (pytester.path / "results").exists()
