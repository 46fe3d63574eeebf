"""Plots of where heads look: attention from the last token, emotion beside neutral."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from emolib.reporting.plot_style import COLOURS, grid, save
from emolib.results.item_files import read_attention

# Pairs drawn of a head.
_PAIRS = 3


class Head(NamedTuple):
    """A head whose attention was recorded.

    Attributes:
        model: The model.
        emotion: The emotion.
        size: How far its look at the slot differs between the sides, ``|delta_slot|``.
        content: Gives the content of its file (`item_file`).
    """

    model: str
    emotion: str
    size: float
    content: Callable[[], dict[str, Any]]


def head_in(path: Path) -> Head:
    """Return the head that a file of exp_attention_patterns is of.

    Raises:
        InputError: When it is no such file.
    """
    content = read_attention(path)
    size = abs(content["summary"]["delta_slot"]["mean"])
    # Read again when it is drawn: of many heads one is.
    return Head(content["model"], content["emotion"], size, partial(read_attention, path))


def attention_patterns(
    heads: Iterable[Head], folder: Path, *, emotion: str | None = None
) -> list[Path]:
    """Draw, per model and emotion, the head whose look at the slot differs most between sides.

    Args:
        heads: The heads.
        folder: Where to, ``attention_patterns_<model>_<emotion>_<head>.png``.
        emotion: Only this emotion.

    Returns:
        The files written.

    Raises:
        InputError: When a file is none of exp_attention_patterns.
    """
    chosen: dict[tuple[str, str], Head] = {}
    for head in heads:
        key = head.model, head.emotion
        if emotion in (None, head.emotion) and (key not in chosen or head.size > chosen[key].size):
            chosen[key] = head
    made = []
    for (model, name), head in chosen.items():
        content = head.content()
        out = folder / f"attention_patterns_{model}_{name}_{content['heads']}.png"
        made.append(attention_pattern(content, out))
    return made


def attention_pattern(content: dict[str, Any], out: Path, *, shown: int = _PAIRS) -> Path:
    """Draw one head's attention from the last token over the tokens of some pairs.

    The pairs are the first of each template; tokens that differ stand above each other.

    Args:
        content: Content of a file of exp_attention_patterns.
        out: The PNG to write.
        shown: Pairs.
    """
    templates: dict[str, dict[str, Any]] = {}
    for prompt in content["prompts"]:
        templates.setdefault(prompt.get("template", str(len(templates))), prompt)
    prompts = list(templates.values())[:shown]
    longest = max(len(prompt["emotion_tokens"]) for prompt in prompts)
    figure, axes = grid(len(prompts), 1, (max(5.0, 0.3 * longest + 1), 1.9), legend=2)
    for panel, prompt in zip(axes[:, 0], prompts, strict=True):
        tokens = zip(prompt["emotion_tokens"], prompt["neutral_tokens"], strict=True)
        labels = [_shown(a) if a == b else f"{_shown(a)}\n{_shown(b)}" for a, b in tokens]
        for offset, side, colour in ((-0.2, "emotion", COLOURS[4]), (0.2, "neutral", "0.55")):
            weights = prompt[f"{side}_attention"]
            places = [place + offset for place in range(len(weights))]
            panel.bar(places, weights, 0.4, color=colour, label=side)
        start, end = prompt["slot"]
        panel.axvspan(start - 0.5, end - 0.5, color=COLOURS[1], alpha=0.15, lw=0, label="slot")
        panel.set_xticks(range(len(labels)), labels, fontsize=6, rotation=45, ha="right")
        panel.set_xlim(-0.6, longest - 0.4)
        panel.set_ylim(0, 1)
        panel.tick_params(axis="y", labelsize=7)
    axes[0, 0].set_title(
        f"{content['model']}, {content['emotion']}, {content['heads']}", fontsize=10
    )
    figure.supylabel("attention from the last token", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    return save(figure, out)


def _shown(token: str) -> str:
    """Return a token as a label: no line break, cut where it is long."""
    plain = repr(token)[1:-1].strip()
    return plain if len(plain) <= 14 else plain[:13] + "…"
