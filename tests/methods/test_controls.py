from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import profile, study_of

from emolib.errors import InputError
from emolib.inputs.emotions import load_emotion
from emolib.inputs.heads import Head
from emolib.inputs.profiles import load_profile
from emolib.inputs.prompts import Chat, Turns
from emolib.interventions import patch
from emolib.methods.controls import (
    CONTROLS,
    ControlError,
    Controlled,
    check_controls,
    controls,
    lexical_study,
    shuffled,
)
from emolib.methods.study import Study
from emolib.methods.study import study as open_study
from emolib.models.loading import load
from emolib.models.sources import find
from emolib.planted import PLANTED, planted_emotion, planted_model


@pytest.fixture(scope="module")
def study():
    demo = load_profile("demo")
    return Study(load(find("tiny-neo")), load_emotion(demo, "gratitude"), demo)


@pytest.fixture(scope="module")
def found(study):
    return controls(study, [Head(2, 0), Head(3, 1)])


def test_the_effect_is_large_and_its_controls_are_not(found):
    """L2H0 carries gratitude in this model; a word it never saw there does some of it too."""
    first = found[0]
    effect = first.denoise.mean()
    assert effect > 5
    most = dict.fromkeys(CONTROLS, effect / 10) | {"lexical": effect / 3}
    for name in CONTROLS:
        assert abs(getattr(first, name).mean()) < most[name], name


def test_effects_are_those_of_patching(study, found):
    for one in found:
        for head, values in ((one.head, one.denoise), (one.other, one.same_layer)):
            run = study.run(patch(head, study.activations("emotion")), on="neutral")
            expected = run.logit_diff - study.run(on="neutral").logit_diff
            assert values == pytest.approx(expected, abs=1e-6)
        assert one.other.layer == one.head.layer
        assert one.other not in [other.head for other in found]


def test_shuffled_labels_turn_whole_templates_around(study, found):
    clusters = study.pairs.emotion.clusters
    swapped = shuffled(clusters, len(study.pairs), 0)
    by_template = {name: {s for c, s in zip(clusters, swapped, strict=True) if c == name}
                   for name in clusters}  # fmt: skip
    assert all(len(values) == 1 for values in by_template.values())
    assert sum(values == {1.0} for values in by_template.values()) == len(by_template) // 2
    one = found[0]
    noise = study.run(patch(one.head, study.activations("neutral"))).logit_diff
    noise = noise - study.run().logit_diff
    odd = (one.denoise - noise) / 2
    assert one.shuffled_labels == pytest.approx(np.where(swapped, -odd, odd), abs=1e-6)
    assert (shuffled(clusters, len(clusters), 1) != swapped).any()


def test_rare_words_take_the_slot_and_nothing_else(study):
    lexical = lexical_study(study)
    pairs = {pair.id: pair for pair in study.pairs.pairs}
    assert len(lexical.pairs) >= 0.8 * len(pairs)
    for pair in lexical.pairs.pairs:
        old = pairs[pair.id]
        assert (pair.prompt, pair.neutral) == (old.prompt, old.neutral)
        assert pair.emotion not in (old.emotion, old.neutral)
    assert lexical.left_out == ()
    assert (lexical.targets[0] == study.targets[0]).all()


def test_rare_words_fit_where_prompts_go_through_a_chat_template():
    model = load(find("tiny-neo"))
    model.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}{{ m.role }} : {{ m.content | trim }}{% endfor %}"
    )
    emotion = load_emotion(load_profile("demo"), "gratitude")
    some = replace(emotion.pairs[0], prompt=Turns(emotion.pairs[0].prompt, "It was late."))
    emotion = replace(emotion, pairs=(some, *emotion.pairs[1:6]))
    chat = open_study(model, emotion, chat=True)
    lexical = lexical_study(chat)
    assert lexical.left_out == () and len(lexical.pairs) >= 5
    for pair, ids in zip(lexical.pairs.pairs, lexical.pairs.emotion.ids, strict=True):
        assert ids == model.tokens(pair.written("emotion"), Chat())
        assert ids.count(model.tokenizer.bos_token_id) == 1


def test_no_word_that_fits_is_no_lexical_control():
    """The planted model's tokenizer has its own few words; whatever else is one unknown token."""
    planted = Study(planted_model(), planted_emotion(), profile(verify=1))
    made = lexical_study(planted)
    assert made is None or len(made.pairs) == len(planted.pairs)


def test_a_control_of_nothing_but_zeros_is_an_error():
    """In the planted model no other head does anything at all."""
    planted = Study(planted_model(), planted_emotion(), profile())
    with pytest.raises(ControlError, match="same_layer of L0H1 is exactly 0 on every pair"):
        controls(planted, [PLANTED])


def test_zeros_of_one_head_among_others_are_none():
    some, none = np.array([0.0, 0.1]), np.zeros(2)
    one = Controlled(Head(0, 0), Head(0, 1), some, none, some, some)
    with pytest.raises(ControlError):
        check_controls([one])
    check_controls([one, replace(one, same_layer=some)])
    check_controls([replace(one, other=None, same_layer=None)])


def test_a_model_of_one_head_a_layer_has_no_other():
    study = study_of("gpt2")
    assert study.model.n_heads > 1
    made = controls(study, [Head(0, 0)])[0]
    assert made.other is not None and made.to_record()["other_head"] == str(made.other)


def test_a_wrong_list_of_words_is_one_line(tmp_path, study):
    (tmp_path / "lexical_control.json").write_text(json.dumps({"words": []}), "utf-8")
    mine = replace(study.profile, root=tmp_path)
    broken = Study(study.model, study.emotion, mine)
    with pytest.raises(InputError, match=r"lexical_control.json: expected \{\"version\": 1"):
        lexical_study(broken)
