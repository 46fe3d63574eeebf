"""What classifiers make of continuations: which labels, what they are called, their numbers."""

from __future__ import annotations

import pytest
from classifier_files import save_classifier
from tiny import profile, tiny_emotion, tiny_model

from emolib.errors import InputError
from emolib.inputs.heads import Head
from emolib.interventions import zero
from emolib.methods.classified import label_metrics
from emolib.methods.study import Study
from emolib.models.classifiers import Classifier

EMOTIONS = ("joy", "mixed_feelings")


def names(*folders):
    return list(label_metrics(list(map(str, folders)), EMOTIONS, "cpu"))


def test_labels_of_emotions_are_told_alone_and_all_where_none_is(tmp_path):
    some = save_classifier(tmp_path / "some", ("calm", "Joy", "Mixed feelings"))
    none = save_classifier(tmp_path / "no-ne", ("calm", "Very loud!"))
    assert names() == []
    assert names(some) == ["classifier_joy", "classifier_mixed_feelings"]
    assert names(none) == ["classifier_calm", "classifier_very_loud"]
    assert names(some, none) == [
        "classifier_some_joy", "classifier_some_mixed_feelings",
        "classifier_no_ne_calm", "classifier_no_ne_very_loud",
    ]  # fmt: skip


def test_two_labels_of_one_name_are_refused(tmp_path):
    one = save_classifier(tmp_path / "a/it", ("calm", "loud"))
    other = save_classifier(tmp_path / "b/it", ("calm", "loud"))
    with pytest.raises(InputError, match=r"two labels would both be classifier_it_calm; rename th"):
        names(one, other)
    alike = save_classifier(tmp_path / "alike", ("calm", "Calm!"))
    with pytest.raises(InputError, match="two labels would both be classifier_calm"):
        names(alike)


def test_a_study_reads_its_texts_with_them(tmp_path):
    folder = save_classifier(tmp_path / "it", ("calm", "joy"))
    study = Study(tiny_model("llama"), tiny_emotion(), profile(classifiers=(str(folder),)))
    clean, run = study.run(), study.run(zero([Head(0, i) for i in range(4)]))
    expected = [row[1] for row in Classifier(folder).probabilities(run.texts)]
    assert run.classifier_joy == pytest.approx(expected, abs=1e-6)
    moved = run.own_metrics(clean)
    assert list(moved) == ["classifier_joy"]
    assert moved["classifier_joy"].tolist() == (run.classifier_joy - clean.classifier_joy).tolist()
    assert run.own_metrics(clean, of="logits") == {}


def test_a_study_refuses_what_is_no_classifier_when_it_is_made(tmp_path):
    with pytest.raises(InputError, match=r"^--classifier .*nowhere: no such folder"):
        Study(
            tiny_model("llama"), tiny_emotion(), profile(classifiers=(str(tmp_path / "nowhere"),))
        )
