"""The fixtures of experiments: what each gives, and what ``record`` takes."""

from __future__ import annotations

import pytest


def recorded(folder, body, *args):
    folder.write(
        "exp_effect.py", f"import numpy as np, torch\n\n\ndef exp_it(record):\n    {body}\n"
    )
    return folder.pytest(*args)


def test_numbers_vectors_texts_and_none(folder):
    recorded(
        folder,
        "record(count=3, share=np.float32(0.5), none=None, tensor=torch.tensor(2.0), "
        "effect=torch.tensor([1.0, 2.0, 3.0]), listed=[1, 2], text='a note', texts=['x', 'y'])",
    )
    row = folder.rows()[0]
    assert row["labels"] == {"text": "a note"} and row["texts"] == {"texts": ["x", "y"]}
    assert row["vectors"] == {"effect": [1.0, 2.0, 3.0], "listed": [1.0, 2.0]}
    values = row["values"]
    assert (values["count"], values["share"], values["none"], values["tensor"]) == (3, 0.5, None, 2)
    assert values["effect"]["mean"] == 2 and values["effect"]["n"] == 3
    assert values["effect"]["d_z"] == pytest.approx(2)
    low, high = values["effect"]["ci"]
    assert low < 2 < high and high - low > 2


def test_several_calls_are_several_rows(folder):
    recorded(folder, "[record(step=i) for i in range(3)]").stdout.fnmatch_lines(["*1 recorded*"])
    assert [(row["row"], row["of"], row["values"]) for row in folder.rows()] == [
        (i, 3, {"step": float(i)}) for i in range(3)
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("record()", "TypeError: record(): expected values by name, as in record(logit_diff=…)"),
        (
            "record(x=[1.0, float('nan')])",
            "ValueError: record(x=…): 1 of 2 values are not finite; leave them out, or record "
            "None where the metric is undefined",
        ),
        (
            "record(x=np.zeros((2, 2)))",
            "ValueError: record(x=…): expected a number, a vector of shape [n] or texts, got an "
            "array of shape [2, 2]",
        ),
        (
            "record(x=object())",
            "TypeError: record(x=…): expected a number, a vector of shape [n] or texts, got object",
        ),
    ],
)
def test_what_cannot_be_recorded_is_an_error(folder, body, message):
    result = recorded(folder, body)
    result.stdout.fnmatch_lines([f"E*{message.replace('[', '[[]')}", "*1 error in*"])
    assert folder.rows() == []


OF_SOME = """
from dataclasses import replace

from emolib.methods.scores import Apart
from emolib.methods.study import Study


def exp_some(study, run, record):
    pairs = study.emotion.pairs[2:8]
    some = Study(study.model, replace(study.emotion, pairs=pairs), study.profile)
    record(study=some, logit_diff=some.run().logit_diff, prompt=some.prompts().texts)
    record(logit_diff=some.run().logit_diff.view(Apart))
    record(logit_diff=run().logit_diff)
"""


def test_values_of_another_study_go_along_with_its_prompts(folder):
    """Its templates are the clusters; without being told nobody knows of them."""
    folder.write("exp_effect.py", OF_SOME)
    folder.pytest().stdout.fnmatch_lines(["*1 recorded*"])
    some, untold, every = folder.rows()
    ids, templates = every["pairs"]["ids"], every["pairs"]["templates"]
    assert some["pairs"] == {"ids": ids[2:8], "templates": templates[2:8]}
    assert not untold["pairs"] and some["vectors"] == untold["vectors"]
    assert some["vectors"]["logit_diff"] == pytest.approx(every["vectors"]["logit_diff"][2:8],
                                                          abs=1e-4)  # fmt: skip
    alone, clustered = (row["values"]["logit_diff"]["ci"] for row in (untold, some))
    assert len(set(templates[2:8])) < 6 and alone != clustered


def test_what_is_no_study_is_an_error(folder):
    result = recorded(folder, "record(study='x', a=1)")
    result.stdout.fnmatch_lines(["E*TypeError: record(study=…): expected a study, got str"])


@pytest.mark.parametrize("name", ["item", "model", "emotion", "heads", "ablation"])
def test_names_of_columns_are_taken(folder, name):
    result = recorded(folder, f"record({name}='x')")
    result.stdout.fnmatch_lines(
        [f"E*TypeError: record({name}=…): tables have a column {name}; take another name"]
    )


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


EVERY = """
import numpy as np
import pytest
from emolib.inputs.heads import Head, HeadSet
from emolib.interventions import zero


def exp_case(profile, model_source, emotion, heads, head, units, ablation_kind, record):
    assert (profile.name, model_source.name, emotion.name) == ("small", "tiny-neo", "gratitude")
    assert heads == HeadSet((Head(2, 0),)) and head == Head(2, 0)
    assert str(units) == "L0U5" and ablation_kind == "mean"
    record(n=1)


def exp_study(model, model_source, emotion, study, pairs, prompts, run, record):
    assert model.name == model_source.name and study.model is model and study.emotion is emotion
    assert pairs is study.pairs and list(prompts.ids) == list(study.prompts("emotion").ids)
    assert len(prompts.ids) == len(pairs) == 12
    np.testing.assert_allclose(run().logit_diff, study.run().logit_diff)
    assert not np.allclose(run(on="neutral").logit_diff, run().logit_diff)
    record(n=1)


def exp_edits(run, heads, ablation, ablation_kind, patched, study, record):
    expected = study.run(study.ablation("mean")(heads)).logit_diff
    np.testing.assert_allclose(run(ablation(heads)).logit_diff, expected)
    assert not np.allclose(run(zero(heads)).logit_diff, expected)
    found = [(done.direction, done.position) for done in patched(heads, ["last"])]
    assert found == [("denoise", "last"), ("noise", "last")]
    record(n=1)


def exp_units(units, matched_units, record):
    layers = [unit.layer for unit in units], [unit.layer for unit in matched_units]
    assert layers == ([0], [0]) and set(units).isdisjoint(matched_units)
    record(n=1)


def exp_screened(study, screening, controls, attention, record):
    assert len(controls) == study.profile.verify == 1
    assert controls[0].head == screening.ranking[0]
    assert screening.of(controls[0].head)["atp_ig"] is not None
    assert attention.of(controls[0].head)["emotion_slot"] is not None
    record(n=1)


def exp_circuit(study, circuit, screening, record):
    assert list(circuit.ranking.heads) == screening.ranking
    assert len(circuit.full) == len(study.pairs) and circuit.outside == "patch"
    record(n=1)


def exp_of_rank(heads, screening, model_source, emotion, record):
    if heads == HeadSet((screening.ranking[0],)):
        record(n=1)
"""


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("exp_case", ["--unit-spec", "0:5", "--ablation", "mean"]),
        ("exp_study", []),
        ("exp_edits", ["--ablation", "mean"]),
        ("exp_units", ["--unit-spec", "0:5"]),
        ("exp_screened", []),
        ("exp_circuit", []),
        ("exp_of_rank", ["--head-spec", "top:1"]),
    ],
)
def test_fixtures_give_the_parts_of_the_item_and_of_its_study(folder, name, args):
    folder.write("exp_effect.py", EVERY)
    args = args if "--head-spec" in args else [*args, "--head-spec", "2:0"]
    result = folder.pytest("-k", name, *args)
    assert result.ret == pytest.ExitCode.OK, result.stdout.str()
    result.stdout.fnmatch_lines(["*, 1 recorded in *"])


def test_what_was_recorded_before_an_item_ran_again_is_not_kept(folder):
    """Of an item that is set up twice, the rows of the second time count."""
    folder.write(
        "exp_effect.py",
        """
import pytest
from pytest_emolib.reports import RECORDED

@pytest.fixture(autouse=True)
def left(request):
    request.node.stash[RECORDED] = [{"old": 1}]

def exp_it(left, record):
    record(new=2)
""",
    )
    folder.pytest().stdout.fnmatch_lines(["*1 recorded*"])
    assert [row["values"] for row in folder.rows()] == [{"new": 2}]
