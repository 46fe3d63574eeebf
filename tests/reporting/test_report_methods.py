"""The paragraph for a paper: every figure that the rows tell, and none that they do not."""

from __future__ import annotations

from dataclasses import replace

from made import HOSTILE, around, rows_of

from emolib.reporting.report_methods import methods, references
from emolib.reporting.report_study import Setup

TOLD = {
    "model": {"id": "org/one", "type": "gpt2", "weights": "w1", "tokenizer": "t1"},
    "shape": {"layers": 4, "heads": 2}, "prompts": "h1", "seed": 3, "position": "last",
    "versions": {"torch": "2.9", "emolib": "0.1.0", "python": "3.11"}, "left_out": [["p9", "long"]],
    "max_new_tokens": 16, "dtype": "float32", "device": "cpu", "commit": "abc", "verify": "5",
}  # fmt: skip


def seen(*rows, **told):
    setup = Setup()
    for row in rows:
        setup.see(replace(row, provenance=TOLD | told))
    return setup


def text_of(setup, *experiments):
    title, where, text = methods(setup, experiments)
    assert title == "## Methods" and "(references.bib)" in where
    return text


def test_the_paragraph_has_the_figures_that_a_paper_needs():
    rows = rows_of("head_ablation", {"logit_diff": around(1)}, ablation="zero", heads="L0H0")
    rows += rows_of("head_ablation", {"logit_diff": around(1)}, ablation="mean", heads="L0H0",
                    emotion="fear")  # fmt: skip
    text = text_of(seen(*rows), "head_ablation")
    assert text.startswith("emolib 0.1.0, commit abc, was run on one (gpt2, 4 × 2 heads, weights ")
    assert "For joy and fear, each 8 emotion prompts stood beside their neutral partners" in text
    assert "made from 8 templates (two pairs left out)." in text
    assert "ablated one at a time (zero and mean), at the position last." in text
    assert "of up to 16 tokens" in text and "B = 10,000" in text and "262,144" in text
    assert text.endswith("Run with seed 3, python 3.11, torch 2.9, float32 on cpu.")
    assert "patched" not in text and "Probes" not in text and "Circuits" not in text


def test_each_experiment_that_was_run_has_its_sentence():
    setup = seen(*rows_of("x", {"a": around(1)}))
    names = ("head_patching", "head_screening", "circuit_summary", "head_probe", "steering")
    text = text_of(setup, *names)
    for said in ("(denoise, noise)", "5 of them verified", "Circuits were", "Probes were",
                 "Steering added"):  # fmt: skip
        assert said in text, said
    assert "Heads were ablated" not in text


def test_rows_that_tell_nothing_give_no_figure():
    text = text_of(Setup())
    assert "was run on the models." in text and "Run with" not in text and "None" not in text


def test_hostile_names_are_shown_as_they_are():
    (row,) = rows_of("x", {"a": 1.0}, model=HOSTILE)
    text = text_of(seen(row, commit="<b>"))
    assert "<script>" not in text and "<b>" not in text


def test_what_to_cite_is_of_the_version_that_made_the_numbers():
    setup = seen(*rows_of("head_probe", {"a": 1.0}), versions={"emolib": "9.9"})
    text = references(setup, ["head_probe"])
    assert "version = {9.9}" in text and "belinkov2022" in text and "zhang2023" not in text
