"""Experiments that put something of their own on the model: their rows, and those of others."""

from __future__ import annotations

import pytest

HEAD = """
import pytest
import torch
from emolib.interventions import zero
from emolib.tracing import OwnTrace, Trace

BLOCK = "transformer.h.1"


def push(output):
    stream = output[0] if isinstance(output, tuple) else output
    moved = stream + torch.linspace(-2, 2, stream.shape[-1])
    return (moved, *output[1:]) if isinstance(output, tuple) else moved


def by_hand(study, side):
    model, values = study.model, []
    for ids in study.prompts(side).ids:
        with torch.no_grad():
            logits = model.hf(input_ids=torch.tensor([ids])).logits[0, -1]
        values.append(float(study.logit_diff(logits)))
    return values
"""
STEER = """
def exp_steer(run, study, model, record):
    clean = run(on="neutral").logit_diff
    with Trace(model.hf, BLOCK, edit_output=push):
        steered, expected = run(on="neutral").logit_diff, by_hand(study, "neutral")
    assert list(steered) == pytest.approx(expected, abs=1e-4)
    record(effect=steered - clean, steered=steered)
"""
PLAIN = """
def exp_plain(run, study, record):
    clean = run(on="neutral").logit_diff
    assert list(clean) == pytest.approx(by_hand(study, "neutral"), abs=1e-4)
    record(clean=clean)
"""
FIRST = """
def exp_first(run, model, record):
    with Trace(model.hf, BLOCK, edit_output=push):
        record(ld=run(on="neutral").logit_diff)
"""


TRACED = """
def exp_traced(run, traced, record):
    with traced("resid:2") as emotion:
        run()
    with traced("resid:2") as neutral:
        run(on="neutral")
    step = (emotion.output - neutral.output)[:, -1].mean(0)
    with traced("resid:2", edit_output=lambda resid: resid + step) as trace:
        steered = run(on="neutral")
        texts = steered.texts
    assert trace.output.shape[1] == 1
    record(effect=steered.logit_diff - run(on="neutral").logit_diff, text=texts)
"""
LEAVES = """
def exp_leaves(run, model, record):
    Trace(model.hf, BLOCK, edit_output=push)
    record(ld=run(on="neutral").logit_diff)
"""


def means(folder, experiment):
    (row,) = (row for row in folder.rows() if row["experiment"] == experiment)
    return {name: value["mean"] for name, value in row["values"].items()}


def under(folder, experiment):
    found = {tuple(r["provenance"].get("under", ())) for r in folder.rows()
             if r["experiment"] == experiment}  # fmt: skip
    (told,) = found
    return list(told)


def check_steered(folder):
    """The trace steers the runs inside it, and no other item's."""
    steer, plain = means(folder, "steer"), means(folder, "plain")
    assert abs(steer["effect"]) > 1e-3
    assert steer["steered"] - steer["effect"] == pytest.approx(plain["clean"], abs=1e-5)
    assert under(folder, "steer") == ["forward hook on transformer.h.1"]
    assert under(folder, "plain") == []


def check_traced(folder):
    (row,) = (row for row in folder.rows() if row["experiment"] == "traced")
    assert row["values"]["effect"]["mean"] > 0.5
    assert row["provenance"]["under"] == ["traced resid:2"]
    assert len(row["texts"]["text"]) == 12


def check_left(folder, done):
    """What an item leaves is its error, and the next one has the model as it was loaded."""
    out = done.stdout.str()
    assert "exp_leaves[tiny-neo-gratitude] left forward hook on transformer.h.1 on tiny-neo" in out
    assert "1 error" in out and done.ret == 1 and "Traceback" not in out
    assert "1 recorded" in folder.pytest("-q", "-k", "exp_plain", "--fresh").stdout.str()
    numbers = {
        row["values"]["clean"]["mean"] for row in folder.rows() if row["experiment"] == "plain"
    }
    assert max(numbers) - min(numbers) < 1e-6


@pytest.mark.parametrize("order", [(STEER, PLAIN), (PLAIN, STEER)], ids=["before", "after"])
def test_a_trace_around_run_steers_it_and_no_other_item(folder, order):
    folder.write("exp_effect.py", HEAD + "".join(order))
    assert "2 recorded" in folder.pytest("-q").stdout.str()
    check_steered(folder)


def test_traced_is_an_experiment_of_logits_and_texts_and_is_resumed(folder):
    folder.write("exp_effect.py", HEAD + TRACED + PLAIN)
    assert "2 recorded" in folder.pytest("-q").stdout.str()
    check_traced(folder)
    assert "2 items from the store" in folder.pytest("-q").stdout.str()


def test_hooks_that_an_item_leaves_are_its_error_and_nobody_else_s(folder):
    folder.write("exp_effect.py", HEAD + LEAVES + PLAIN)
    check_left(folder, folder.pytest("-q"))


@pytest.mark.slow
def test_in_workers_it_is_the_same(folder):
    folder.write("exp_effect.py", HEAD + STEER + LEAVES + TRACED + PLAIN)
    done = folder.pytest("-q", "-n", "2")
    assert "4 recorded" in done.stdout.str(), done.stdout.str()
    check_steered(folder)
    check_traced(folder)
    check_left(folder, done)
    # What a worker traced is in the store for a run without.
    again = folder.pytest("-q", "-k", "exp_traced")
    assert "1 items from the store" in again.stdout.str()


def test_a_trace_before_anything_was_read_leaves_the_others_their_numbers(folder):
    folder.write("exp_effect.py", HEAD + FIRST + PLAIN)
    assert "2 recorded" in folder.pytest().stdout.str()
    both = means(folder, "plain")["clean"]
    assert "1 recorded" in folder.pytest("-k", "exp_plain", "--fresh").stdout.str()
    assert means_of_last(folder, "plain")["clean"] == pytest.approx(both, abs=1e-6)
    assert abs(means(folder, "first")["ld"] - both) > 1e-3


def means_of_last(folder, experiment):
    row = [row for row in folder.rows() if row["experiment"] == experiment][-1]
    return {name: value["mean"] for name, value in row["values"].items()}


def test_rows_under_hooks_are_computed_anew_every_time(folder):
    """What a hook does may come from anywhere: no hash of the experiment's file tells it."""
    folder.write("exp_effect.py", HEAD + STEER + PLAIN)
    assert "2 recorded" in folder.pytest().stdout.str()
    assert "1 items from the store" in folder.pytest("-q").stdout.str()
    assert len([row for row in folder.rows() if row["experiment"] == "steer"]) == 2


def test_a_place_that_is_not_there_is_one_line(folder):
    folder.write(
        "exp_effect.py",
        HEAD + "def exp_steer(run, traced, record):\n    with traced('resid:9'):\n        run()\n",
    )
    result = folder.pytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*traced('resid:9'): layer 9 does not exist, tiny-neo has 4 lay*"])
    assert "Traceback" not in result.stdout.str() and "def exp_steer" not in result.stdout.str()


EDITS = """
def exp_edits(run, study, model, record):
    weight = model.hf.transformer.h[1].mlp.c_proj.weight
    clean = run(on="neutral").logit_diff
    with torch.no_grad():
        weight.mul_(4)
    edited = run(on="neutral").logit_diff
    assert list(edited) == pytest.approx(by_hand(study, "neutral"), abs=1e-4)
    record(effect=edited - clean)
    with torch.no_grad():
        weight.div_(4)
"""


def test_weights_edited_in_place_inside_an_item(folder):
    """The next item has the weights of the file, to the last bit."""
    folder.write("exp_effect.py", HEAD + EDITS + PLAIN)
    said = folder.pytest().stdout.str()
    assert "2 recorded" in said and " left " not in said
    assert abs(means(folder, "edits")["effect"]) > 1e-3
    weight = "transformer.h.1.mlp.c_proj.weight"
    assert under(folder, "edits") == [f"weights of {weight} edited in place"]
    assert under(folder, "plain") == []


def test_weights_that_are_left_edited_are_an_error(folder):
    folder.write("exp_effect.py", HEAD + EDITS.replace("weight.div_(4)", "pass") + PLAIN)
    result = folder.pytest()
    result.stdout.fnmatch_lines(["*exp_edits* left weights of transformer.h.1.mlp.c_proj.weight*"])
    assert under(folder, "plain") == []


DATA_EDITS = """
def exp_unseen(run, model, record):
    clean = run(on="neutral").logit_diff
    model.hf.transformer.h[1].mlp.c_proj.weight.data.mul_(4)
    record(effect=run(on="neutral").logit_diff - clean)
"""


def test_an_edit_that_torch_does_not_count_is_an_error_and_records_nothing(folder):
    folder.write("exp_effect.py", HEAD + DATA_EDITS + PLAIN)
    result = folder.pytest()
    result.stdout.fnmatch_lines(["*weights of transformer.h.1.mlp.c_proj.weight were edited thro*"])
    assert [row["experiment"] for row in folder.rows()] == ["plain"]


def test_a_failing_item_under_a_trace_leaves_nothing(folder):
    body = "def exp_fails(run, model):\n    with Trace(model.hf, BLOCK, edit_output=push):\n"
    body += "        run()\n        raise ValueError('mine')\n"
    folder.write("exp_effect.py", HEAD + body.replace("model)", "model, record)") + PLAIN)
    result = folder.pytest()
    assert "1 recorded" in result.stdout.str() and "1 error" in result.stdout.str()
    assert under(folder, "plain") == []
