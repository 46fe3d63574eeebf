"""The fixtures of experiments. What they need is imported inside, when an experiment runs.

An assertion here is the plugin's own and is not rewritten, however pytest came to load it:
PYTEST_DONT_REWRITE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pytest_emolib.fixture_table import DIMS
from pytest_emolib.recorded import check_alike
from pytest_emolib.reports import RECORDED
from pytest_emolib.session import ExperimentSession, session_of

if TYPE_CHECKING:
    from emolib.engine.traced import PlacedTrace
    from emolib.inputs.emotions import Emotion
    from emolib.inputs.heads import Head, HeadSet
    from emolib.inputs.profiles import Ablation, Profile
    from emolib.inputs.targets import Targets
    from emolib.inputs.units import UnitSet
    from emolib.interventions import Intervention
    from emolib.methods.attention import LastAttention
    from emolib.methods.circuit_records import Circuits
    from emolib.methods.controls import Controlled
    from emolib.methods.patching import Patched
    from emolib.methods.paths import HeadPath
    from emolib.methods.readouts import Readout
    from emolib.methods.repair import SelfRepair
    from emolib.methods.screening import Screening
    from emolib.methods.specificity import Specificity
    from emolib.methods.steering import Steering
    from emolib.methods.study import Study
    from emolib.methods.unit_screening import UnitScreening
    from emolib.models.encoding import AlignedPairs, Prompts
    from emolib.models.language_model import LanguageModel
    from emolib.models.sources import Source
    from pytest_emolib.cases import Case
    from pytest_emolib.lab import Lab


_COLUMNS = {"item", *DIMS}


def _lab(request: pytest.FixtureRequest) -> Lab:
    return session_of(request.config).lab


@pytest.fixture
def emolib_case(request: pytest.FixtureRequest) -> Case:
    """What the item runs on; experiments ask for its parts."""
    case: Case = request.param
    return case


@pytest.fixture
def profile(request: pytest.FixtureRequest) -> Profile:
    """The profile, with the command line over it."""
    return _lab(request).profile


@pytest.fixture
def model_source(emolib_case: Case) -> Source:
    """Where the item's model comes from: its name, folder and shape; no weights."""
    assert emolib_case.source is not None
    return emolib_case.source


@pytest.fixture
def emotion(request: pytest.FixtureRequest, emolib_case: Case) -> Emotion:
    """The item's emotion: lexicon and prompts."""
    assert emolib_case.emotion is not None
    return _lab(request).emotions[emolib_case.emotion]


@pytest.fixture
def heads(request: pytest.FixtureRequest, emolib_case: Case) -> HeadSet:
    """The item's heads, edited together."""
    return _lab(request).loaded.heads(emolib_case)


@pytest.fixture
def head(heads: HeadSet) -> Head:
    """The item's one head; joint sets come head by head."""
    return heads.heads[0]


@pytest.fixture
def units(request: pytest.FixtureRequest, emolib_case: Case) -> UnitSet:
    """The item's MLP units, edited together."""
    return _lab(request).loaded.units(emolib_case)


@pytest.fixture
def matched_units(request: pytest.FixtureRequest, study: Study, units: UnitSet) -> UnitSet:
    """As many random units of the same layers, about as active: what to compare `units` with."""
    return _lab(request).loaded.matched_units(study, units)


@pytest.fixture
def ablation_kind(emolib_case: Case) -> Ablation:
    """The item's kind of ablation: zero, mean, resample or optimal."""
    assert emolib_case.ablation is not None
    return emolib_case.ablation


@pytest.fixture
def model(request: pytest.FixtureRequest, model_source: Source) -> LanguageModel:
    """The item's model; ``Trace(model.hf, …)`` works on it."""
    return _lab(request).loaded.model(model_source)


@pytest.fixture
def traced(model: LanguageModel) -> Callable[..., PlacedTrace]:
    """Open a trace on the item's model.

    ``with traced("resid:2", edit_output=f) as t:`` reads and edits what is there while it is open.
    Places are ``resid``, ``attn``, ``z``, ``mlp`` and ``units`` with a layer, alike in every
    architecture, or the path of a module. A run that is asked for inside belongs to the trace.
    """
    from emolib.engine.traced import traced

    return partial(traced, model)


@pytest.fixture
def study(request: pytest.FixtureRequest, model_source: Source, emotion: Emotion) -> Study:
    """The item's model on its emotion's prompts."""
    return _lab(request).study(request.node, model_source, emotion.name)


@pytest.fixture
def pairs(study: Study) -> AlignedPairs:
    """The pairs that align under the model's tokenizer."""
    return study.pairs


@pytest.fixture
def prompts(study: Study) -> Prompts:
    """The emotion prompts."""
    return study.prompts("emotion")


@pytest.fixture
def run(study: Study) -> Callable[..., Readout]:
    """``run()`` is the clean run, ``run(zero(head))`` one under interventions.

    ``run(…, on="neutral")`` runs the neutral prompts.
    """
    return study.run


@pytest.fixture
def ablation(study: Study, ablation_kind: Ablation) -> Callable[[Targets], Intervention]:
    """From heads or units to their ablation, of the kind the item is for."""
    return study.ablation(ablation_kind)


@pytest.fixture
def patched(study: Study) -> Callable[..., Iterator[Patched]]:
    """From heads or units to their patching runs, both ways at every position.

    ``patched(heads, ["last"])`` patches there alone.
    """
    from emolib.methods.patching import patched

    return partial(patched, study)


@pytest.fixture
def self_repair(study: Study) -> Callable[..., SelfRepair]:
    """From an intervention to its direct effect, and what the model repairs of it."""
    from emolib.methods.repair import self_repair

    return partial(self_repair, study)


@pytest.fixture
def paths(study: Study, emolib_case: Case, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """From heads to the paths between them and to the logits; ``paths()`` of the strongest.

    ``paths(freeze_mlps=True)`` holds the MLPs on the way.
    """
    from emolib.methods.paths import head_paths

    def found(heads: Sequence[Head] | None = None, *, freeze_mlps: bool = False) -> list[HeadPath]:
        if heads is None:
            assert emolib_case.source is not None and emolib_case.emotion is not None
            ranked, _ = _lab(request).loaded.ranking(emolib_case.source, emolib_case.emotion)
            heads = ranked[: study.profile.strongest]
        return head_paths(study, heads, freeze_mlps=freeze_mlps)

    return found


@pytest.fixture
def screening(request: pytest.FixtureRequest, study: Study) -> Screening:
    """The screening scores of every head of the model on the emotion's pairs."""
    return _lab(request).loaded.screening(study)


@pytest.fixture
def unit_screening(request: pytest.FixtureRequest, study: Study) -> UnitScreening:
    """The scores of every MLP unit on the emotion's pairs, the strongest confirmed."""
    return _lab(request).loaded.unit_screening(study)


@pytest.fixture
def attention(request: pytest.FixtureRequest, study: Study) -> LastAttention:
    """Where every head of the model looks from the last token of the emotion's pairs."""
    return _lab(request).loaded.attention(study)


@pytest.fixture
def steering(study: Study) -> Steering:
    """Emotion directions in doses, beside random ones: ``for dose in steering``.

    A dose has a `clean` run and its `run`, on prompts that took no part in the directions.
    """
    from emolib.methods.steering import steering

    return steering(study)


@pytest.fixture
def controls(study: Study, emolib_case: Case, request: pytest.FixtureRequest) -> list[Controlled]:
    """The strongest heads of screening, each beside its controls."""
    from emolib.methods.controls import controls

    assert emolib_case.source is not None and emolib_case.emotion is not None
    heads, _ = _lab(request).loaded.ranking(emolib_case.source, emolib_case.emotion)
    return controls(study, heads[: study.profile.strongest])


@pytest.fixture
def circuit(request: pytest.FixtureRequest, study: Study) -> Circuits:
    """How much of the emotion sets of heads carry, and how few of them are enough."""
    return _lab(request).loaded.circuit(study)


@pytest.fixture
def specificity(
    request: pytest.FixtureRequest, study: Study, model_source: Source, heads: HeadSet
) -> Specificity:
    """What ablating the item's heads does to every emotion's words, and on their own prompts."""
    return _lab(request).across.specificity(study, model_source, heads)


@pytest.fixture
def probe(
    request: pytest.FixtureRequest, study: Study, model_source: Source
) -> Callable[[Head], dict[str, Any]]:
    """From a head to what linear probes of its z tell, and what ablating it does.

    ``record(**probe(head))``; emotion against neutral, and which emotion of the profile's.
    """
    return partial(_lab(request).across.probed, study, model_source)


@pytest.fixture
def record() -> Callable[..., None]:
    """``record(logit_diff=…, note=…)`` adds a row to the results.

    A value is a number, None, a vector with a number per prompt (tables show its mean, 95 % CI, n
    and d_z), a text, or a list with a text per prompt. ``study=`` names the study of whose prompts
    they are, where that is not the item's own. Each call is a row; those of an item have some
    metric in common.
    """
    # Not by the fixture request: pytest takes as long to give one as all of recording takes.
    session = ExperimentSession.current()
    item: Any = session.item
    rows: list[dict[str, Any]] = item.stash.setdefault(RECORDED, [])
    rows.clear()

    def record(*, study: Study | None = None, **values: Any) -> None:
        if not values:
            raise TypeError("record(): expected values by name, as in record(logit_diff=…)")
        if study is not None and not hasattr(study, "prompts"):
            raise TypeError(f"record(study=…): expected a study, got {type(study).__name__}")
        for name in _COLUMNS & values.keys():
            raise TypeError(f"record({name}=…): tables have a column {name}; take another name")
        asked = "study" in item.fixturenames
        own = item._request.getfixturevalue("study") if asked else None
        row = session.lab.rows.sorted(values, own, study)
        check_alike(rows, row)
        rows.append(row)

    return record
