"""Plots of where heads look: which head and pairs are drawn, and tokens that break no label."""

from __future__ import annotations

import json

import pytest
from made import HOSTILE, rows_of

from emolib.errors import InputError
from emolib.reporting.attention_plots import (
    attention_pattern,
    attention_patterns,
    effects_of,
    head_in,
)


def prompt(
    template=None, emotion=("<s>", "glad", "end"), neutral=("<s>", "tall", "end"), first=0.2
):
    weights = [first, 0.5, 0.5 - first]
    found = {"emotion_tokens": emotion, "neutral_tokens": neutral, "emotion_attention": weights,
             "neutral_attention": weights[::-1], "slot": [1, 2]}  # fmt: skip
    return found if template is None else found | {"template": template}


def content(*prompts, heads="L0H0", delta=0.5, model="one", emotion="joy"):
    return {"model": model, "emotion": emotion, "heads": heads, "prompts": list(prompts),
            "summary": {"delta_slot": {"mean": delta, "ci": None}}}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """Give a function that writes files of exp_attention_patterns, one a content."""

    def write(*contents):
        (tmp_path / "attention").mkdir()
        made = [tmp_path / f"attention/{i}.json" for i in range(len(contents))]
        for path, found in zip(made, contents, strict=True):
            path.write_text(json.dumps(found), encoding="utf-8")
        return made

    return write


def test_where_no_effect_is_known_the_head_that_differs_most_is_drawn(files, tmp_path):
    contents = [
        content(prompt("t"), heads="L0H0", delta=0.2),
        content(prompt("t"), heads="L0H1", delta=-0.6),
        content(prompt("t"), heads="L1H0", delta=0.1, emotion="fear"),
        content(prompt("t"), heads="L1H1", delta=0.1, model="two"),
    ]
    named = files(*contents)
    made = attention_patterns(map(head_in, named), tmp_path / "plots")
    assert [path.name for path in made] == [
        "attention_patterns_one_joy_L0H1.png",
        "attention_patterns_one_fear_L1H0.png",
        "attention_patterns_two_joy_L1H1.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in made)
    only = attention_patterns(map(head_in, named), tmp_path / "more", emotion="fear")
    assert only == [tmp_path / "more/attention_patterns_one_fear_L1H0.png"]
    assert attention_patterns([], tmp_path) == []


def test_heads_that_do_the_most_are_drawn_and_no_more_than_two(files, tmp_path):
    names = ("L0H0", "L0H1", "L1H0", "L1H1")
    named = files(*(content(prompt("t"), heads=name, delta=i / 9) for i, name in enumerate(names)))
    effects = {("one", "joy", name): effect
               for name, effect in zip(names, (9.0, 1.0, 5.0, 4.0), strict=True)}  # fmt: skip

    def drawn(known):
        made = attention_patterns(map(head_in, named), tmp_path, effects=known)
        return [path.stem.rpartition("_")[2] for path in made]

    assert drawn(effects) == ["L0H0", "L1H0"]
    # What is far below the first is not beside it; heads without an effect come last.
    assert drawn({("one", "joy", "L1H0"): 1.0, ("one", "joy", "L0H1"): 0.1}) == ["L1H0"]
    assert drawn({("two", "joy", "L0H0"): 9.0}) == ["L1H1"]


def test_names_of_files_are_fit_for_files(files, tmp_path):
    (made,) = attention_patterns(
        map(head_in, files(content(prompt("t"), model="../a/b"))), tmp_path / "plots"
    )
    assert made.parent == tmp_path / "plots" and made.is_file()


def test_effects_are_those_of_ablation_else_of_patching_else_scores():
    ablated = [
        row
        for kind, mean in (("zero", -1.0), ("mean", -3.0))
        for row in rows_of("head_ablation", {"logit_diff": [mean] * 8}, heads="L0H0", ablation=kind)
    ]
    patched = [
        row
        for emotion in ("joy", "fear")
        for row in rows_of(
            "head_patching",
            {"direction": "noise", "logit_diff": [5.0] * 8},
            heads="L0H1",
            emotion=emotion,
        )
    ]
    scores = {
        "model": "one",
        "scores": [
            {"layer": 2, "head": 3, "emotion": emotion, "atp_ig": -7.0}
            for emotion in ("joy", "fear", "envy")
        ]
        + [{"layer": 1, "head": 1, "emotion": "envy", "atp_ig": None}],
    }
    assert effects_of(ablated, patched, [scores]) == {
        ("one", "joy", "L0H0"): 3.0,
        ("one", "fear", "L0H1"): 5.0,
        ("one", "envy", "L2H3"): 7.0,
    }


def test_of_long_prompts_what_is_left_out_stands_together(tmp_path, figure):
    count = 400
    weights = [0.0] * count
    weights[200], weights[300], weights[301], weights[303] = 0.4, 0.3, 0.0, 0.1
    weights[390] = 0.05
    tokens = [f"t{i}" for i in range(count)]
    long = {
        "emotion_tokens": tokens,
        "neutral_tokens": tokens,
        "emotion_attention": weights,
        "neutral_attention": [1 / count] * count,
        "slot": [300, 302],
    }
    (panel,) = figure(attention_pattern, content(long), tmp_path / "x.png").axes
    labels = [label.get_text() for label in panel.get_xticklabels()]
    assert len(labels) < 80 and {"t0", "t200", "t299", "t300", "t301", "t399", "…"} <= {*labels}
    assert labels[-1] == "t399" and labels.index("t299") + 1 == labels.index("t300")
    for side, total in (("emotion", sum(weights)), ("neutral", 1.0)):
        heights = [
            bar.get_height()
            for found in panel.containers
            for bar in found
            if found.get_label() == side
        ]
        assert len(heights) == len(labels) and sum(heights) == pytest.approx(total)


def test_a_png_that_repeats_and_differs_with_its_weights(tmp_path):
    out = tmp_path / "out.png"
    first = attention_pattern(content(prompt("t")), out).read_bytes()
    assert attention_pattern(content(prompt("t")), out).read_bytes() == first
    assert attention_pattern(content(prompt("t", first=0.3)), out).read_bytes() != first


def test_the_first_pair_of_each_template_is_drawn(tmp_path, figure):
    prompts = [prompt(name, first=first) for name, first in
               (("a", 0.1), ("a", 0.4), ("b", 0.2), ("c", 0.3), ("d", 0.4))]  # fmt: skip
    drawn = figure(attention_pattern, content(*prompts), tmp_path / "x.png")
    assert [panel.patches[0].get_height() for panel in drawn.axes] == [0.1, 0.2, 0.3]
    assert drawn.axes[0].get_title() == "one, joy, L0H0"
    two = figure(attention_pattern, content(*prompts), tmp_path / "x.png", shown=2)
    assert len(two.axes) == 2
    # Free of templates, every pair is the first of its own.
    bare = content(prompt(first=0.1), prompt(first=0.4))
    assert len(figure(attention_pattern, bare, tmp_path / "x.png").axes) == 2


def test_tokens_that_differ_stand_above_each_other_and_are_shown_as_they_are(tmp_path, figure):
    emotion = ("$x_1$", "a\nb", "very-long-token-indeed")
    neutral = ("$x_1$", "\\frac", "very-long-token-indeed")
    drawn = figure(attention_pattern, content(prompt("t", emotion, neutral)), tmp_path / "x.png")
    labels = [label.get_text() for label in drawn.axes[0].get_xticklabels()]
    assert labels == ["$x_1$", "a\\nb\n\\\\frac", "very-lo…indeed"]


def test_hostile_tokens_are_drawn(tmp_path):
    tokens = (HOSTILE, "$\\frac{$", "$" * 40)
    out = attention_pattern(content(prompt("t", tokens, tokens)), tmp_path / "x.png")
    assert out.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"provenance": {}, "prompts": []}'])
def test_a_damaged_file_of_an_item_is_named(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="not a file of exp_attention_patterns"):
        attention_patterns(map(head_in, [path]), tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.json: no such file; run it first"):
        head_in(tmp_path / "nowhere.json")
