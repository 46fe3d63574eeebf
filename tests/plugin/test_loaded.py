"""What is in memory: models and studies, and of each study what was computed, once."""

from __future__ import annotations

import gc
import weakref

import pytest
from pytest_emolib import loaded as module
from pytest_emolib.cases import Case
from pytest_emolib.fixture_table import FIXTURES
from pytest_emolib.loaded import Loaded

from emolib.inputs.emotions import load_emotion
from emolib.inputs.heads import HeadSet, Top, parse_head
from emolib.inputs.profiles import load_profile
from emolib.inputs.units import UnitSet, parse_unit
from emolib.interventions import zero
from emolib.methods import attention, attribution, screening, unit_scores, unit_screening
from emolib.models.sources import find

HEADS = HeadSet((parse_head("0:1"),))
UNITS = UnitSet((parse_unit("0:1"),))


@pytest.fixture
def loaded(gratitude):
    profile = load_profile("demo").override(max_new_tokens=2)
    return Loaded(profile, {"gratitude": gratitude, "anger": load_emotion(profile, "anger")})


@pytest.fixture
def large(monkeypatch):
    """Have what is small pass for large."""
    monkeypatch.setattr(module, "ROOM", 1000)


@pytest.fixture
def neo():
    return find("tiny-neo")


@pytest.fixture
def calls(monkeypatch):
    """Note what is computed, in place of computing it."""
    seen = []

    def counted(module, name, result):
        def compute(*args):
            seen.append(name)
            return result

        monkeypatch.setattr(module, name, compute)

    class Ranked:
        ranking, reliability = ["head"], 0.9

        def unit(self, rank):
            return parse_unit(f"1:{rank}")

    class Scores:
        def ranking(self):
            return Ranked()

    counted(screening, "screen", Ranked())
    counted(attention, "last_attention", "attention")
    counted(attribution, "ranking", ([parse_head("1:3"), parse_head("0:0")], None))
    counted(unit_scores, "unit_scores", Scores())
    units = type("Units", (), {"ranking": Ranked()})
    counted(unit_screening, "screen_units", units)
    return seen


def test_of_large_ones_one_model_and_one_study_are_kept(loaded, neo, large):
    study = loaded.study(neo, "gratitude")
    assert loaded.study(neo, "gratitude") is study is loaded.made(neo, "gratitude")
    assert study.model is loaded.model(neo)
    other = loaded.study(neo, "anger")
    assert other.model is study.model and loaded.made(neo, "gratitude") is None
    assert loaded.model(find("tiny-gpt2")) is not study.model
    assert loaded.made(neo, "anger") is None and loaded.made(None, "anger") is None


def test_small_models_and_studies_stay(loaded, neo):
    study, gpt2 = loaded.study(neo, "gratitude"), find("tiny-gpt2")
    other = loaded.study(neo, "anger"), loaded.study(gpt2, "gratitude")
    assert loaded.study(neo, "gratitude") is study and loaded.study(neo, "anger") is other[0]
    assert [model.name for model in loaded.models] == ["tiny-neo", "tiny-gpt2"]
    loaded.forget("tiny-gpt2")
    assert loaded.made(gpt2, "gratitude") is None and loaded.made(neo, "anger") is other[0]
    assert loaded.study(gpt2, "gratitude") is not other[1]


def test_in_half_precision_one_study_is_kept(gratitude, neo):
    profile = load_profile("demo").override(dtype="bfloat16")
    loaded = Loaded(profile, {"gratitude": gratitude, "anger": load_emotion(profile, "anger")})
    loaded._half = lambda source: None
    loaded.study(neo, "gratitude"), loaded.study(neo, "anger")
    assert loaded.made(neo, "gratitude") is None


def test_of_a_study_that_another_came_after_what_runs_said_is_forgotten(loaded, neo):
    study = loaded.study(neo, "gratitude")
    effect, clean = study.run(zero(HEADS)), study.run()
    said = effect.logit_diff, effect.fluency, clean.texts
    runner = study.runner
    assert runner._scores.found and runner._texts.found and runner._log_probs
    loaded.study(neo, "gratitude")
    assert runner._scores.found
    loaded.study(neo, "anger")
    assert not (runner._scores.found or runner._texts.found or runner._log_probs)
    again = loaded.study(neo, "gratitude").run(zero(HEADS))
    assert loaded.study(neo, "gratitude").run() is clean
    assert again.logit_diff == pytest.approx(said[0], abs=1e-5)
    assert again.fluency == pytest.approx(said[1], abs=1e-5) and clean.texts == said[2]


def test_each_thing_is_computed_once(loaded, neo, calls):
    study = loaded.study(neo, "gratitude")
    for _ in range(2):
        loaded.screening(study)
        loaded.attention(study)
        loaded.unit_screening(study)
    assert calls == ["screen", "last_attention", "screen_units"]


def test_screening_has_made_the_rankings_already(loaded, neo, calls):
    study = loaded.study(neo, "gratitude")
    loaded.screening(study)
    assert loaded.ranking(neo, "gratitude") == (["head"], 0.9)
    screened = loaded.unit_screening(study)
    assert loaded.unit_ranking(neo, "gratitude") is screened.ranking
    assert calls == ["screen", "screen_units"]


def test_what_is_large_goes_with_the_study_and_what_is_small_stays(loaded, neo, calls, large):
    study = loaded.study(neo, "gratitude")
    loaded.screening(study), loaded.attention(study), loaded.unit_screening(study)
    loaded.ranking(neo, "gratitude")
    loaded.study(neo, "anger")
    calls.clear()
    study = loaded.study(neo, "gratitude")
    loaded.screening(study), loaded.attention(study), loaded.unit_screening(study)
    loaded.ranking(neo, "gratitude"), loaded.unit_ranking(neo, "gratitude")
    assert calls == ["screen", "last_attention"]


def test_ranks_are_looked_up(loaded, neo, calls):
    case = Case(neo, "gratitude", Top(2), Top(4))
    assert str(loaded.heads(case)) == "L0H0" and str(loaded.units(case)) == "L1U4"
    loaded.heads(case), loaded.units(case)
    assert calls == ["ranking", "unit_scores"]
    named = Case(neo, "gratitude", HEADS, UNITS)
    assert (loaded.heads(named), loaded.units(named)) == (HEADS, UNITS)


@pytest.mark.parametrize("name", [name for name, fixture in FIXTURES.items() if fixture.edits])
def test_every_set_that_is_edited_can_be_made_of_a_case(loaded, neo, monkeypatch, name):
    monkeypatch.setattr(unit_scores, "activity", lambda study: None)
    monkeypatch.setattr(unit_scores, "matched", lambda units, active, seed: "others")
    study = loaded.study(neo, "gratitude")
    expected = {"heads": HEADS, "units": UNITS, "matched_units": "others"}
    assert loaded.edited(name, Case(neo, "gratitude", HEADS, UNITS), study) == expected[name]
    assert loaded.edited(name, Case(neo, "gratitude"), study) is None


def test_a_set_that_is_not_known_is_a_mistake(loaded, neo):
    with pytest.raises(AssertionError, match="mlps"):
        loaded.edited("mlps", Case(neo, "gratitude"), loaded.study(neo, "gratitude"))


def test_of_a_study_that_is_let_go_of_nothing_stays(loaded, neo, large):
    study = loaded.study(neo, "gratitude")
    study.run(zero(HEADS)).logit_diff, study.reference.z[0]
    gone = [weakref.ref(held) for held in (study, study.runner, study.reference)]
    del study
    gc.disable()
    try:
        loaded.study(neo, "anger")
        assert [held() for held in gone] == [None] * 3
    finally:
        gc.enable()
