from __future__ import annotations

import pytest
from made import PAIRS, TEMPLATES, make_results

from emolib.reporting.effect_plots import share_significant
from emolib.results.effects import names, read_effects, strongest


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return make_results(tmp_path_factory.mktemp("results"), models=("one",))


def test_ablation_is_read_as_it_was_recorded(results):
    effects = read_effects(sorted((results / "patching/head_ablation").glob("*.json")))
    assert len(effects) == 2 * 4 * 3
    effect = next(e for e in effects if (e.emotion, e.heads, e.kind) == ("joy", "L1H0", "zero"))
    assert (effect.experiment, effect.model, effect.position) == ("head_ablation", "one", "last")
    assert effect.layer == 1 and effect.templates == TEMPLATES
    assert len(effect.vectors["logit_diff"]) == PAIRS == len(effect.texts["ablated_text"])
    mean = sum(effect.vectors["logit_diff"]) / PAIRS
    assert effect.mean("logit_diff") == pytest.approx(mean)
    low, high = effect.interval("logit_diff")
    assert low < mean < high and effect.interval("missing") is effect.mean("missing") is None
    assert strongest(effects, "logit_diff", 2)[0] == "L1H0"
    assert set(names(effects, "kind")) == {"mean", "resample", "zero"}


def test_patching_has_an_effect_a_direction_and_position(results):
    (path,) = (results / "patching/head_patching").glob("one_joy_L0H0.json")
    effects = read_effects([path])
    assert [(e.kind, e.position) for e in effects] == [
        ("denoise", "last"), ("denoise", "slot"), ("noise", "last"), ("noise", "slot")
    ]  # fmt: skip
    assert effects[0].mean("recovery") is None


def test_the_share_of_heads_that_count(results):
    files = sorted((results / "patching/head_ablation").glob("one_joy_*-zero.json"))
    assert 0.25 <= share_significant(read_effects(files)) < 1
    assert share_significant([]) == 0
