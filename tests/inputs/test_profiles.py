"""Profiles: read, overridden, and refused with one message that says where and what."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_data import BASE, lexicon, mine, said, write

from emolib.errors import InputError
from emolib.files import data_root
from emolib.inputs import profiles
from emolib.inputs.emotions import load_emotion
from emolib.inputs.profile_fields import NUMBER_OR_ALL, Follows
from emolib.inputs.profiles import COMPARED, SETTINGS, Profile, compared_in, load_profile
from emolib.inputs.prompts import Chat, load_pairs

SET = (
    "models, emotions, heads, units, ablations, position, max_new_tokens, seed, draws, verify, "
    "circuit_ablation, circuit_draws, circuit_greedy, probe_folds, probe_swaps, steering_doses, "
    "steering_layers, steering_heads, steering_prompts, patch_generated, chat, system, dtype, "
    "device, batch_size, files, classifiers, effects, architectures"
)


@pytest.mark.parametrize("name", ["demo", "baseline", "extended"])
def test_the_project_s_profiles_are_valid_and_found_from_anywhere(folder, name):
    profile = load_profile(name)
    assert profile.name == name and profile.root == data_root()
    assert all(load_emotion(profile, emotion).pairs for emotion in profile.emotions)


def test_a_profile_is_its_file_over_the_defaults(folder):
    profile = mine('heads = ["3:5", "top:2"]\nseed = 7\nbatch_size = 4\n')
    assert (profile.name, profile.root) == ("mine", folder / "data")
    assert (profile.models, profile.emotions) == (("tiny-gpt2",), ("joy",))
    assert (profile.heads, profile.seed, profile.batch_size) == (("3:5", "top:2"), 7, 4)
    assert (profile.ablations, profile.position, profile.device) == (("zero",), "last", "cpu")


@pytest.mark.parametrize("cwd", [".", "data", "data/profiles"])
def test_a_path_means_the_same_from_every_directory(folder, monkeypatch, cwd):
    expected = mine()
    monkeypatch.chdir(folder / cwd)
    path = (folder / "data/profiles/mine.toml").relative_to(Path.cwd())
    assert load_profile(str(path)) == expected


def test_a_file_outside_a_profiles_folder_looks_beside_itself(folder):
    Path("own.toml").write_text(BASE, encoding="utf-8")
    assert load_profile("./own.toml").root == folder


def test_files_of_the_profile_come_before_those_of_its_root_and_the_project(folder):
    plain = mine()
    assert plain.path("pairs", "joy") == folder / "data/pairs/joy.json"
    assert plain.path("lexicon", "neutral") == data_root() / "lexicons/neutral.json"
    write("data/lexicons/neutral.json", lexicon("neutral", "calm"))
    assert plain.path("lexicon", "neutral") == folder / "data/lexicons/neutral.json"
    named = mine('[files.joy]\npairs = "other/joy.json"\n[files.neutral]\nprompts = "n.json"\n')
    assert named.path("pairs", "joy") == folder / "data/other/joy.json"
    assert named.path("prompts", "neutral") == folder / "data/n.json"
    assert named.path("prompts", "joy") == folder / "data/joy_prompts.json"
    assert named.ranking("joy") is None
    ranked = mine('[files.joy]\nranking = "own.json"\n')
    assert ranked.ranking("joy") == folder / "data/own.json"


def test_an_emotion_without_a_file_is_told_where_it_was_looked_for(folder):
    assert said(mine().path, "pairs", "fear") == (
        f"emotion 'fear' has no pairs file: expected {folder}/data/pairs/fear.json or "
        f"{data_root()}/pairs/fear.json; write one or take 'fear' out of the profile"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layers = 3", f"unknown key 'layers'; the keys are {SET}"),
        ("name = 'x'", f"unknown key 'name'; the keys are {SET}"),
        ("heads = 'all'", "heads: expected a list of names, got 'all'"),
        ("heads = []", "heads: expected a list of names, got ()"),
        ("heads = [3]", "heads: expected a list of names, got (3,)"),
        ("heads = ['3:5', '3:5']", "heads: '3:5' is named twice; name it once"),
        ("heads = ['top:0']", "heads: head spec 'top:0': expected a count of at least 1, got 0"),
        ("ablations = ['median']", "ablations: expected one of zero, mean, resample, optimal, got "
         "'median'"),
        ("position = 'first'", "position: expected one of last, slot, after_slot, all, got "
         "'first'"),
        ("dtype = 32", "dtype: expected one of float32, float64, bfloat16, float16, got 32"),
        ("device = 0", "device: expected a name, got 0"),
        ("seed = -1", "seed: expected a whole number from 0, got -1"),
        ("seed = 9223372036854775808", "seed: expected a whole number from 0 to "
         "9223372036854775807, got 9223372036854775808"),
        ("draws = 1000001", "draws: expected a whole number from 10 to 1000000, got 1000001"),
        ("draws = 9", "draws: expected a whole number from 10, got 9"),
        ("steering_doses = [1, nan]", "steering_doses: expected a list of numbers, got (1, nan)"),
        ("steering_doses = [1, 1.0]", "steering_doses: 1 is named twice; name it once"),
        ("steering_layers = ['x']", "steering_layers: layer spec 'x': expected the number of a "
         "layer, from 0, a depth as 50% (0% the first layer, 100% the last), or all"),
        ("probe_folds = 1", "probe_folds: expected a whole number from 2, got 1"),
        ("probe_swaps = 0", "probe_swaps: expected a whole number from 1, got 0"),
        ("verify = 1.5", "verify: expected a whole number from 0, or all, got 1.5"),
        ("max_new_tokens = true", "max_new_tokens: expected a whole number from 1, got True"),
        ("batch_size = 'auto'", "batch_size: expected a whole number from 1, got 'auto'"),
        ("files = 3", "files: expected a table [files.EMOTION], got 3"),
        ("files = {joy = 'x'}", "files.joy: expected a table, got 'x'"),
        ("files.joy.pair = 'x'", "files.joy.pair: unknown key; the keys are pairs, prompts, "
         "lexicon, lexical, ranking, probe_test"),
        ("files.joy.pairs = 3", "files.joy.pairs: expected a path, got 3"),
        ("files.joy.pairs = '../x'", "files.joy.pairs: '../x' lies outside {root}; keep it inside"),
        ("files.joy.pairs = '/x'", "files.joy.pairs: '/x' lies outside {root}; keep it inside"),
        ("files.jy.pairs = 'x'", "files.jy: expected one of joy, neutral, got 'jy'"),
        ("architectures = 3", "architectures: expected tables [architectures.TYPE], got 3"),
        ("architectures.mine = 'x'", "architectures.mine: expected paths by field, got 'x'"),
        ("architectures.mine.layers = 3", "architectures.mine: expected paths by field, got "
         "{{'layers': 3}}"),
    ],
)  # fmt: skip
def test_wrong_profiles(folder, text, expected):
    assert said(mine, text) == "data/profiles/mine.toml: " + expected.format(root=folder / "data")


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("models = ['a'", "not TOML (Unclosed array (at end of document)); expected a profile"),
        ("emotions = ['joy']", "the key 'models' is missing; expected a list of names"),
        ("models = ['a']", "the key 'emotions' is missing; expected a list of names"),
        ("models = ['a']\nemotions = ['neutral']", "emotions: expected a name of letters, digits "
         "and _ other than neutral, got 'neutral'"),
        ("models = ['a']\nemotions = ['../x']", "emotions: expected a name of letters, digits "
         "and _ other than neutral, got '../x'"),
    ],
)  # fmt: skip
def test_wrong_profiles_from_the_start(folder, base, expected):
    assert said(mine, base=base) == f"data/profiles/mine.toml: {expected}"


def test_unknown_profiles(folder):
    mine()
    assert said(load_profile, "yours") == (
        "--profile yours: unknown; expected one of baseline, demo, extended, mine, or the path "
        "of a .toml file"
    )
    assert said(load_profile, "a/b") == ("--profile a/b: no such file; expected a profile in TOML")


def test_override_changes_what_is_given_and_checks_it(folder):
    profile = mine("seed = 3")
    changed = profile.override(models=("gpt2",), seed=None, position="all")
    assert (changed.models, changed.seed, changed.position) == (("gpt2",), 3, "all")
    assert profile.models == ("tiny-gpt2",)
    assert said(profile.override, models=("a", "a")) == "models: 'a' is named twice; name it once"

    def flag(key):
        return "--" + key.replace("_", "-")

    assert said(profile.override, flag, max_new_tokens=0) == (
        "--max-new-tokens: expected a whole number from 1, got 0"
    )
    assert said(profile.override, flag, heads=("x",)).startswith("--heads: head spec 'x': expected")
    assert said(profile.override, flag, ablations=("x",)) == (
        "--ablations: expected one of zero, mean, resample, optimal, got 'x'"
    )


# Of what no field takes, and of each kind of thing that one may.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 30),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.lists(st.one_of(st.text(max_size=8), st.integers(), st.lists(st.text())), max_size=3),
    st.dictionaries(st.text("ab", min_size=1), st.integers(), max_size=2),
    st.sampled_from(["last", "zero", "float32", "all", "top:2", "0:1", "cpu"]),
    st.sampled_from([["last"], ["zero"], ["float32"], ["all"], [16], [True], [["zero"]]]),
)
NOT_CHECKED = ("name", "root", "files", "effects", "architectures")
CHECKED = [f for f in fields(Profile) if f.name not in NOT_CHECKED]


@pytest.mark.parametrize("key", [f.name for f in CHECKED])
@given(value=VALUES)
def test_a_field_takes_what_its_type_says_and_nothing_else(key, value):
    """A list where a scalar belongs, a scalar where a list does, a number of the wrong kind."""
    hint, data = get_type_hints(Profile)[key], {"models": ["m"], "emotions": ["joy"], key: value}
    with (
        mock.patch.object(profiles, "_find", lambda name: Path("mine.toml")),
        mock.patch.object(profiles, "read_toml", lambda path, expected: data),
    ):
        try:
            found = getattr(load_profile("mine"), key)
        except InputError as error:
            assert str(error).startswith(f"mine.toml: {key}: ")
            assert "expected" in str(error) or "named twice" in str(error)
            return
    given = tuple(value) if isinstance(value, list) else value
    assert found == given and type(found) is type(given)
    if get_origin(hint) is tuple:
        of_numbers = get_args(hint)[0] is float
        kinds = (int, float) if of_numbers else (str,)
        assert isinstance(value, list) and all(type(member) in kinds for member in value)
    elif get_origin(hint) is Literal:
        assert value in get_args(hint)
    elif value == "all" and hint == NUMBER_OR_ALL:
        assert key == "verify"
    else:
        kinds = tuple(kind for kind in get_args(hint) or (hint,) if isinstance(kind, type))
        assert isinstance(value, kinds)
        assert isinstance(value, bool) == (hint is bool)


@pytest.mark.parametrize("key", [f.name for f in CHECKED])
def test_a_list_for_a_scalar_and_a_scalar_for_a_list(folder, key):
    """As TOML has them: one message with the file, the key, what was expected and what was got."""
    is_list = get_origin(get_type_hints(Profile)[key]) is tuple
    text, got = (f"{key} = 'all'", "'all'") if is_list else (f"{key} = ['last']", "['last']")
    base = BASE if key not in ("models", "emotions") else "".join(
        line for line in BASE.splitlines(keepends=True) if not line.startswith(key)
    )  # fmt: skip
    message = said(mine, text, base=base)
    assert message.startswith(f"data/profiles/mine.toml: {key}: expected ")
    assert message.endswith(f", got {got}")


def test_a_field_says_what_it_decides():
    """A field that says nothing is a mistake that no run gets past: here it would be seen first."""
    for one in fields(Profile):
        assert one.metadata["follows"] in get_args(Follows), one.name
        assert one.metadata["compared"] is None or one.metadata["follows"] == "value"
    assert (
        *("position", "max_new_tokens", "seed", "draws", "verify"),
        *("circuit_ablation", "circuit_draws", "circuit_greedy"),
        *("probe_folds", "probe_swaps"),
        *("steering_doses", "steering_layers", "steering_heads", "steering_prompts"),
        *("patch_generated", "chat", "system", "dtype", "device", "architectures"),
    ) == SETTINGS
    assert (
        *("dtype", "position", "seed", "draws", "max_new_tokens", "patch_generated"),
        *("chat", "system"),
    ) == COMPARED


def test_a_setting_that_was_not_there_yet_is_its_default():
    assert compared_in({"dtype": "float16"}) == {
        "dtype": "float16", "position": "last", "seed": 0, "draws": 10, "max_new_tokens": 16,
        "patch_generated": False, "chat": False, "system": None,
    }  # fmt: skip
    assert compared_in({"chat": True, "system": "Be kind."})["system"] == "Be kind."


def test_a_system_turn_needs_a_chat(folder):
    assert said(mine, "system = 'Be kind.'") == (
        "data/profiles/mine.toml: system: expected chat with it, got a system turn without a "
        "chat; add chat, or leave the system turn out"
    )
    profile = mine("system = 'Be kind.'\nchat = true")
    assert profile.as_chat == Chat("Be kind.")
    assert mine("chat = true").as_chat == Chat(None) and mine().as_chat is None
    assert said(mine, "system = ' '\nchat = true").endswith("system: expected a text, got ' '")


def test_a_file_behind_links_that_go_round_is_told(folder):
    (folder / "loop").symlink_to("loop")
    (folder / "own.toml").write_text(
        "models = ['tiny-neo']\nemotions = ['joy']\n[files.joy]\npairs = 'loop/x.json'\n"
    )
    profile = load_profile(str(folder / "own.toml"))
    with pytest.raises(InputError, match="cannot be read"):
        load_pairs(profile.path("pairs", "joy"))
