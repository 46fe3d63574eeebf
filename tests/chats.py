"""Chat templates in the manner of common families, each with a tokenizer of whole words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing


@dataclass(frozen=True)
class Family:
    """A family's template, and what it must come to.

    Attributes:
        template: In jinja.
        special: Its special tokens, the first of them the BOS where it has one.
        asked: Tokens of the prompt w5 w6.
        told: The same behind the system turn w7; empty where it takes none.
        ends: What ends the model's turn.
        bos: Whether the first special token is a BOS.
        adds: Whether the tokenizer puts it in front.
    """

    template: str
    special: tuple[str, ...]
    asked: str
    told: str
    ends: tuple[str, ...]
    bos: bool = True
    adds: bool = True


FAMILIES = {
    "llama3": Family(
        "{{ bos_token }}<|head|>system<|headed|>\n\ntoday "
        "{{ strftime_now('%d %b %Y') if strftime_now is defined else 'never' }}"
        "{% if messages[0].role == 'system' %} {{ messages[0].content | trim }}"
        "{% set messages = messages[1:] %}{% endif %}<|eot|>"
        "{% for m in messages %}<|head|>{{ m.role }}<|headed|>\n\n{{ m.content | trim }}<|eot|>"
        "{% endfor %}{% if add_generation_prompt %}<|head|>assistant<|headed|>\n\n{% endif %}",
        ("<|begin|>", "<|eot|>", "<|head|>", "<|headed|>"),
        "<|begin|> <|head|> system <|headed|> today 26 Jul 2024 <|eot|> "
        "<|head|> user <|headed|> w5 w6 <|eot|> <|head|> assistant <|headed|>",
        "<|begin|> <|head|> system <|headed|> today 26 Jul 2024 w7 <|eot|> "
        "<|head|> user <|headed|> w5 w6 <|eot|> <|head|> assistant <|headed|>",
        ("<|eot|>",),
    ),
    "chatml": Family(
        "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}"
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        ("<|im_start|>", "<|im_end|>"),
        "<|im_start|> system You help. <|im_end|> <|im_start|> user w5 w6 <|im_end|> "
        "<|im_start|> assistant",
        "<|im_start|> system w7 <|im_end|> <|im_start|> user w5 w6 <|im_end|> "
        "<|im_start|> assistant",
        ("<|im_end|>",),
        bos=False,
        adds=False,
    ),
    "gemma": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}"
        "{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}"
        "\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        ("<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<bos> <start_of_turn> user w5 w6 <end_of_turn> <start_of_turn> model",
        "",
        ("<end_of_turn>",),
    ),
    "mistral": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{% set told = messages[0].content %}"
        "{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
        "{% if m.role == 'user' %}[INST] {{ told + '\n\n' if told else '' }}{{ m.content }} [/INST]"
        "{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
        ("<s>", "[INST]", "[/INST]"),
        "<s> [INST] w5 w6 [/INST]",
        "<s> [INST] w7 w5 w6 [/INST]",
        ("</s>",),
    ),
    "phi3": Family(
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}",
        ("<s>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
        "<|user|> w5 w6 <|end|> <|assistant|>",
        "<|system|> w7 <|end|> <|user|> w5 w6 <|end|> <|assistant|>",
        ("<|end|>", "</s>"),
        adds=False,
    ),
    "zephyr": Family(
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        ("<s>", "<|system|>", "<|user|>", "<|assistant|>"),
        "<s> <|user|> w5 w6 </s> <|assistant|>",
        "<s> <|system|> w7 </s> <|user|> w5 w6 </s> <|assistant|>",
        ("</s>",),
    ),
    "words": Family(
        "{% for m in messages %}{{ m.role }} : {{ m.content }} \n{% endfor %}"
        "{% if add_generation_prompt %}assistant :{% endif %}",
        ("<s>",),
        "<s> user : w5 w6 assistant :",
        "<s> system : w7 user : w5 w6 assistant :",
        (),
    ),
}
_WORDS = (
    *("<unk>", "</s>", "system", "user", "assistant", "model", ":"),
    *("today", "26", "Jul", "2024", "You", "help."),
    *(f"w{i}" for i in range(1, 48)),
)


@cache
def chat_tokenizer(family: str) -> Any:
    """Give the tokenizer of a family."""
    has = FAMILIES[family]
    words = {word: i for i, word in enumerate((*_WORDS, *has.special))}
    built = Tokenizer(WordLevel(words, unk_token="<unk>"))
    built.pre_tokenizer = WhitespaceSplit()
    built.add_special_tokens(["</s>", *has.special])
    if has.adds:
        start = has.special[0]
        built.post_processor = TemplateProcessing(
            single=f"{start} $A", special_tokens=[(start, words[start])]
        )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=built,
        eos_token="</s>",
        unk_token="<unk>",
        bos_token=has.special[0] if has.bos else None,
    )
    made.chat_template = has.template
    return made
