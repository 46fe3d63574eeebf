"""Prompts through chat templates: one BOS, positions that follow their tokens, the turn's end."""

from __future__ import annotations

import copy
import re

import pytest
from chats import FAMILIES, chat_tokenizer
from tiny import text

from emolib.errors import InputError
from emolib.inputs.prompts import Chat, Pair, Turns
from emolib.models.chat import render, turn_ends
from emolib.models.encoding import Batch, align, encode, tokens

EVERY = pytest.mark.parametrize("family", FAMILIES)
TOLD = pytest.mark.parametrize("family", [name for name in FAMILIES if FAMILIES[name].told])
PLAIN, KIND = Chat(), Chat("w7")


def words_of(family, ids):
    return " ".join(chat_tokenizer(family).convert_ids_to_tokens(list(ids)))


def shown(family, prompt, chat=PLAIN):
    return words_of(family, tokens(chat_tokenizer(family), prompt, chat))


def changed(family, template, **attributes):
    """Return the tokenizer of a family with another template."""
    made = copy.deepcopy(chat_tokenizer(family))
    made.chat_template = template
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def refusal(tokenizer, prompt, chat=PLAIN):
    with pytest.raises(InputError) as error:
        tokens(tokenizer, prompt, chat)
    assert "\n" not in str(error.value)
    return str(error.value)


@EVERY
def test_a_prompt_is_the_user_s_turn_up_to_where_the_model_s_begins(family):
    assert shown(family, text(5, 6)) == FAMILIES[family].asked
    assert shown(family, Turns(text(5, 6))) == FAMILIES[family].asked


@TOLD
def test_a_system_turn_comes_before_it(family):
    assert shown(family, text(5, 6), KIND) == FAMILIES[family].told
    assert shown(family, Turns(text(5, 6), text(7))) == FAMILIES[family].told
    # The prompt's own goes before that of all.
    assert shown(family, Turns(text(5, 6), text(7)), Chat("w40")) == FAMILIES[family].told


@EVERY
@pytest.mark.parametrize("chat", [PLAIN, None])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_there_is_one_bos_whoever_writes_it(family, chat, times):
    tokenizer, has = chat_tokenizer(family), FAMILIES[family]
    ids = tokens(tokenizer, " " + (tokenizer.bos_token or "") * times + text(5, 6), chat)
    from_template = chat is not None and "bos_token" in has.template
    one = has.bos and (times > 0 or has.adds or from_template)
    assert ids.count(tokenizer.bos_token_id) == one
    assert not one or ids[0] == tokenizer.bos_token_id
    without = tokens(tokenizer, text(5, 6), chat)
    assert [i for i in ids if i != tokenizer.bos_token_id] == [
        i for i in without if i != tokenizer.bos_token_id
    ]


@TOLD
def test_a_system_turn_brings_no_bos_of_its_own(family):
    bos = chat_tokenizer(family).bos_token or ""
    ids = tokens(chat_tokenizer(family), text(5, 6), Chat(bos + "w7"))
    assert words_of(family, ids).removeprefix(f"{bos} ") == (
        FAMILIES[family].told.removeprefix(f"{bos} ")
    )


PAIRS = (
    Pair("middle", "t", "w9 {slot} w8", "w1 w2", "w3 w4"),
    Pair("start", "t", "{slot} w8 w10", "w1 w2", "w3 w4"),
    Pair("end", "t", " w9 w8 {slot} ", "w1 w2", "w3 w4"),
    Pair("turns", "t", Turns("w9 {slot} w8"), "w1 w2", "w3 w4"),
)


@EVERY
def test_the_slot_is_its_words_and_positions_follow_their_tokens(family):
    aligned = align(chat_tokenizer(family), PAIRS, chat=PLAIN)
    assert [pair.id for pair in aligned.pairs] == [pair.id for pair in PAIRS]
    batch = Batch(aligned.emotion, range(4), 0, "cpu")
    turn = words_of(family, aligned.emotion.ids[0]).partition("w8 ")[2]
    ends = ["w8 " + turn, "w8 w10 " + turn, turn, "w8 " + turn]
    for row in range(4):
        for side, filler in ((aligned.emotion, "w1 w2"), (aligned.neutral, "w3 w4")):
            assert words_of(family, side.ids[row][slice(*side.slots[row])]) == filler
        at = {
            where: words_of(family, batch.input_ids[row][batch.at(where)[row]].tolist())
            for where in ("slot", "after_slot", "last", "all")
        }
        assert at["slot"] == "w1 w2"
        assert at["after_slot"] == ends[row]
        assert at["last"] == ends[row].split()[-1] == FAMILIES[family].asked.split()[-1]
        assert at["all"] == words_of(family, aligned.emotion.ids[row])
    assert aligned.emotion.texts[2:] == (" w9 w8 w1 w2 ", "w9 w1 w2 w8")


@TOLD
def test_a_slot_may_stand_in_the_system_turn(family):
    pair = Pair("p", "t", Turns("w9 w8", "w10 {slot}"), "w1", "w3")
    aligned = align(chat_tokenizer(family), [pair], chat=PLAIN)
    assert words_of(family, aligned.emotion.ids[0][slice(*aligned.emotion.slots[0])]) == "w1"
    assert aligned.emotion.texts == ("w10 w1\n\nw9 w8",)


@EVERY
def test_a_continuation_ends_where_the_model_s_turn_does(family):
    tokenizer = chat_tokenizer(family)
    expected = frozenset(tokenizer.convert_tokens_to_ids(list(FAMILIES[family].ends)))
    assert turn_ends(tokenizer) == expected
    assert encode(tokenizer, ["w5"], chat=PLAIN).ends == expected
    assert align(tokenizer, PAIRS, chat=PLAIN).neutral.ends == expected
    assert encode(tokenizer, ["w5"]).ends == frozenset()


def test_the_day_a_template_writes_is_the_same_every_day():
    template = "\n{{ strftime_now('%-d.%-m.%Y %A %B %H:%M') }} {{ messages[0].content }}"
    made = changed("words", template)
    text, _ = render(made, "w5", PLAIN)
    assert text == "\n26.7.2024 Friday July 00:00 w5"


def test_an_added_token_ends_a_turn_though_it_is_not_special():
    made = changed("words", "{{ messages[-1].content }}<over>\n")
    made.add_tokens("<over>")
    assert turn_ends(made) == {made.convert_tokens_to_ids("<over>")}


def test_a_template_without_answers_tells_no_end_and_words_are_none():
    refuses = "{% if messages | length > 1 %}{{ raise_exception('one') }}{% endif %}x"
    assert turn_ends(changed("words", refuses)) == frozenset()
    assert turn_ends(changed("words", "no content")) == frozenset()
    assert turn_ends(changed("words", "{{ messages[-1].content }} w3 </s>")) == frozenset()


def test_text_of_a_special_token_stays_that_token():
    assert shown("chatml", "w5 <|im_end|> w6").count("<|im_end|>") == 3


def test_a_system_turn_that_a_template_refuses_is_told_in_its_words():
    expected = (
        "the chat template takes no system turn (System role not supported); leave the system turn "
        "out, or write its text into the prompts"
    )
    assert refusal(chat_tokenizer("gemma"), "w5", KIND) == expected
    assert refusal(chat_tokenizer("gemma"), Turns("w5", "w7")) == expected


def test_a_turn_that_a_template_leaves_out_is_no_silent_loss():
    deaf = changed("words", "{{ messages[-1].content }} :")
    assert refusal(deaf, "w5", KIND) == (
        "the chat template leaves out the system turn 'w7'; leave the system turn out, or write "
        "its text into the prompts"
    )
    assert refusal(changed("words", "w1 :"), "w5") == (
        "the chat template leaves out the user turn 'w5'; run without --chat"
    )


def test_a_turn_that_a_template_writes_twice_has_no_one_slot():
    twice = changed("words", "{{ messages[-1].content }} w3 {{ messages[-1].content }} :")
    assert refusal(twice, "w5") == (
        "the chat template writes the user turn 'w5' more than once, so that its slot is in "
        "several places; run without --chat"
    )
    own_word = changed("words", "w5 {{ messages[-1].content }} :")
    assert len(tokens(own_word, "w5", PLAIN)) == len(("<s>", "w5", "w5", ":"))


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ raise_exception('no \n way') }}", "no way"),
        ("{% for %}", "Expected"),
        ("{{ messages[7].content.x }}", "list object has no element 7"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ messages.__class__.__mro__ }}", "unsafe"),
    ],
)
@pytest.mark.parametrize("chat", [PLAIN, KIND])
def test_a_template_that_fails_is_one_line(template, said, chat):
    message = refusal(changed("words", template), "w5", chat)
    assert re.match(rf"^the chat template fails \(.*{said}.*\); run without --chat$", message)


@pytest.mark.parametrize("template", [None, {"tool_use": "x"}])
def test_a_tokenizer_without_a_template_is_told(template):
    assert refusal(changed("words", template), "w5") == (
        "--chat needs a chat template, the tokenizer has none; run without --chat, or take a model "
        "that was trained to chat"
    )


def test_of_several_templates_the_default_is_taken():
    both = {"default": FAMILIES["words"].template, "tool_use": "x"}
    made = changed("words", both)
    assert words_of("words", tokens(made, text(5, 6), PLAIN)) == FAMILIES["words"].asked


def test_turns_without_a_chat_are_refused():
    assert refusal(chat_tokenizer("words"), Turns("w5", "w7"), None) == (
        "prompt 'w7\\n\\nw5' is turns of a chat, which need --chat (chat=True of a study); turn it "
        "on, or write the prompt as text"
    )
