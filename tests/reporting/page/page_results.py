"""Results that fill every part of the page, made by hand; and text that would break out of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
from circuit_rows import ends, points
from made import around, make_results, rows_of

from emolib.results.records import Store
from emolib.results.rows import Row

HOSTILE = (
    "<script>alert(1)</script></SCRIPT ><!-- --> ]]> &lt; \" ' <img src=x onerror=alert(2)> "
    "{{ 7 * 7 }} {% raw %} javascript:alert(3) \u202eRTL\u2066 \x1b[31mANSI\x1b[0m \u2028 🙂"
)
SHORT = "<b onclick=x>" + '"' + "\u202e"
LONG, LONGEST = "w" * 3_000, "w" * 100_000


def page_results(
    folder: Path,
    models: tuple[str, ...] = ("one", "two"),
    emotions: tuple[str, ...] = ("joy", "fear"),
    *,
    text: str = "some text",
    shape: tuple[int, int] = (2, 2),
    note: str = "a reason",
    own: str = "silence",
    steered: str = "",
) -> Path:
    """Write rows of every experiment that the page has a part for.

    Args:
        folder: Where to.
        models: Their names.
        emotions: Theirs.
        text: Prompts and texts.
        shape: Layers and heads a layer.
        note: What rows say in words.
        steered: What texts under steering have behind the others.
        own: Name of an experiment of somebody's own, without heads, and of its metric.
    """
    make_results(folder, models, emotions, shape, text)
    store = Store(folder)
    for model in models:
        for emotion in emotions:
            named = {"model": model, "emotion": emotion}
            for rows in _studies(named, f"{text}{steered}", note, own):
                shaped = {"shape": {"layers": shape[0], "heads": shape[1]}}
                store.append([replace(row, provenance=shaped, context="c") for row in rows])
    store.close()
    return folder


def _studies(named: dict[str, str], text: str, note: str, own: str) -> list[list[Row]]:
    summary = {"order": "ranking", "outside": "patch", "by": note, "circuit": "L0H1+L1H0", "k": 2}
    summary |= {"n_heads": 4, "chosen": 0.85, "why_no_rest": note} | ends("held_out", 0.8)
    summary |= ends("cpr", 0.9) | ends("cmd", 0.1)
    random = {"order": "random", "outside": "patch", "k": 2, "cpr": 0.4, "cmd": 0.6}
    path = {"sender": "L0H1", "receiver": "L1H0", "input": "all", "effect": around(0.5),
            "total": around(1.0), "share": 0.5, "why_no_effect": note}  # fmt: skip
    doses = [
        {"place": "resid:1", "direction": direction, "on": "neutral", "alpha": f"{alpha:g}",
         "logit_diff": around(3.0 * alpha), "fluency": -abs(alpha) / 2, "cosine": 0.9,
         "prompt": [text] * 8, "clean_text": [text] * 8, "steered_text": [f"{text} more"] * 8}
        for direction in ("emotion", "random") for alpha in (-1, 0, 1, 4)
    ]  # fmt: skip
    unit = {"unit": "L0U7", "atp": around(0.3), "relp": 0.2, "patch_effect": around(0.25),
            "zero_effect": around(-0.1), "reliability": 0.9, "why_no_relp": note}  # fmt: skip
    confirmed = {"kind": "zero", "top_effect": around(-1.0), "random_effect": around(0.1),
                 "difference": around(-1.1), "n_units": 4}  # fmt: skip
    edit = {"spec": "top1", "logit_diff": around(-0.4), "logit_diff_random": around(0.0)}
    control = {"head": "L1H0", "other_head": "L1H1", "denoise": around(2.0),
               "same_layer": around(0.0), "shuffled_labels": around(0.1),
               "lexical": around(0.5)}  # fmt: skip
    special = {"kind": "zero", "logit_diff": around(-2.0), "specificity": around(-1.0),
               "effect_joy": around(-2.0), "effect_fear": around(-1.0)}  # fmt: skip
    probe = {"accuracy": np.full(8, 0.75), "auroc": np.full(8, 0.8)}
    mine = {own: around(1.0), "note": note}
    return [
        rows_of("circuit_summary", summary, random, **named),
        points(**named),
        rows_of("head_paths", path, path | {"receiver": "logits"}, **named),
        rows_of("steering", *doses, **named),
        rows_of("unit_screening", unit, **named),
        rows_of("unit_layers", {"layer": "L0", "sum_abs_atp": 1.0}, **named),
        rows_of("unit_confirmation", confirmed, **named),
        rows_of("unit_ablation", edit, **named, units="L0U7", ablation="zero"),
        rows_of("head_controls", control, **named),
        rows_of("head_specificity", special, **named, heads="L1H0"),
        rows_of("head_probe", probe, **named, heads="L1H0"),
        rows_of("head_ablation", {"logit_diff": around(-3.0)}, **named, heads="L0H1+L1H0",
                ablation="zero"),
        # Names of experiments are names of functions: the store takes no other.
        rows_of(re.sub(r"\W", "", own), mine, **named),
    ]  # fmt: skip
