"""The regression check as its users meet it: save, compare, accept."""

from __future__ import annotations

import json
import re
import shutil
from xml.etree import ElementTree

import pytest
import torch
from folders import DATA, INI, PROFILE, pairs, run_in
from safetensors.torch import load_file, save_file

EXPERIMENT = """
import pytest


@pytest.mark.effects("logit_diff")
def exp_effect(run, heads, ablation, record):
    clean, ablated = run(), run(ablation(heads))
    record(logit_diff=FACTOR * (ablated.logit_diff - clean.logit_diff))
"""
DECLARED = """
[effects.gated]
tiny-neo = ["L2H0", "0:0,0:1"]
[effects.controls]
tiny-neo = ["L0H2"]
"""
BASELINE = "results/small/effects/baseline.json"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder whose two gated items and one control are saved as the baseline."""
    path = tmp_path_factory.mktemp("saved")
    heads = PROFILE.replace('"3:1"', '"3:1", "0:2"')
    for name, text in (
        ("pytest.ini", INI),
        ("exp_effect.py", EXPERIMENT.replace("FACTOR", "1")),
        ("data/profiles/small.toml", heads + DECLARED),
        ("data/pairs/gratitude.json", json.dumps(pairs())),
    ):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text, encoding="utf-8")
    code, out = run_in(path, "--profile", "small", "--effects-save")
    assert code == 0 and "4 recorded" in out, out
    assert re.search(rf"^3 effects saved to .*{BASELINE}$", out, re.MULTILINE), out
    return path


@pytest.fixture
def gated(folder, saved):
    """The same, to be changed."""
    shutil.copytree(saved, folder.path, dirs_exist_ok=True)
    return folder


def content(folder):
    return json.loads((folder.path / BASELINE).read_text("utf-8"))


def shrink(folder, factor):
    folder.write("exp_effect.py", EXPERIMENT.replace("FACTOR", str(factor)))


def test_the_same_run_replays(gated):
    result = gated.pytest("--effects-compare", "--fresh")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(
        ["*- effects -*", "three effects as they were", f"3 replayed, against *{BASELINE}",
         "replayed *effect?tiny-neo-gratitude-L2H0-zero? *", "*4 recorded, 3 replayed*"]
    )  # fmt: skip


def test_rows_from_the_store_are_compared_too(gated):
    result = gated.pytest("--effects-compare")
    result.stdout.fnmatch_lines(["3 replayed, against *", "*4 items from the store*"])


def test_a_drift_fails_the_run_names_the_head_and_says_how_to_accept(gated):
    shrink(gated, 0.5)
    result = gated.pytest("--effects-compare", "--effects-json", "out/e.json", "--junitxml=j.xml")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*- effects -*", "tiny-neo L2H0: one effect smaller by 50 %", "* drifted*, against *",
         "drifted *effect?tiny-neo-gratitude-L2H0-zero? *",
         f"baseline: *{BASELINE}; to accept what is wanted: *--effects-save*",
         "*4 recorded, * drifted*"]
    )  # fmt: skip
    summary = json.loads((gated.path / "out/e.json").read_text("utf-8"))
    worst = summary["effects"][0]
    assert (summary["verdict"], worst["verdict"], worst["heads"]) == ("failed", "drifted", "L2H0")
    assert worst["now"] == pytest.approx(worst["baseline"] / 2, rel=1e-4)
    assert worst["ci"][0] < worst["drift"] < worst["ci"][1]
    cases = ElementTree.parse(gated.path / "j.xml").iter("testcase")
    failed = {case.get("name"): case.find("failure") for case in cases}
    found = failed["effect[tiny-neo-gratitude-L2H0-zero]"]
    assert found is not None and "drift" in found.get("message")
    assert failed["effect[tiny-neo-gratitude-L0H2-zero]"] is None
    # Accepted, it is the new baseline.
    assert gated.pytest("--effects-save").ret == 0
    assert gated.pytest("--effects-compare").ret == 0


@pytest.mark.slow
def test_in_parallel_as_in_one_process(gated):
    shrink(gated, '(0.5 if str(heads) == "L2H0" else 1)')
    done = gated.process("--effects-compare", "--fresh", "-n", "2")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "4 recorded" in done.stdout, done.stdout
    assert "1 drifted" in done.stdout and "2 replayed" in done.stdout, done.stdout


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    """Give torch a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_numbers_do_not_depend_on_threads_or_batches(gated, threads):
    result = gated.pytest("--effects-compare", "--fresh", "--batch-size", "5")
    assert "3 replayed" in result.stdout.str() and torch.get_num_threads() == threads


def test_only_what_is_gated_runs_with_the_mark(gated):
    gated.pytest("--collect-only", "-q", "-m", "gated").stdout.fnmatch_lines(
        ["*L2H0?", "*L0H2?", "*L0H0+L0H1?", "*3/4 tests collected (1 deselected)*"]
    )


def test_a_part_is_compared_and_the_rest_is_named(gated):
    result = gated.pytest("--effects-compare", "-k", "L2H0")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["1 replayed, against *", "2 of the baseline did not run (*"])


def test_a_part_is_saved_and_the_rest_is_kept(gated):
    before = content(gated)
    shrink(gated, 0.5)
    gated.pytest("--effects-save", "-k", "L2H0").stdout.fnmatch_lines(
        ["1 effects saved to *, 2 kept as they were"]
    )
    after = content(gated)
    changed = [a["dims"]["heads"] for a, b in
               zip(after["effects"], before["effects"], strict=True) if a != b]  # fmt: skip
    assert changed == ["L2H0"]


def test_what_the_baseline_lacks_is_inconclusive_and_fails_under_strict(gated):
    gated.write("data/profiles/small.toml", PROFILE + '[effects.gated]\ntiny-neo = ["3:1"]\n')
    result = gated.pytest("--effects-compare")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["inconclusive *L3H1-zero? *not in the baseline; --effects-save adds*"]
    )
    assert gated.pytest("--effects-compare", "--effects-strict").ret == 1


def test_a_changed_prompt_set_is_refused_by_name(gated):
    path = gated.path / "data/pairs/gratitude.json"
    data = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps(data | {"pairs": data["pairs"][:-1]}), "utf-8")
    result = gated.pytest("--effects-compare")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [f"ERROR: *{BASELINE}: tiny-neo on gratitude: not comparable, prompt set: * -> *; run as "
         "then, or accept the new state with --effects-save"]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--dtype", "float64"], "not comparable, dtype: float32 -> float64; "),
        (["--position", "all"], "not comparable, position: last -> all; "),
        (["--model", "tiny-gpt2"], "tiny-gpt2 on gratitude: not in the baseline, which has "
         "tiny-neo on gratitude; add it with --effects-save"),
    ],
)  # fmt: skip
def test_another_model_dtype_or_position_is_refused_by_name(gated, option, message):
    result = gated.pytest("--effects-compare", *option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message in line for line in result.errlines), result.errlines
    assert not any("recorded" in line for line in result.outlines)


def test_changed_weights_are_refused_unless_they_are_what_is_asked_about(folder):
    """A copy of the model is saved; then what the gated head writes is taken away."""
    copy = folder.path / "mine"
    shutil.copytree(DATA / "models/tiny-neo", copy)
    folder.write("exp_effect.py", EXPERIMENT.replace("FACTOR", "1"))
    declared = '[effects.gated]\nmine = ["L2H0"]\n[effects.controls]\nmine = ["L0H2"]\n'
    heads = PROFILE.replace('"tiny-neo"', '"./mine"').replace('"3:1"', '"0:2"')
    folder.write("data/profiles/small.toml", heads + declared.replace("mine =", '"./mine" ='))
    assert folder.pytest("--effects-save", "-m", "gated").ret == 0
    weights = load_file(copy / "model.safetensors")
    [name] = [name for name in weights if name.endswith("h.2.attn.attention.out_proj.weight")]
    width = weights[name].shape[1] // 4
    with torch.no_grad():
        weights[name][:, :width] = 0
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    refused = folder.pytest("--effects-compare")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    assert any("the weights have changed" in line for line in refused.errlines)
    result = folder.pytest("--effects-compare", "--effects-new-weights", "-m", "gated")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["drifted *L2H0*", "*L0H2-zero? (control)*", "changed since the baseline: weights*"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--effects-compare=nowhere"], "effects/nowhere.json: no such baseline; make it with"),
        (["--effects-compare", "exp_effect.py"], "write it before --effects-compare"),
        (["--effects-save", "--effects-compare"], "--effects-save and --effects-compare: give one"),
        (["--effects-strict"], "--effects-strict goes with --effects-compare; add it"),
        (["--effects-json=e.json"], "--effects-json goes with --effects-compare; add it"),
    ],
)
def test_wrong_options(gated, options, message):
    result = gated.pytest(*options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message in line for line in result.errlines), result.errlines


def test_a_damaged_baseline_is_one_line(gated):
    (gated.path / BASELINE).write_text("{", "utf-8")
    result = gated.pytest("--effects-compare")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any("not a baseline of version 1" in line for line in result.errlines)


def test_nothing_declared_is_said(gated):
    result = gated.pytest("--effects-compare", "-k", "L3H1")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: no declared effect among what ran: declare heads under *"])


def test_a_control_with_an_effect_is_not_saved(gated):
    declared = DECLARED.replace('["L2H0", "0:0,0:1"]', '["0:0,0:1"]').replace("L0H2", "L2H0")
    gated.write("data/profiles/small.toml", PROFILE + declared)
    before = content(gated)
    result = gated.pytest("--effects-save")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(
        ["*L2H0-zero?: declared as a null control, but its mean effect is *"]
    )
    assert content(gated) == before


def test_heads_in_the_marker_are_gated_on_every_model(folder):
    marker = '@pytest.mark.effects("logit_diff", gated=["L2H0"], controls={"tiny-neo": ["L3H1"]})'
    source = EXPERIMENT.replace("FACTOR", "1")
    folder.write("exp_effect.py", source.replace('@pytest.mark.effects("logit_diff")', marker))
    folder.pytest("--collect-only", "-q", "-m", "gated").stdout.fnmatch_lines(
        ["*L2H0?", "*L3H1?", "*2/3 tests collected*"]
    )


def test_ranks_are_never_gated(gated):
    result = gated.pytest("--collect-only", "-q", "-m", "gated", "--head-spec", "top:2")
    result.stdout.fnmatch_lines(["*no tests collected (2 deselected)*"])


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ('[effects.gates]\ntiny-neo = ["L0H0"]', "expected tables [effects.gated] and "),
        ('[effects.gated]\ntiny-gpt2 = ["L0H0"]', "'tiny-gpt2' is none of the models (tiny-neo)"),
        ('[effects.gated]\ntiny-neo = ["H0"]', "'H0': expected a head such as"),
        ('[effects.gated]\ntiny-neo = "L0H0"', "effects.gated.tiny-neo: expected a list of names"),
        ('[effects.gated]\ntiny-neo = ["L9H0"]', "L9H0 does not exist, tiny-neo has 4 layers"),
        ('[effects.gated]\ntiny-neo = ["L0U999"]', "L0U999 does not exist, tiny-neo has 4 layers"),
        ('[effects.gated]\ntiny-neo = ["L0H0"]\n[effects.controls]\ntiny-neo = ["0:0"]',
         "L0H0 of tiny-neo is gated and a control; keep one"),
    ],
)  # fmt: skip
def test_a_wrong_declaration(folder, declared, message):
    folder.write("data/profiles/small.toml", PROFILE + declared)
    result = folder.pytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert any(message in line for line in result.errlines), result.errlines


def test_the_metric_must_be_recorded_per_pair(gated):
    source = EXPERIMENT.replace("FACTOR", "1").replace('effects("logit_diff")', 'effects("kl")')
    gated.write("exp_effect.py", source)
    result = gated.pytest("--effects-save")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["*effects marker: expected 'kl' with a value per pair *"])


def test_an_interrupted_run_is_not_compared(gated):
    shrink(gated, 0.5)
    gated.write("exp_stop.py", "def exp_stop(): raise KeyboardInterrupt\n")
    done = gated.interrupted("--effects-compare")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    done.stdout.fnmatch_lines(["effects: the run did not end, so nothing was compared*"])


def test_without_the_options_nothing_is_said_of_effects(gated):
    result = gated.pytest()
    result.stdout.no_fnmatch_line("*- effects -*")
