"""Plots of where heads look: attention from the last token, emotion beside neutral."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emolib.files import safe
from emolib.reporting.plot_style import COLOURS, drawing, grid, legend, plain, save
from emolib.results.item_files import read_attention
from emolib.results.rows import Row
from emolib.results.selection import study_of, subject

# Pairs drawn of a head, heads of a study, and the share of the strongest one's effect from which
# another is drawn beside it.
_PAIRS, _HEADS, _NOTABLE = 3, 2, 0.2
# Tokens drawn of a prompt; of a longer one those around the slot, at the ends and looked at most.
_TOKENS, _AROUND, _START, _END = 44, 4, 2, 6
_LEFT_OUT, _LONGEST = "…", 14
Effects = Mapping[tuple[str, str, str], float]
"""How much heads do, by model, emotion and head."""


class Head(NamedTuple):
    """A head whose attention was recorded.

    Attributes:
        model: The model.
        emotion: The emotion.
        heads: Its name.
        size: How far its look at the slot differs between the sides, ``|delta_slot|``.
        content: Gives the content of its file (`item_file`).
    """

    model: str
    emotion: str
    heads: str
    size: float
    content: Callable[[], dict[str, Any]]


def head_in(path: Path) -> Head:
    """Return the head that a file of exp_attention_patterns is of.

    Raises:
        InputError: When it is no such file.
    """
    content = read_attention(path)
    size = abs(content["summary"]["delta_slot"]["mean"])
    model, emotion, heads = (str(content[name]) for name in ("model", "emotion", "heads"))
    # Read again when it is drawn: of many heads few are.
    return Head(model, emotion, heads, size, partial(read_attention, path))


def effects_of(
    ablated: Sequence[Row], patched: Sequence[Row], scores: Iterable[Mapping[str, Any]]
) -> Effects:
    """Return how much heads do: by ablation, where a study has none by patching, else atp_ig.

    Args:
        ablated: Rows of ablation.
        patched: Rows of patching.
        scores: Contents of scores files.

    Returns:
        Of each head the largest absolute effect on ``logit_diff``, in logits.
    """
    found: dict[tuple[str, str, str], float] = {}
    told = [
        [(*study_of(row), subject(row), row.mean("logit_diff")) for row in rows]
        for rows in (ablated, patched)
    ]
    told.append(
        [
            (model["model"], s["emotion"], f"L{s['layer']}H{s['head']}", s.get("atp_ig"))
            for model in scores
            for s in model["scores"]
        ]
    )
    for kind in told:
        known = {(model, emotion) for model, emotion, _ in found}
        for model, emotion, heads, effect in kind:
            if (model, emotion) not in known and effect is not None:
                key = model, emotion, heads
                found[key] = max(abs(effect), found.get(key, 0.0))
    return found


def attention_patterns(
    heads: Iterable[Head],
    folder: Path,
    *,
    effects: Effects | None = None,
    emotion: str | None = None,
    kind: str = "png",
) -> list[Path]:
    """Draw, per model and emotion, the heads that do the most of those that were recorded.

    Args:
        heads: The heads.
        folder: Where to, ``attention_patterns_<model>_<emotion>_<head>.png``.
        effects: What heads do (`effects_of`). Of a study without any the head is drawn whose look
            at the slot differs most between the sides.
        emotion: Only this emotion.
        kind: The format of the files.

    Returns:
        The files written.

    Raises:
        InputError: When a file is none of exp_attention_patterns.
    """
    effects = effects or {}
    by_study: dict[tuple[str, str], list[Head]] = {}
    for head in heads:
        if emotion in (None, head.emotion):
            by_study.setdefault((head.model, head.emotion), []).append(head)
    made = []
    for (model, name), members in by_study.items():
        for head in _strongest(members, effects):
            content = head.content()
            stem = safe(f"attention_patterns_{model}_{name}_{content['heads']}")
            made.append(attention_pattern(content, folder / f"{stem}.{kind}"))
    return made


def _strongest(heads: Sequence[Head], effects: Effects) -> list[Head]:
    """Return the heads of a study that are drawn."""
    sizes = [effects.get((head.model, head.emotion, head.heads)) for head in heads]
    if not any(sizes):
        # The first of equals, as they come.
        return [max(heads, key=lambda head: head.size)]
    ranked = sorted(zip(heads, sizes, strict=True), key=lambda known: -(known[1] or 0.0))
    most = ranked[0][1] or 0.0
    return [head for head, size in ranked[:_HEADS] if (size or 0.0) >= _NOTABLE * most]


@drawing
def attention_pattern(content: dict[str, Any], out: Path, *, shown: int = _PAIRS) -> Path:
    """Draw one head's attention from the last token over the tokens of some pairs.

    The pairs are the first of each template; tokens that differ stand above each other. Of long
    prompts stretches between are left out, and what they get together stands above the dots.

    Args:
        content: Content of a file of exp_attention_patterns.
        out: The file to write.
        shown: Pairs.
    """
    templates: dict[str, dict[str, Any]] = {}
    for prompt in content["prompts"]:
        templates.setdefault(prompt.get("template", str(len(templates))), prompt)
    prompts = list(templates.values())[:shown]
    columns = [_columns(prompt) for prompt in prompts]
    longest = max(map(len, columns))
    figure, axes = grid(len(prompts), 1, (max(5.0, 0.2 * longest + 1), 1.75))
    for panel, prompt, places in zip(axes[:, 0], prompts, columns, strict=True):
        pairs = list(zip(prompt["emotion_tokens"], prompt["neutral_tokens"], strict=True))
        for offset, side, colour in ((-0.2, "emotion", COLOURS[4]), (0.2, "neutral", "0.55")):
            weights = np.array(prompt[f"{side}_attention"], dtype=float)
            heights = [weights[place].sum() for place in places]
            panel.bar([x + offset for x in range(len(places))], heights, 0.4, color=colour,
                      label=side)  # fmt: skip
        start, end = prompt["slot"]
        inside = [x for x, place in enumerate(places) if start <= place[0] < end]
        panel.axvspan(inside[0] - 0.5, inside[-1] + 0.5, color=COLOURS[1], alpha=0.2, lw=0,
                      zorder=0, label="slot")  # fmt: skip
        names = [_label(*pairs[place[0]]) if len(place) == 1 else _LEFT_OUT for place in places]
        # Of two tokens the left one is that of the left bar.
        panel.set_xticks(range(len(places)), names, rotation=90, fontsize="small",
                         multialignment="right")  # fmt: skip
        panel.set_xlim(-0.6, longest - 0.4)
        panel.set_ylim(0, 1)
    about = (plain(str(content[name])) for name in ("model", "emotion", "heads"))
    axes[0, 0].set_title(", ".join(about))
    figure.supylabel("attention from the last token")
    legend(figure, *axes[0, 0].get_legend_handles_labels())
    return save(figure, out)


def _columns(prompt: Mapping[str, Any]) -> list[NDArray[np.int64]]:
    """Return the tokens of each column of a panel: one a column, or a stretch that is left out."""
    weights = np.array([prompt["emotion_attention"], prompt["neutral_attention"]]).max(axis=0)
    count, (start, end) = len(weights), prompt["slot"]
    first: Sequence[int] = range(count)
    if count > _TOKENS:
        near = range(max(0, start - _AROUND), min(count, end + _AROUND))
        kept = {*range(_START), *list(near)[:_TOKENS], *range(count - _END, count)}
        for place in np.argsort(-weights, kind="stable").tolist():
            if len(kept) >= _TOKENS:
                break
            kept.add(place)
        first = sorted(kept)
    found = []
    for place, after in zip(first, [*first[1:], count], strict=True):
        found.append(np.array([place]))
        if after > place + 2:
            found.append(np.arange(place + 1, after))
        elif after > place + 1:
            # A single token takes no more room than the dots.
            found.append(np.array([place + 1]))
    return found


def _label(emotion: str, neutral: str) -> str:
    """Return the tokens of both sides as a label, one where they are the same."""
    one, other = (plain(token.strip(" "), _LONGEST) for token in (emotion, neutral))
    return one if emotion == neutral else f"{one}\n{other}"
