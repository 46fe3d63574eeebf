"""What one run works with: models, emotions and folders, read when needed and checked at once."""

from __future__ import annotations

import shutil
from types import SimpleNamespace

import pytest
from folders import DATA
from pytest_emolib.cases import Case
from pytest_emolib.lab import Lab
from pytest_emolib.options import OPTIONS

from emolib.errors import InputError
from emolib.inputs.heads import HeadSet, parse_head


def test_a_profile_is_found_by_its_path(folder):
    folder.write("studies/one.toml", 'models = ["tiny-neo"]\nemotions = ["anger"]\nheads = ["0:0"]')
    folder.pytest("--profile", "studies/one.toml").stdout.fnmatch_lines(
        ["emolib: profile one (tiny-neo; anger), to results/one", "*1 recorded*"]
    )


def test_results_go_where_they_are_asked_to(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("elsewhere")
    # With =: pytest looks for its ini file beside a path that stands alone.
    folder.pytest(f"--results-dir={place}")
    assert (place / "small/records").is_dir()
    assert not folder.results().exists()


FLAGS = {option.dest.removeprefix("emolib_"): option.dest for option in OPTIONS}


@pytest.fixture
def made(pytestconfig, monkeypatch, tmp_path):
    """Give a function that makes the lab of a run with options, by their names without dashes."""

    def make(**given):
        given = {"results_dir": str(tmp_path / "results")} | given
        for name, value in given.items():
            monkeypatch.setattr(pytestconfig.option, FLAGS[name], value)
        return Lab(pytestconfig)

    return make


def test_the_profile_is_read_at_once_and_nothing_else(made):
    with pytest.raises(InputError, match=r"^--profile nosuch: unknown"):
        made(profile="nosuch")
    lab = made(profile="demo", model=["./nowhere"])
    assert lab.profile.models == ("./nowhere",) and lab.free is False
    with pytest.raises(InputError, match=r"^model '\./nowhere': no such folder"):
        assert lab.sources


def test_two_models_of_one_name_are_refused(made, tmp_path):
    shutil.copytree(DATA / "models/tiny-neo", tmp_path / "tiny-neo")
    lab = made(model=["tiny-neo", str(tmp_path / "tiny-neo")])
    with pytest.raises(InputError) as error:
        assert lab.sources
    assert str(error.value) == (
        f"models 'tiny-neo' and '{tmp_path}/tiny-neo' are both called 'tiny-neo', so their results "
        "would mix; rename a folder"
    )


def test_models_by_what_was_typed_and_all_names_in_the_order_of_tables(made):
    lab = made(model=["tiny-neo", "tiny-gpt2"], ablation=["mean", "zero"])
    assert {typed: source.name for typed, source in lab.sources.items()} == {
        "tiny-neo": "tiny-neo", "tiny-gpt2": "tiny-gpt2",
    }  # fmt: skip
    emotions = ["gratitude", "anger", "apology"]
    assert list(lab.emotions) == emotions
    assert lab.emotions["anger"].pairs and lab.emotions["anger"].name == "anger"
    assert lab.names() == ["tiny-neo", "tiny-gpt2", *emotions, "mean", "zero"]


def test_everything_is_made_once(made):
    lab = made()
    for name in ("sources", "emotions", "cases", "loaded", "rows", "intact", "writing", "effects"):
        assert getattr(lab, name) is getattr(lab, name), name


def test_results_go_to_a_folder_of_the_profile(made, pytestconfig, tmp_path):
    assert made().writing.folder == tmp_path / "results/demo"
    assert made(profile="baseline").writing.folder == tmp_path / "results/baseline"
    assert made(results_dir=None, profile=None).writing.folder == (
        pytestconfig.rootpath / "results/demo"
    )


def test_the_header_says_what_on_what_and_where_to(made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = made(model=["tiny-neo"]).header()
    assert said == "emolib: profile demo (tiny-neo; gratitude, anger, apology), to results/demo"
    (tmp_path / "free.json").write_text('{"prompts": ["one"]}', encoding="utf-8")
    said = made(neutral_prompts="free.json").header()
    assert "apology; free prompt lists in place of pairs), to" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": ["./nowhere"]}, "no such folder"),
        ({"head_spec": ["9:9"]}, "^head spec '9:9': L9H9 does not exist"),
        ({"unit_spec": ["9:9"]}, "^unit spec '9:9': L9U9 does not exist"),
        ({"results_dir": __file__}, "cannot be written .* is a file"),
        ({"effects_compare": "nosuch"}, "nosuch"),
    ],
)
def test_a_check_finds_what_is_wrong_without_a_model(made, given, message, tmp_path):
    lab = made(**given)
    with pytest.raises(InputError, match=message):
        lab.check()
    assert lab.loaded.models == [] and list(tmp_path.iterdir()) == []


def test_a_check_of_what_is_right_makes_no_file_and_loads_no_model(made, tmp_path):
    lab = made(model=["tiny-neo"])
    lab.check()
    assert lab.loaded.models == [] and list(tmp_path.iterdir()) == []


def test_a_study_computes_its_runs_beside_those_of_companions_once_items_are_paired_off(made):
    lab = made(model=["tiny-neo"])
    source = lab.sources["tiny-neo"]
    names = ["L0H1", "L2H0"]
    sets = [HeadSet((parse_head(name),)) for name in names]
    items = [
        SimpleNamespace(
            nodeid=f"exp.py::exp_it[{name}]",
            fixturenames=["emolib_case", "heads"],
            callspec=SimpleNamespace(params={"emolib_case": Case(source, "anger", heads)}),
        )
        for name, heads in zip(names, sets, strict=True)
    ]
    study = lab.study(items[0], source, "anger")
    assert study is lab.loaded.made(source, "anger")
    alone = study.runner.companions
    lab.holds = lambda item: False
    lab.pair_off(items)
    assert lab.study(items[0], source, "anger") is study
    assert study.runner.companions is not alone
    assert study.runner.companions(sets[0]) == sets
    lab.holds = lambda item: item is items[1]
    lab.pair_off(items)
    lab.study(items[0], source, "anger")
    assert study.runner.companions(sets[0]) == sets[:1]


def test_what_is_left_on_its_models_is_told(made):
    """The watch is over what this lab loads, and forgets there."""
    lab = made()
    lab.intact.begin(SimpleNamespace(fixturenames=["model"]))
    model = lab.loaded.model(lab.sources["tiny-neo"])
    handle = model.hf.register_forward_hook(lambda *_: None)
    item = SimpleNamespace(nodeid="exp.py::exp_it")
    assert lab.intact.left(item).startswith("exp.py::exp_it left forward hook on the model on tin")
    handle.remove()
    assert lab.loaded.models == []
