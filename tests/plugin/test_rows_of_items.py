"""What a row follows from: all that decides numbers is in its key, and nothing else is."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
from classifier_files import save_classifier
from pytest_emolib.cases import Case
from pytest_emolib.items import full_dims
from pytest_emolib.rows import context_of

from emolib.files import hash_json
from emolib.inputs.emotions import load_emotion
from emolib.inputs.heads import HeadSet, Top, parse_head
from emolib.inputs.profiles import SETTINGS, Profile, load_profile
from emolib.inputs.units import UnitSet, parse_unit

# By field another value than the demo profile's.
OTHER = {
    "position": "all",
    "max_new_tokens": 3,
    "seed": 5,
    "draws": 11,
    "verify": 2,
    "steering_doses": (0.5,),
    "steering_layers": ("0",),
    "steering_heads": 1,
    "steering_prompts": 3,
    "circuit_ablation": "zero",
    "circuit_draws": 4,
    "circuit_greedy": 2,
    "probe_folds": 3,
    "probe_swaps": 9,
    "patch_generated": True,
    "chat": True,
    "system": "Be kind.",
    "dtype": "float64",
    "device": "cuda",
    "batch_size": 7,
    "name": "other",
    "effects": {"gated": {"tiny-gpt2": ("L0H0",)}},
    "architectures": {"mine": {"layers": "model.layers"}},
    "heads": ("0:0",),
    "units": ("0:0",),
    "ablations": ("mean",),
    "models": ("tiny-neo",),
}
SOURCE = SimpleNamespace(name="m", weights_hash="w", config_hash="c", tokenizer_hash="t")


@pytest.fixture(scope="module")
def demo():
    return load_profile("demo")


@pytest.fixture
def context(demo, pytestconfig):
    """Give the context of an item on a model and gratitude, under a profile."""

    def found(profile, source=SOURCE, emotion="gratitude", file=__file__):
        emotions = {name: load_emotion(profile, name) for name in profile.emotions}
        case = Case(source, emotion)
        return context_of(pytestconfig, profile, emotions, case, pytestconfig.rootpath / file)

    return found


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Profile)])
def test_the_context_follows_from_the_fields_that_say_so(demo, context, field, tmp_path):
    """A new field fails here until it is said what follows from it, and is shown to."""
    says = Profile.__dataclass_fields__[field].metadata["follows"]
    if field in ("root", "files", "emotions"):
        # Other files: of the pairs, or of a lexicon that texts are read with.
        text = demo.path("pairs", "gratitude").read_text("utf-8").replace("{slot}", "{slot} ,")
        (tmp_path / "pairs").mkdir()
        (tmp_path / "pairs/gratitude.json").write_text(text, "utf-8")
        files = {("pairs", "gratitude"): tmp_path / "pairs/gratitude.json"}
        OTHER.update(root=tmp_path, files=files, emotions=demo.emotions[:2])
    if field == "classifiers":
        OTHER[field] = (str(save_classifier(tmp_path / "mood")),)
    changed = dataclasses.replace(demo, **{field: OTHER[field]})
    assert getattr(changed, field) != getattr(demo, field)
    moved = context(changed) != context(demo)
    # Texts are read with the lexicons of all emotions, so that those are in the context too.
    assert moved == (says in ("value", "content") or field == "emotions")


def test_a_ranking_of_heads_counts_by_its_content_for_its_emotion(demo, context, tmp_path):
    path = tmp_path / "own.json"
    path.write_text('["L0H0"]', "utf-8")
    changed = dataclasses.replace(demo, files={("ranking", "gratitude"): path})
    first = context(changed)
    assert first != context(demo) and context(changed, emotion="anger") == context(
        demo, emotion="anger"
    )
    path.write_text('["L0H1"]', "utf-8")
    assert context(changed) not in (first, context(demo))


def test_the_settings_are_those_whose_values_count():
    marked = [f.name for f in dataclasses.fields(Profile) if f.metadata["follows"] == "value"]
    assert list(SETTINGS) == marked


@pytest.mark.parametrize(
    ("field", "case"),
    [
        ("models", Case(SimpleNamespace(name="n"))),
        ("emotions", Case(emotion="anger")),
        ("heads", Case(heads=HeadSet((parse_head("0:1"),)))),
        ("heads", Case(heads=Top(1))),
        ("units", Case(units=UnitSet((parse_unit("0:1"),)))),
        ("ablations", Case(ablation="mean")),
    ],
)
def test_what_items_differ_in_is_in_the_key_of_each(field, case):
    assert Profile.__dataclass_fields__[field].metadata["follows"] == "item"
    assert hash_json(full_dims(case)) != hash_json(full_dims(Case()))


def test_the_context_follows_from_the_model_and_the_code(demo, context, tmp_path):
    base = context(demo)
    for part in ("weights_hash", "config_hash", "tokenizer_hash"):
        other = SimpleNamespace(**vars(SOURCE) | {part: "x"})
        assert context(demo, source=other) != base, part
    assert context(demo, source=SimpleNamespace(**vars(SOURCE) | {"name": "n"})) == base
    file = tmp_path / "exp_one.py"
    file.write_text("1", "utf-8")
    before = context(demo, file=file)
    (tmp_path / "exp_two.py").write_text("another experiment", "utf-8")
    assert context(demo, file=file) == before
    (tmp_path / "helper.py").write_text("what it may import", "utf-8")
    assert context(demo, file=file) != before
