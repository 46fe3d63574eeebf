"""Prompts through a tokenizer's chat template: as text, and what ends the model's turn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from emolib.errors import InputError
from emolib.inputs.prompts import Chat, Written

# Templates that write today's date write this one, or numbers would change overnight. It is the one
# that Llama 3's falls back on.
_TODAY = datetime(2024, 7, 26)
_DATES = ("%-d", "%-m", *(f"%{letter}" for letter in "aAbBdjmuwyYHIMSp"))
# transformers' own asks the clock and cannot be passed in: this stands in front of it, by its name.
_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f"|replace('{code}','{_TODAY.strftime(code)}')" for code in _DATES)
    + " }}{% endmacro %}\n"
)
_ANSWER = "emolib asks for an answer"
_PROBE = "emolib asks where a turn is written"
Message = dict[str, str]


def render(tokenizer: Any, prompt: Written, chat: Chat) -> tuple[str, bool]:
    """Return a prompt as the template writes it, up to where the model's turn begins.

    Text of the prompt that is a special token's stays what it is; of a BOS that it begins with the
    template decides, which writes its own.

    Args:
        tokenizer: A transformers tokenizer.
        prompt: Text, which is the user's turn, or turns.
        chat: What goes for every prompt.

    Returns:
        The text, and whether the prompt began with a BOS, which is not in it.

    Raises:
        InputError: When there is no template, or it refuses the turns, leaves one out or writes
            one twice.
    """
    turns = chat.turns(prompt)
    bos = tokenizer.bos_token
    user, system = _without(turns.user, bos), _without(turns.system, bos)
    given = [{"role": "system", "content": system}] if system is not None else []
    asked = [{"role": "user", "content": user}]
    template = template_of(tokenizer)
    try:
        text = _apply(tokenizer, template, [*given, *asked], prompt=True)
    except Exception as error:  # A template may raise anything.
        raise _refusal(tokenizer, template, error, given, asked) from None
    for role, said in (("system", system), ("user", user)):
        if said and not (times := _bare(text).count(_bare(said))):
            raise InputError(
                f"the chat template leaves out the {role} turn {said[:40]!r}; "
                + (_NO_SYSTEM if role == "system" else "run without --chat")
            )
        # A short turn may be among the template's own words.
        if said and times > 1 and _times(tokenizer, template, [*given, *asked], role) > 1:
            raise InputError(
                f"the chat template writes the {role} turn {said[:40]!r} more than once, so that "
                "its slot is in several places; run without --chat"
            )
    return text, user != turns.user or system != turns.system


def _times(tokenizer: Any, template: str, messages: Sequence[Message], role: str) -> int:
    """Return how often a template writes the turn of a role."""
    probed = [m | {"content": _PROBE} if m["role"] == role else m for m in messages]
    return _apply(tokenizer, template, probed, prompt=True).count(_PROBE)


_NO_SYSTEM = "leave the system turn out, or write its text into the prompts"


def template_of(tokenizer: Any) -> str:
    """Return the chat template of a tokenizer.

    Raises:
        InputError: When it has none.
    """
    found = tokenizer.chat_template
    if isinstance(found, dict):
        found = found.get("default")
    if not isinstance(found, str):
        raise InputError(
            "--chat needs a chat template, the tokenizer has none; run without --chat, or take a "
            "model that was trained to chat"
        )
    return found


def turn_ends(tokenizer: Any) -> frozenset[int]:
    """Return the special tokens that a template writes after what the model says.

    A continuation ends with any of them, as with the model's own end tokens. None where the
    template shows none.
    """
    messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
    try:
        text = _apply(tokenizer, template_of(tokenizer), messages, prompt=False)
    except InputError:
        raise
    except Exception:  # A template that takes no answers tells nothing of their end.
        return frozenset()
    _, found, after = text.rpartition(_ANSWER)
    ends: list[int] = []
    for token in tokenizer(after, add_special_tokens=False)["input_ids"] if found else ():
        if token in tokenizer.all_special_ids or token in tokenizer.added_tokens_decoder:
            ends.append(token)
        elif tokenizer.decode([token]).strip():
            break
    return frozenset(ends)


def _apply(tokenizer: Any, template: str, messages: Sequence[Message], *, prompt: bool) -> str:
    # transformers runs the template in a sandbox.
    text: str = tokenizer.apply_chat_template(
        list(messages),
        chat_template=_CLOCK + template if "strftime_now" in template else template,
        tokenize=False,
        add_generation_prompt=prompt,
    )
    return text


def _refusal(
    tokenizer: Any,
    template: str,
    error: Exception,
    given: Sequence[Message],
    asked: Sequence[Message],
) -> InputError:
    said = " ".join(str(error).split())[:200] or type(error).__name__
    if given:
        try:
            _apply(tokenizer, template, asked, prompt=True)
        except Exception:  # It is not the system turn then.
            return InputError(f"the chat template fails ({said}); run without --chat")
        return InputError(f"the chat template takes no system turn ({said}); {_NO_SYSTEM}")
    return InputError(f"the chat template fails ({said}); run without --chat")


def _without(text: Any, bos: str | None) -> Any:
    while text and bos and text.lstrip().startswith(bos):
        text = text.lstrip().removeprefix(bos)
    return text


def _bare(text: str) -> str:
    """Return a text without its spaces, of which templates strip some."""
    return "".join(text.split())
