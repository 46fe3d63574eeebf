"""From the command line to a checked profile: what goes over it, and every refusal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from folders import pairs
from pytest_emolib.options import OPTIONS
from pytest_emolib.settings import check_folder, check_rootdir, check_writable, resolve
from tabulate import tabulate_formats

from emolib.errors import InputError
from emolib.files import data_root
from emolib.inputs.profiles import load_profile


def test_a_path_on_its_own_that_moves_the_rootdir(folder, tmp_path_factory):
    """Of `--results-dir DIR` pytest takes DIR for a place of tests before it knows the option."""
    place = tmp_path_factory.mktemp("elsewhere")
    for arguments in ([], ["-n", "2"]):
        result = folder.pytest("--results-dir", str(place), *arguments)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines(
            [f"ERROR: --results-dir {place}: pytest took the path for a place of tests and looked "
             f"for its ini file there (rootdir *); write --results-dir={place}"]
        )  # fmt: skip
    assert list(place.iterdir()) == []


def test_a_path_on_its_own_that_moves_nothing(folder, tmp_path_factory):
    place = tmp_path_factory.mktemp("elsewhere")
    (folder.path / "inside").mkdir()
    for arguments in (["exp_effect.py", "--results-dir", str(place)], ["--results-dir", "inside"]):
        result = folder.pytest(*arguments, "-k", "L2H0")
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["*2 deselected, 1 recorded*"])
    assert (place / "small/records").is_dir()


def test_free_lists_run_where_pairs_are_not_needed(folder):
    folder.write("free.json", '{"prompts": ["Anna thanked him", "He was glad and she"]}')
    result = folder.pytest("--emotion-prompts", "gratitude=free.json")
    result.stdout.fnmatch_lines(
        ["emolib: profile small (tiny-neo; gratitude; free prompt lists in place of pairs), to *",
         "*3 recorded*"]
    )  # fmt: skip
    assert {len(row["vectors"]["logit_diff"]) for row in folder.rows()} == {2}


FREE = json.dumps({"prompts": ["Anna thanked him"]})


def config(**given):
    """Stand in for pytest's config: options by their names without dashes, None where not given."""
    values = {option.dest: given.pop(option.dest.removeprefix("emolib_"), None)
              for option in OPTIONS}  # fmt: skip
    assert not given
    return SimpleNamespace(getoption=values.__getitem__)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Give a function that writes a file into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
        return Path(name)

    return write


def test_without_options_it_is_the_demo_profile():
    assert resolve(config()) == (load_profile("demo"), False)


def test_options_go_over_the_fields_of_the_profile():
    profile, free = resolve(config(profile="baseline", seed=7, head_spec=["0:1", "all"]))
    assert profile == load_profile("baseline").override(seed=7, heads=("0:1", "all"))
    assert free is False


@pytest.mark.parametrize(
    ("text", "verify", "top"), [("all", "all", 5), ("12", 12, 12), ("0", 0, 0)]
)
def test_heads_to_verify_are_a_number_or_all(text, verify, top):
    profile, _ = resolve(config(verify=text))
    assert (profile.verify, profile.strongest) == (verify, top)
    assert resolve(config())[0].verify == 5


@pytest.mark.parametrize("text", ["some", "-1", "1.5", ""])
def test_other_heads_to_verify_are_refused(text):
    with pytest.raises(InputError) as error:
        resolve(config(verify=text))
    assert str(error.value) == (f"--verify: expected a whole number from 0, or all, got {text!r}")


@pytest.mark.parametrize(("text", "size"), [(None, None), ("auto", None), ("1", 1), ("64", 64)])
def test_the_batch_size_is_a_number_or_left_to_the_engine(text, size):
    assert resolve(config(batch_size=text))[0].batch_size == size


def test_auto_goes_over_a_number_of_the_profile(place):
    path = place("mine.toml", 'models = ["tiny-neo"]\nemotions = ["anger"]\nbatch_size = 5\n')
    assert resolve(config(profile=str(path)))[0].batch_size == 5
    assert resolve(config(profile=str(path), batch_size="auto"))[0].batch_size is None


def test_files_of_the_command_line_go_over_those_of_the_profile(place):
    path = place(
        "mine.toml",
        'models = ["tiny-neo"]\nemotions = ["anger", "gratitude"]\n'
        '[files.anger]\npairs = "own.json"\nlexicon = "words.json"\n',
    )
    named = place("more.json", pairs("anger", 2))
    other = place("other.json", pairs("gratitude", 2))
    profile, free = resolve(config(profile=str(path), prompts_file=[str(named), str(other)]))
    assert not free and profile.files["pairs", "anger"] == named
    assert profile.files["pairs", "gratitude"] == other
    assert profile.files["lexicon", "anger"].name == "words.json"


def test_free_lists_are_of_the_emotion_that_is_named_or_that_the_file_is_called_after(place):
    free, anger = place("free.json", FREE), place("deep/anger_prompts.json", FREE)
    given = config(emotion_prompts=[f"gratitude={free}", str(anger)], neutral_prompts=str(free))
    profile, is_free = resolve(given)
    assert is_free
    assert profile.files == {
        ("prompts", "gratitude"): free, ("prompts", "anger"): anger, ("prompts", "neutral"): free,
    }  # fmt: skip
    # Of one emotion it needs no name.
    path = place("mine.toml", 'models = ["tiny-neo"]\nemotions = ["anger"]\n')
    profile, _ = resolve(config(profile=str(path), emotion_prompts=["free.json"]))
    assert profile.files == {("prompts", "anger"): free}


REFUSED = {
    "format": (
        {"table_format": "word"},
        f"--table-format word: unknown; expected one of {', '.join(tabulate_formats)}",
    ),
    "tables": ({"tables": "some"}, "--tables some: expected one of short, all, none"),
    "profile": (
        {"profile": "my/nosuch.toml"},
        "--profile my/nosuch.toml: no such file; expected a profile in TOML",
    ),
    "value": ({"position": "first"}, "--position: expected one of last, slot, after_slot, all, "
              "got 'first'"),
    **{
        f"batch size {text}": (
            {"batch_size": text},
            f"--batch-size: expected a whole number from 1, or auto, got {text!r}",
        )
        for text in ("0", "-1", "1.5", "many", "")
    },
    "pairs of an emotion that is not in the profile": (
        {"prompts_file": ["joy.json"]},
        "joy.json: is for the emotion 'joy', the profile demo has gratitude, anger, apology; add "
        "it to a profile of your own",
    ),
    "two files of pairs": (
        {"prompts_file": ["one.json", "two.json"]},
        "--prompts-file: one.json and two.json are both for 'gratitude'; name one file",
    ),
    "free prompts of an emotion that is not in the profile": (
        {"emotion_prompts": ["joy=free.json"]},
        "joy=free.json: is for the emotion 'joy', the profile demo has gratitude, anger, apology; "
        "add it to a profile of your own",
    ),
    "free prompts of who knows what": (
        {"emotion_prompts": ["free.json"]},
        "--emotion-prompts free.json: for which of gratitude, anger, apology? Write EMOTION=FILE, "
        "or name the file EMOTION_prompts.json",
    ),
    "two free lists": (
        {"emotion_prompts": ["anger=free.json", "anger_prompts.json"]},
        "--emotion-prompts: free.json and anger_prompts.json are both for 'anger'; name one file",
    ),
    "pairs and free prompts": (
        {"prompts_file": ["one.json"], "emotion_prompts": ["anger=free.json"]},
        "--prompts-file gives aligned pairs, --emotion-prompts and --neutral-prompts free lists in "
        "their place; give the one or the others",
    ),
    "pairs and neutral prompts": (
        {"prompts_file": ["one.json"], "neutral_prompts": "free.json"},
        "--prompts-file gives aligned pairs, --emotion-prompts and --neutral-prompts free lists in "
        "their place; give the one or the others",
    ),
    **{
        f"free prompts at {position}": (
            {"neutral_prompts": "free.json", "position": position},
            f"--position {position} needs aligned pairs, got free prompt lists; use --position "
            "last or all, or drop --emotion-prompts/--neutral-prompts",
        )
        for position in ("slot", "after_slot")
    },
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_wrong_is_refused_in_one_message(place, name):
    for stem in ("one", "two"):
        place(f"{stem}.json", pairs("gratitude", 2))
    place("joy.json", pairs("gratitude", 2) | {"emotion": "joy"})
    place("free.json", FREE), place("anger_prompts.json", FREE)
    given, message = REFUSED[name]
    with pytest.raises(InputError) as error:
        resolve(config(**given))
    assert str(error.value) == message


@pytest.mark.parametrize("position", ["last", "all"])
def test_free_lists_do_with_positions_that_need_no_slot(place, position):
    free = place("free.json", FREE)
    profile, is_free = resolve(config(neutral_prompts=str(free), position=position))
    assert is_free and profile.position == position


@pytest.mark.parametrize("option", ["emotion_prompts", "neutral_prompts", "prompts_file"])
def test_a_file_that_is_not_there_is_named(place, option):
    place("here.json", FREE)
    value = {"neutral_prompts": "gone.json", "emotion_prompts": ["anger=gone.json"]}
    with pytest.raises(InputError, match=r"^gone\.json: no such file"):
        resolve(config(**{option: value.get(option, ["gone.json"])}))


def root_of(tmp_path, *arguments, args=None, ini="work"):
    """Stand in for a config whose ini file is in a folder, started in ``work``."""
    return SimpleNamespace(
        invocation_params=SimpleNamespace(dir=tmp_path / "work", args=arguments),
        args_source=pytest.Config.ArgsSource["ARGS" if args is not None else "INVOCATION_DIR"],
        args=args or [str(tmp_path / "work")],
        inipath=None if ini is None else tmp_path / ini / "pytest.ini",
        rootpath=tmp_path / (ini or ""),
    )


@pytest.fixture
def folders(tmp_path):
    for name in ("work/tests", "elsewhere"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_a_rootdir_that_holds_what_is_to_run_is_right(folders):
    out = str(folders / "elsewhere")
    check_rootdir(root_of(folders, "--results-dir", out))
    check_rootdir(root_of(folders, "--results-dir", out, ini=""))
    check_rootdir(root_of(folders, "tests/x.py::exp_it", args=["tests/x.py::exp_it"]))
    # With another rootdir, but none of the plugin's options to blame for it.
    check_rootdir(root_of(folders, "-q", ini="elsewhere"))
    check_rootdir(root_of(folders, f"--results-dir={out}", ini="elsewhere"))
    check_rootdir(root_of(folders, "--seed", out, ini="elsewhere"))
    check_rootdir(root_of(folders, "--results-dir", "new", ini="elsewhere"))


@pytest.mark.parametrize("ini", ["elsewhere", None])
@pytest.mark.parametrize("flag", ["--results-dir", "--profile", "--model", "--prompts-file"])
def test_a_value_that_led_pytest_elsewhere_is_named(folders, flag, ini):
    out = folders / "elsewhere"
    with pytest.raises(InputError) as error:
        check_rootdir(root_of(folders, "-q", flag, str(out), ini=ini))
    assert str(error.value) == (
        f"{flag} {out}: pytest took the path for a place of tests and looked for its ini file "
        f"there (rootdir {folders / (ini or '')}); write {flag}={out}"
    )


def test_places_on_the_command_line_count_in_place_of_the_working_directory(folders):
    out = folders / "elsewhere"
    check_rootdir(root_of(folders, "--results-dir", str(out), args=[str(out)], ini="elsewhere"))
    with pytest.raises(InputError, match=r"write --results-dir="):
        check_rootdir(root_of(folders, "--results-dir", str(out), args=["tests"], ini="elsewhere"))


def test_a_folder_that_can_be_made_is_not_made_yet(tmp_path):
    check_writable(tmp_path)
    check_writable(tmp_path / "new/deeper")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_named(tmp_path):
    taken = tmp_path / "taken"
    taken.touch()
    for folder in (taken, taken / "small"):
        with pytest.raises(InputError) as error:
            check_writable(folder)
        assert str(error.value) == (
            f"{folder}: cannot be written ({taken} is a file); choose another folder with "
            "--results-dir"
        )


@pytest.mark.parametrize("leads_to", ["nothing", "link"])
def test_a_link_that_leads_nowhere_is_named(tmp_path, leads_to):
    (tmp_path / "link").symlink_to(leads_to)
    with pytest.raises(InputError) as error:
        check_writable(tmp_path / "link/small")
    assert str(error.value) == (
        f"{tmp_path}/link/small: cannot be written ({tmp_path}/link is no folder); choose another "
        "folder with --results-dir"
    )


@pytest.mark.parametrize("name", ["a\x1b[31m", "a\nb", "\udcff", "a\u202eb"])
def test_a_folder_whose_name_no_line_can_hold_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="name a place without"):
        check_writable(tmp_path / name / "small")
    check_writable(tmp_path / "日本語\u3000é 😀/small")


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    # Whoever runs the tests may be allowed anything.
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    folder = tmp_path / "small"
    with pytest.raises(InputError) as error:
        check_writable(folder)
    assert str(error.value) == (
        f"{folder}: cannot be written (no permission in {tmp_path}); choose another folder with "
        "--results-dir"
    )


@pytest.mark.parametrize("name", ["pytest.ini", "pyproject.toml", "conftest.py", "setup.py"])
@pytest.mark.parametrize("model", ["mine", "./mine", "mine/a.gguf"])
def test_a_folder_that_pytest_would_run_code_of_is_no_model(tmp_path, monkeypatch, name, model):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    check_folder(model)
    (tmp_path / "mine" / name).write_text("")
    with pytest.raises(InputError) as error:
        check_folder(model)
    assert str(error.value) == (
        f"model {model!r}: mine has {name}, and pytest runs what such a file names where it takes "
        "the folder for a place of tests (--model DIR without an =); a model needs none: take it "
        "out, or copy the model's own files elsewhere"
    )
    # Nor is what lies beside what one runs anybody else's.
    monkeypatch.chdir(tmp_path / "mine")
    check_folder("a.gguf")
    check_folder("tiny-gpt2")


def test_such_a_folder_ends_the_run(folder):
    place = folder.path / "theirs"
    shutil.copytree(data_root() / "models/tiny-neo", place)
    (place / "conftest.py").write_text("raise SystemExit")
    result = folder.pytest("--model=theirs")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: model 'theirs': theirs has conftest.py, *"])


@pytest.mark.parametrize("place", ["mine", "linked"])
def test_nothing_in_a_model_s_folder_is_collected(folder, place):
    """pytest looks below where it starts, and a model's files are somebody else's."""
    shutil.copytree(data_root() / "models/tiny-neo", folder.path / "mine")
    (folder.path / "linked").symlink_to("mine")
    for name in ("exp_mine.py", "sub/exp_more.py", "sub/conftest.py"):
        folder.write(f"mine/{name}", "import pathlib; pathlib.Path('ran').touch()\n")
    result = folder.pytest(f"--model={place}", "--collect-only", "-q")
    assert result.ret == 0, result.stdout.str()
    assert not (folder.path / "ran").exists()
    # What is named outright is the user's to run.
    folder.pytest(f"--model={place}", "--collect-only", "-q", "mine/exp_mine.py")
    assert (folder.path / "ran").exists()
