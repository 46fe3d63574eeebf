"""Which items a function becomes, and what they are called."""

from __future__ import annotations

import re

import pytest
from folders import ids
from pytest_emolib.cases import NAMED, Case, Cases, set_name

from emolib.errors import InputError
from emolib.inputs.heads import HeadSet, Top, parse_head
from emolib.inputs.profiles import load_profile
from emolib.inputs.units import UnitSet, parse_unit
from emolib.models.sources import find

SMALL = ["tiny-neo-gratitude-L2H0", "tiny-neo-gratitude-L3H1", "tiny-neo-gratitude-L0H0+L0H1"]


def test_ids_are_what_a_person_would_type(folder):
    result = folder.pytest("--collect-only", "-q")
    assert ids(result) == SMALL
    assert result.outlines[0] == "exp_effect.py::exp_effect[tiny-neo-gratitude-L2H0]"
    assert not folder.results().exists()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [("gratitude", SMALL), ("L3H1", SMALL[1:2]), ("not L3H1", [SMALL[0], SMALL[2]]), ("anger", [])],
)
def test_k_selects_by_the_parts_of_an_id(folder, expression, expected):
    assert ids(folder.pytest("--collect-only", "-q", "-k", expression)) == expected


def test_options_go_over_the_profile(folder):
    result = folder.pytest(
        "--collect-only", "-q", "--model", "tiny-gpt2", "--model", "tiny-neox",
        "--head-spec", "layer:1", "--head-spec", "1:0",
    )  # fmt: skip
    heads = ["L1H0", "L1H1", "L1H2", "L1H3"]
    assert ids(result) == [
        f"{model}-gratitude-{head}" for model in ("tiny-gpt2", "tiny-neox") for head in heads
    ]


def test_kinds_of_ablation_show_in_the_id_except_zero(folder):
    folder.write("exp_effect.py", "def exp_kinds(ablation, heads, record): pass")
    result = folder.pytest(
        "--collect-only", "-q", "--head-spec", "2:0", "--ablation", "zero", "--ablation", "mean",
        "--ablation", "resample",
    )  # fmt: skip
    name = "tiny-neo-gratitude-L2H0"
    assert ids(result) == [name, f"{name}-mean", f"{name}-resample"]


def test_a_function_of_one_head_sees_joint_sets_head_by_head(folder):
    folder.write("exp_effect.py", "def exp_one(head, record): record(head=str(head), n=1)")
    result = folder.pytest("--head-spec", "0:0,0:1", "--head-spec", "0:1")
    result.assert_outcomes()
    assert [row["labels"]["head"] for row in folder.rows()] == ["L0H0", "L0H1"]
    assert [row["item"].partition("[")[2] for row in folder.rows()] == [
        "tiny-neo-L0H0]",
        "tiny-neo-L0H1]",
    ]


def test_a_large_joint_set_gets_a_short_stable_name(folder):
    spec = ",".join(f"{layer}:{head}" for layer in (0, 1) for head in range(4))
    first = ids(folder.pytest("--collect-only", "-q", "--head-spec", spec))
    turned = ids(
        folder.pytest("--collect-only", "-q", "--head-spec", ",".join(spec.split(",")[::-1]))
    )
    assert first == turned
    assert first[0].startswith("tiny-neo-gratitude-8heads-") and len(first[0]) < 40


def test_fixtures_decide_what_an_item_runs_on(folder):
    folder.write(
        "exp_effect.py",
        """
        def exp_nothing(record): record(n=1)
        def exp_profile(profile, record): record(seed=profile.seed)
        def exp_emotion(emotion, record): record(words=len(emotion.lexicon.words))
        def exp_model(model_source, record): record(layers=model_source.n_layers)
        """.replace("\n        ", "\n"),
    )
    result = folder.pytest("-v", "--model", "tiny-neo", "--model", "tiny-gpt2")
    names = [row["item"].partition("::")[2] for row in folder.rows()]
    assert names == [
        "exp_nothing",
        "exp_profile",
        "exp_emotion[gratitude]",
        "exp_model[tiny-neo]",
        "exp_model[tiny-gpt2]",
    ]
    result.stdout.fnmatch_lines(["*::exp_emotion[[]gratitude] RECORDED*", "*5 recorded in *"])


def test_parameters_of_the_users_own_join_the_id(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest
from emolib.interventions import scale

@pytest.mark.parametrize("factor", [0.5, 2.0])
def exp_scale(run, heads, factor, record):
    record(logit_diff=run(scale(heads, factor)).logit_diff - run().logit_diff)
""",
    )
    folder.pytest("--head-spec", "2:0")
    assert [row["item"].partition("::")[2] for row in folder.rows()] == [
        "exp_scale[tiny-neo-gratitude-L2H0-0.5]",
        "exp_scale[tiny-neo-gratitude-L2H0-2.0]",
    ]
    assert [row["dims"]["factor"] for row in folder.rows()] == ["0.5", "2.0"]
    half, double = (row["values"]["logit_diff"]["mean"] for row in folder.rows())
    assert half < 0 < double


def test_heads_of_the_users_own_replace_the_profiles(folder):
    folder.write(
        "exp_effect.py",
        """
import pytest
from emolib.inputs.heads import Head
from emolib.interventions import zero

@pytest.mark.parametrize("heads", [Head(2, 0)], ids=str)
def exp_mine(run, heads, record):
    record(logit_diff=run(zero(heads)).logit_diff)
""",
    )
    result = folder.pytest("--collect-only", "-q")
    assert ids(result) == ["tiny-neo-gratitude-L2H0"]


def test_top_heads_of_no_emotion(folder):
    folder.write("exp_effect.py", "def exp_it(model_source, head, record): record(n=1)\n")
    result = folder.pytest("--head-spec", "top:2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: head spec 'top:2': the top heads are those of an emotion, and a function asks for "
         "none; let it ask for the fixture emotion, or name heads"]
    )  # fmt: skip


def test_top_units_of_no_emotion(folder):
    folder.write("exp_effect.py", "def exp_it(model_source, units, record): record(n=1)\n")
    result = folder.pytest("--unit-spec", "top:2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: unit spec 'top:2': the top units are those of an emotion, and a function asks for "
         "none; let it ask for the fixture emotion, or name units"]
    )  # fmt: skip


NEO = find("tiny-neo")
ALL = ("model", "emotion", "heads", "units", "ablation")


def cases(**fields):
    """Give what functions become items of under a profile of these fields."""
    fields = {"models": ("tiny-neo",), "emotions": ("gratitude",), "heads": ("2:0",),
              "units": ("0:5",), "ablations": ("zero",)} | fields  # fmt: skip
    profile = load_profile("demo").override(**fields)
    return Cases(profile, {name: find(name) for name in profile.models})


def of(wanted, *marks, **fields):
    return [case.id for case in cases(**fields).of(wanted, [mark.mark for mark in marks])]


def heads(*names):
    return HeadSet(tuple(map(parse_head, names)))


def test_the_id_of_a_case_is_its_parts():
    case = Case(NEO, "joy", heads("3:1", "0:0"), UnitSet((parse_unit("1:7"),)), "mean")
    assert case.id == "tiny-neo-joy-L0H0+L3H1-L1U7-mean"
    assert list(case.dims.items()) == [
        ("model", "tiny-neo"), ("emotion", "joy"), ("heads", "L0H0+L3H1"), ("units", "L1U7"),
        ("ablation", "mean"),
    ]  # fmt: skip
    assert Case(NEO, heads=Top(2)).id == "tiny-neo-top2" and Case(emotion="joy").id == "joy"
    assert Case().id == "" and Case().dims == {}


@pytest.mark.parametrize(
    ("kind", "variant"), [(None, ""), ("zero", ""), ("mean", "-mean"), ("resample", "-resample")]
)
def test_the_kind_shows_in_an_id_but_for_the_one_that_goes_without_saying(kind, variant):
    assert Case(ablation=kind).variant == variant
    assert Case(NEO, ablation=kind).id == f"tiny-neo{variant}"
    # Where there is nothing else, zero is said too: items of one function have an id each.
    assert Case(ablation=kind).id == (kind or "")


def test_sets_of_up_to_six_go_by_their_members_and_larger_ones_by_a_hash():
    names = [f"{layer}:{head}" for layer in range(2) for head in range(4)]
    assert set_name(heads(*names[:NAMED]), "heads") == "L0H0+L0H1+L0H2+L0H3+L1H0+L1H1"
    seven = set_name(heads(*names[:7]), "heads")
    assert re.fullmatch(r"7heads-[0-9a-f]{6}", seven)
    assert set_name(heads(*names[6::-1]), "heads") == seven
    assert set_name(heads(*names[1:]), "heads") != seven
    units = UnitSet(tuple(map(parse_unit, names)))
    assert re.fullmatch(r"8units-[0-9a-f]{6}", set_name(units, "units"))
    assert set_name(Top(12), "heads") == "top12"


def test_a_function_that_asks_for_nothing_is_one_item_of_nothing():
    assert cases().of(["record", "tmp_path"], []) == [Case()]


def test_dimensions_are_crossed_in_their_order():
    found = of(ALL, heads=("2:0", "3:1"), units=("0:5", "0:6"), ablations=("zero", "mean"))
    assert found == [
        f"tiny-neo-gratitude-{head}-{unit}{kind}"
        for head in ("L2H0", "L3H1") for unit in ("L0U5", "L0U6") for kind in ("", "-mean")
    ]  # fmt: skip
    assert of(["study"], models=("tiny-neo", "tiny-gpt2"), emotions=("anger", "apology")) == [
        f"{model}-{emotion}" for model in ("tiny-neo", "tiny-gpt2")
        for emotion in ("anger", "apology")
    ]  # fmt: skip
    assert of(["ablation_kind"], ablations=("zero", "resample")) == ["zero", "resample"]


def test_joint_sets_come_whole_or_head_by_head():
    specs = ("0:0,0:1", "0:1,3:2", "top:1")
    asked = {"emotion", "model"}
    assert of({"heads"} | asked, heads=specs) == [
        f"tiny-neo-gratitude-{name}" for name in ("L0H0+L0H1", "L0H1+L3H2", "top1")
    ]
    # The head that two sets share is one item.
    assert of({"head"} | asked, heads=specs) == [
        f"tiny-neo-gratitude-{name}" for name in ("L0H0", "L0H1", "L3H2", "top1")
    ]


def test_what_two_specs_name_alike_is_one_item():
    found = of(["heads"], heads=("0:1", "layer:0", "L0H1"))
    assert found == [f"tiny-neo-L0H{index}" for index in (1, 0, 2, 3)]
    assert of(["units"], units=("0:5", "0:5,0:6", "L0U5")) == [
        "tiny-neo-L0U5",
        "tiny-neo-L0U5+L0U6",
    ]


@pytest.mark.parametrize(
    "mark",
    [
        pytest.mark.parametrize("heads", [1]),
        pytest.mark.parametrize("factor , heads", [(1, 2)]),
        pytest.mark.parametrize(["factor", "heads"], [(1, 2)]),
        pytest.mark.parametrize(argnames=("heads",), argvalues=[1]),
    ],
)
def test_what_the_user_parametrizes_is_not_of_the_case(mark):
    assert of(["run", "heads", "factor"], mark) == ["tiny-neo-gratitude"]
    assert of(["heads"], mark) == [""]
    assert of(["heads"], mark, pytest.mark.parametrize("units", [3])) == [""]


def test_ranks_are_those_of_an_emotion():
    assert of(["model", "emotion", "heads"], heads=("top:2",)) == [
        "tiny-neo-gratitude-top1", "tiny-neo-gratitude-top2",
    ]  # fmt: skip
    for what in ("head", "unit"):
        with pytest.raises(InputError) as error:
            of([f"{what}s"], **{f"{what}s": ("0:0", "top:2")})
        assert str(error.value) == (
            f"{what} spec 'top:2': the top {what}s are those of an emotion, and a function asks "
            f"for none; let it ask for the fixture emotion, or name {what}s"
        )


@pytest.mark.parametrize("name", ["heads", "units"])
def test_what_a_model_has_not_is_refused_before_any_function_is_seen(name):
    cases(**{name: ("top:2", "random:3", "3:0")}).check()
    with pytest.raises(
        InputError, match=rf"^{name[:-1]} spec '4:0': L4.0 does not exist, tiny-neo"
    ):
        cases(**{name: ("0:0", "4:0")}).check()


def mixture(**changes):
    """Give the cases of a model whose second layer alone has heads, and no layer units."""
    made = cases(**changes)
    source = next(iter(made._sources.values()))
    source.__dict__.update(no_units="its MLPs are mixtures", head_layers=(1,))
    return made


def test_a_model_without_units_has_no_items_on_them_and_that_is_said():
    made = mixture(heads=("all",), units=("top:2", "random:3"))
    made.check()
    assert made.left_out == {"tiny-neo": "tiny-neo: no items on MLP units: its MLPs are mixtures"}
    for asked in (["units"], ["unit_screening"], ["matched_units", "emotion"]):
        assert made.of(asked, []) == []
    assert [case.id for case in made.of(["heads"], [])] == [f"tiny-neo-L1H{i}" for i in range(4)]


def test_units_that_are_named_of_a_model_without_any_are_refused():
    with pytest.raises(InputError, match=r"^unit spec '3:0': tiny-neo has no units: its MLPs are "):
        mixture(heads=("1:0",), units=("top:2", "3:0")).check()


def test_heads_of_a_layer_without_any_are_refused():
    with pytest.raises(InputError, match=r"^head spec '0:1': layer 0 of tiny-neo has no attention"):
        mixture(heads=("0:1",)).check()
