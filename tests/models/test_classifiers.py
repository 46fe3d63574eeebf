"""Classifiers: what their files say, the probabilities of their labels, what is refused."""

from __future__ import annotations

import json
import re

import pytest
import torch
import transformers
from classifier_files import rewrite, save_classifier
from safetensors.torch import load_file, save_file

from emolib.errors import InputError
from emolib.models.classifiers import Classifier, classifier

TEXTS = ["thank her", "", "angry", "the angry angry him", "unheard", "thank her"]


def by_hand(folder, texts, apart=False):
    """Give probabilities text by text, as transformers has them."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text)["input_ids"] or [tokenizer.pad_token_id or 0]
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits.double()[0]
        rows.append(tuple((logits.sigmoid() if apart else logits.softmax(-1)).tolist()))
    return rows


@pytest.mark.parametrize("pads", [True, False])
def test_probabilities_are_those_of_each_text_alone(tmp_path, pads):
    folder = save_classifier(tmp_path / "calm", ("calm", "loud", "sad"), pads=pads)
    made = Classifier(folder)
    assert made.labels == ("calm", "loud", "sad") and made.name == "calm"
    found = made.probabilities(TEXTS)
    assert found[0] == found[-1] != found[2]
    for row, expected in zip(found, by_hand(folder, TEXTS), strict=True):
        assert row == pytest.approx(expected, abs=1e-5) and sum(row) == pytest.approx(1)


def test_labels_that_do_not_exclude_each_other_are_a_sigmoid_each(tmp_path):
    folder = save_classifier(tmp_path / "many", problem_type="multi_label_classification")
    found = Classifier(folder).probabilities(TEXTS)
    for row, expected in zip(found, by_hand(folder, TEXTS, apart=True), strict=True):
        assert row == pytest.approx(expected, abs=1e-5)
    assert abs(sum(found[0]) - 1) > 1e-3


def test_a_long_text_is_cut_and_two_labels_need_no_names(tmp_path):
    folder = save_classifier(tmp_path / "plain", ("LABEL_0", "LABEL_1"))
    rewrite(folder, id2label=None, label2id=None)
    made = Classifier(folder)
    assert made.labels == ("LABEL_0", "LABEL_1")
    long = "thank " * 40
    assert made.probabilities([long]) == by_hand(folder, ["thank " * 16])


def test_each_text_is_read_once_and_the_files_again_when_they_are_written_again(tmp_path):
    folder = save_classifier(tmp_path / "calm")
    made = classifier(folder)
    assert classifier(folder) is made and classifier(str(folder)) is made
    seen = []
    model, _ = made._loaded
    forward = model.forward
    model.forward = lambda **given: seen.append(len(given["input_ids"])) or forward(**given)
    first = made.probabilities(TEXTS)
    assert made.probabilities(TEXTS[::-1]) == first[::-1] and sum(seen) == 5
    before = made.hash
    save_classifier(folder, ("calm", "loud", "sad"))
    other = classifier(folder)
    assert other is not made and other.hash != before and len(other.labels) == 3


def broken(folder, what):
    match what:
        case "no folder":
            return folder / "nowhere"
        case "no config":
            (folder / "config.json").unlink()
        case "no json":
            (folder / "config.json").write_text("{")
        case "no head":
            rewrite(folder, architectures=["DistilBertModel"])
        case "no architectures":
            rewrite(folder, architectures=None)
        case "own code":
            rewrite(folder, model_type="mine", auto_map={"AutoConfig": "mine.Config"})
        case "one label":
            rewrite(folder, id2label={"0": "score"})
        case "labels from 1":
            rewrite(folder, id2label={"1": "a", "2": "b"})
        case "regression":
            rewrite(folder, problem_type="regression")
        case "no weights":
            (folder / "model.safetensors").unlink()
        case "pickled":
            (folder / "model.safetensors").unlink()
            (folder / "pytorch_model.bin").write_bytes(b"x")
        case "no tokenizer":
            for path in [*folder.glob("tokenizer*"), *folder.glob("special*")]:
                path.unlink()
    return folder


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no folder", "no such folder; expected a sequence classifier of transformers, saved"),
        ("no config", "no config.json in"),
        ("no json", "not JSON"),
        ("no head", "its config.json names no model with a head for sequences (architectures: ['D"),
        ("no architectures", "names no model with a head for sequences (architectures: None)"),
        ("own code", "transformers has no model of the type 'mine', and code of a folder's own"),
        ("one label", "expected two labels or more (id2label in config.json), got {'0': 'score'}"),
        ("labels from 1", "expected labels numbered from 0 (id2label in config.json), got {'1'"),
        ("regression", "it is a regression"),
        ("no weights", "no model.safetensors in it; only safetensors are loaded, nothing is unpic"),
        ("pickled", "no model.safetensors in it; only safetensors are loaded, nothing is unpickle"),
        ("no tokenizer", "no tokenizer in it; save it there too"),
    ],
)
def test_what_is_no_classifier_is_refused_before_it_is_loaded(tmp_path, what, message):
    folder = broken(save_classifier(tmp_path / "it"), what)
    with pytest.raises(
        InputError, match=f"^--classifier {re.escape(f'{folder}: ')}.*{re.escape(message)}"
    ) as e:
        Classifier(folder)
    assert "\n" not in str(e.value)


def test_what_lacks_a_weight_or_cannot_be_read_is_refused_when_it_is_loaded(tmp_path):
    headless = save_classifier(tmp_path / "headless")
    weights = load_file(headless / "model.safetensors")
    less = {name: w for name, w in weights.items() if not name.startswith("classifier")}
    save_file(less, headless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"2 of its weights are missing .*\(classifier\.bias, …\)"):
        Classifier(headless).load()
    narrow = save_classifier(tmp_path / "narrow")
    rewrite(narrow, id2label={"0": "a", "1": "b", "2": "c"}, num_labels=None)
    with pytest.raises(InputError, match="of another shape than its configuration says"):
        Classifier(narrow).load()
    torn = save_classifier(tmp_path / "torn")
    (torn / "tokenizer.json").write_text("{}")
    with pytest.raises(
        InputError, match=r"torn: cannot be loaded \(.*\); expected a sequence"
    ) as e:
        Classifier(torn).load()
    assert "\n" not in str(e.value)


def test_weights_that_were_cut_short_are_refused_before_anything_is_loaded(tmp_path):
    torn = save_classifier(tmp_path / "torn")
    content = (torn / "model.safetensors").read_bytes()
    (torn / "model.safetensors").write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"^--classifier .*model\.safetensors: cut short: "):
        Classifier(torn)


@pytest.mark.parametrize("count", [10**12, 3, "x", True])
def test_labels_without_names_are_not_made_up(tmp_path, count):
    folder = save_classifier(tmp_path / "mine")
    rewrite(folder, num_labels=count)
    with pytest.raises(InputError, match=r"has num_labels .*, and names 2; take num_labels out"):
        Classifier(folder)


@pytest.mark.parametrize("longest", ["x", 0, -1, 1.5])
def test_what_is_no_length_is_told(tmp_path, longest):
    path = save_classifier(tmp_path / "mine") / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": longest}))
    with pytest.raises(InputError, match=r"model_max_length is .*; expected how many tokens"):
        Classifier(tmp_path / "mine").load()
