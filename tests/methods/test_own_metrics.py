"""Metrics of one's own: registered, read in sweeps and of texts, checked, refused."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import HEADS, profile, tiny_emotion, tiny_model

import emolib
from emolib.engine import slices
from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.interventions import resample, zero
from emolib.methods import own_metrics
from emolib.methods.readouts import Readout
from emolib.methods.study import Study

MODEL = tiny_model("llama")
HEAD = Head(0, 1)
ROOT = Path(__file__).parents[2]


def entropy(logits):
    log_p = logits.log_softmax(-1)
    return -(log_p.exp() * log_p).sum(-1)


def letters(texts):
    return [len(text) for text in texts]


def study():
    return Study(MODEL, tiny_emotion(), profile())


def test_a_metric_of_logits_is_that_of_the_logits_under_every_draw():
    assert emolib.metric(entropy) is entropy
    made = study()
    drawn = made.run(resample(HEAD, made.reference, draws=12))
    expected = entropy(drawn.logits.double()).mean(0).numpy()
    found = made.run(resample(HEAD, made.reference, draws=12))
    assert found.metric("entropy") == pytest.approx(expected, abs=1e-6)
    assert found.entropy is found.metric("entropy") and "logits" not in found.__dict__
    assert made.run().entropy == pytest.approx(entropy(made.run().logits[0].double()).numpy())


def test_it_is_computed_in_slices_and_its_logits_are_its_own(monkeypatch):
    seen = []

    @emolib.metric
    def first(logits):
        seen.append(len(logits))
        found = logits[:, 0].clone()
        logits.zero_()
        return found

    monkeypatch.setattr(slices, "WIDE", 2 * 8 * MODEL.d_vocab)
    monkeypatch.setattr(slices, "LOGITS", 2 * 4 * MODEL.d_vocab)
    made, other = study(), study()
    found = made.run(zero(HEAD))
    assert max(map(len, [found.first])) == 6 and max(seen) <= 2
    assert found.first == pytest.approx(other.run(zero(HEAD)).logits[0, :, 0].numpy(), abs=1e-6)
    plain = Study(MODEL, tiny_emotion(), profile())
    assert found.logit_diff == pytest.approx(plain.run(zero(HEAD)).logit_diff, abs=1e-6)


def test_a_metric_of_texts_is_read_of_the_continuations():
    emolib.metric(of="texts")(letters)
    made = study()
    run = made.run(zero(HEAD))
    assert run.letters.tolist() == [len(text) for text in run.texts]
    assert run.metric("letters") is run.letters


def test_own_metrics_are_how_far_each_moves():
    emolib.metric(entropy)
    emolib.metric(of="texts")(letters)
    made = study()
    clean, run = made.run(), made.run(zero([Head(0, i) for i in range(4)]))
    every = run.own_metrics(clean)
    assert list(every) == ["entropy", "letters"]
    assert every["entropy"].tolist() == (run.entropy - clean.entropy).tolist()
    assert every["letters"].tolist() == (run.letters - clean.letters).tolist()
    assert np.any(every["entropy"])
    assert list(run.own_metrics(clean, of="logits")) == ["entropy"]
    assert list(run.own_metrics(clean, "texts")) == ["letters"]
    assert not any(name.startswith("logit_diff") for name in every)


def test_no_text_is_made_for_metrics_of_logits(monkeypatch):
    emolib.metric(entropy)
    emolib.metric(of="texts")(letters)
    made = study()
    monkeypatch.setattr(made.runner, "texts", lambda *_: pytest.fail("texts were made"))
    run = made.run(zero(HEAD))
    assert run.own_metrics(made.run(), of="logits").keys() == {"entropy"}


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (lambda logits: logits.sum(), "metric odd: expected a number for each row of logits"),
        (lambda logits: logits[:, :2], "metric odd: expected a number for each row of logits"),
        (lambda logits: [1.0] * len(logits), r"a tensor \[\d+\], got list"),
        (lambda logits: logits[:, 0] / 0, r"metric odd: expected finite numbers, got \d+ of \d+"),
        (lambda logits: 1 / 0, r"metric odd \(.*\) raised ZeroDivisionError: division by zero"),
        (lambda logits: logits[:, 0] - logits[:, 0].mean(), "of each row of logits by itself"),
    ],
)
def test_what_a_metric_of_logits_must_not_say(says, message):
    def odd(logits):
        return says(logits)

    emolib.metric(odd)
    made = study()
    for run in (made.run(), made.run(zero(HEAD))):
        with pytest.raises(InputError, match=message) as error:
            _ = run.odd
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("says", "message"),
    [
        (lambda texts: 3, "a number for each of 6 texts, got int"),
        (lambda texts: [1.0], r"a number for each of 6 texts, got \[1\]"),
        (lambda texts: ["a"] * len(texts), "a number for each of 6 texts, got list"),
        (lambda texts: [float("nan")] * len(texts), "expected finite numbers, got 6 of 6"),
        (lambda texts: {}["a"], r"raised KeyError: 'a'"),
    ],
)
def test_what_a_metric_of_texts_must_not_say(says, message):
    def odd(texts):
        return says(texts)

    emolib.metric(of="texts")(odd)
    with pytest.raises(InputError, match=f"^metric odd.*{message}") as error:
        _ = study().run().odd
    assert "\n" not in str(error.value)


def named(name, parameters="x"):
    """Give a function of a name, in a file of its own."""
    made: dict = {}
    exec(compile(f"def {name}({parameters}): return 1", f"{name}.py", "exec"), made)
    return made[name]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (named("logit_diff"), "metric logit_diff (logit_diff.py:1): the name is taken"),
        (named("logit_diff_joy"), "the name is taken; take another one"),
        (named("classifier_joy"), "the name is taken"),
        (named("recovery"), "the name is taken"),
        (named("_own"), "the name is taken"),
        (named("two", "a, b"), "metric two (two.py:1): expected a function of one argument"),
        (named("none", ""), "expected a function of one argument, the logits"),
        (lambda logits: logits, "metric: expected a function with a name, got <function"),
        ("texts", "metric: expected a function with a name, got 'texts'"),
        (len, "metric: expected a function with a name, got <built-in"),
    ],
)
def test_what_is_no_metric_is_refused(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        emolib.metric(given)
    assert own_metrics.registered() == {}


def test_what_it_is_of_is_one_of_two():
    with pytest.raises(InputError, match=r"^metric: of: expected one of logits, texts, got"):
        emolib.metric(of="text")(letters)


def test_a_name_is_given_once():
    emolib.metric(entropy)
    other: dict = {}
    exec(compile("\ndef entropy(x): return x", "other.py", "exec"), other)
    with pytest.raises(InputError, match=r"other\.py:2\): there is one of that name.*rename one"):
        emolib.metric(other["entropy"])
    # The same definition come again, of a file that is run once more.
    again: dict = {}
    exec(compile("\ndef loud(x): return x", "mine.py", "exec"), again)
    emolib.metric(again["loud"])
    first = again["loud"]
    exec(compile("\ndef loud(x): return x", "mine.py", "exec"), again)
    emolib.metric(again["loud"])
    assert own_metrics.registered()["loud"].function is not first


def test_every_name_of_a_readout_and_of_a_table_beside_it_is_taken():
    public = {name for name in dir(Readout) if not name.startswith("_")} | {"prompts"}
    assert public <= own_metrics.RESERVED
    for name in ("exp_head_ablation", "exp_head_patching", "exp_unit_ablation"):
        tree = ast.parse((ROOT / "experiments" / f"{name}.py").read_text("utf-8"))
        calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
        columns = {
            keyword.arg
            for call in calls
            if getattr(call.func, "id", "") in ("record", "dict")
            for keyword in call.keywords
            if keyword.arg
        }
        assert len(columns) > 8
        free = {n for n in columns if not n.startswith(own_metrics.PREFIXES)}
        assert free <= own_metrics.RESERVED, name


def test_a_study_has_the_metrics_that_were_there_when_it_was_made():
    early = study()
    emolib.metric(entropy)
    with pytest.raises(InputError, match=r"no such metric \(one came after it: make the study aga"):
        early.run().metric("entropy")
    assert not hasattr(early.run(), "entropy")
    assert study().run().entropy.shape == (6,)
    with pytest.raises(AttributeError, match="nothing"):
        _ = study().run().nothing
    with pytest.raises(InputError, match=r"it has entropy, logit_diff_joy$"):
        study().run().metric("nothing")


def test_a_metric_is_known_by_the_file_that_it_stands_in(tmp_path):
    def hash_of(text):
        path = tmp_path / "mine.py"
        path.write_text(text)
        made: dict = {}
        exec(compile(text, str(path), "exec"), made)
        emolib.metric(made["mine"])
        (found,) = own_metrics.hashes().values()
        return found

    first = hash_of("def mine(x): return x[:, 0]")
    assert hash_of("def mine(x): return x[:, 0]") == first
    assert hash_of("def mine(x): return x[:, helper]\nhelper = 1") != first


def test_a_metric_of_a_shell_is_written_over_and_told_from_another():
    code = (
        "import emolib\n"
        "from emolib.methods.own_metrics import hashes\n"
        "def define(n):\n"
        "    made = {'__name__': '__main__'}\n"
        "    exec(compile(f'def mine(x): return x[:, {n}]', f'<cell {n}>', 'exec'), made)\n"
        "    emolib.metric(made['mine'])\n"
        "    return hashes()['mine']\n"
        "first = define(0)\n"
        "assert define(1) != first and len(hashes()) == 1\n"
        "import sys; assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "print('written over')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.stdout == "written over\n", done.stderr


def test_scores_in_half_precision_move_with_them():
    """What a sweep in half precision says of a metric is how far it is from the clean run."""
    emolib.metric(entropy)
    half = tiny_model("llama", torch.bfloat16)
    made = Study(MODEL, tiny_emotion(), profile(), half=half)
    runs = [zero(head) for head in HEADS] + [zero([HEADS[0], head]) for head in HEADS[1:]]
    assert len(runs) == 15
    more = runs + [zero([HEADS[1], head]) for head in HEADS[2:]]
    made.expect(more, "emotion")
    plain = study()
    for run in more:
        assert made.run(run).entropy == pytest.approx(plain.run(run).entropy, abs=0.1)


def test_the_decorator_says_how_it_is_used():
    assert '@emolib.metric(of="texts")' in inspect.getdoc(emolib.metric)
