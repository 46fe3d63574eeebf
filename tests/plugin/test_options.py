"""One table of options: what pytest reads, what goes over the profile, what is told of it."""

from __future__ import annotations

import argparse
from dataclasses import fields

import pytest
from pytest_emolib.options import OPTIONS, flag_of, overrides

from emolib.inputs.profiles import SETTINGS, Profile

KEYS = {f.name for f in fields(Profile)}
# What says where results go, what is shown and what is done with them.
OF_NO_FIELD = {
    "--profile", "--results-dir", "--fresh", "--plan", "--effects-save", "--effects-compare",
    "--effects-strict", "--effects-json", "--effects-new-weights", "--table-format",
    "--item-files", "--shard", "--tables", "--html",
}  # fmt: skip


def test_an_option_is_of_a_field_or_decides_no_number():
    assert {option.key for option in OPTIONS} - {None} <= KEYS
    assert {option.flag for option in OPTIONS if option.key is None} == OF_NO_FIELD
    direct = [option.key for option in OPTIONS if option.key and option.is_value]
    assert len(direct) == len(set(direct)), "two options would go over one field"


def test_every_setting_has_an_option_or_is_the_profile_s_own():
    without = {name for name in SETTINGS if flag_of(name) == name}
    settings_of = {"steering_": 4, "circuit_": 2, "probe_": 2}
    of_methods = {name for name in without if name.startswith(tuple(settings_of))}
    assert len(of_methods) == sum(settings_of.values())
    assert without == {"draws", "architectures"} | of_methods


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.flag)
def test_argparse_takes_it(option):
    parser = argparse.ArgumentParser()
    parser.add_argument(option.flag, dest=option.dest, default=None, **option.how)
    value = "3" if option.type else "x"
    given = [option.flag] if option.metavar is None else [option.flag, value] * 2
    found = getattr(parser.parse_args(given), option.dest)
    one = True if option.metavar is None else 3 if option.type else "x"
    assert found == ([one, one] if option.repeats else one)
    assert getattr(parser.parse_args([]), option.dest) is None
    if option.alone is not None:
        assert getattr(parser.parse_args([option.flag]), option.dest) == option.alone
    assert option.help and (option.type is None or option.metavar)


@pytest.mark.parametrize("typed", ["", "  ", "9" * 5000, f"top:{'9' * 5000}", "٣" * 4000])
@pytest.mark.parametrize(
    "option", [option for option in OPTIONS if option.metavar], ids=lambda option: option.flag
)
def test_nothing_and_what_no_number_can_be_made_of_is_refused(option, typed, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument(option.flag, dest=option.dest, **option.how)
    with pytest.raises(SystemExit):
        parser.parse_args([f"{option.flag}={typed}"])
    told = capsys.readouterr().err.splitlines()[-1]
    expected = (
        f"a number of {4000 if '٣' in typed else 5000} digits" if typed.strip() else "nothing"
    )
    assert f"argument {option.flag}: " in told and expected in told and len(told) < 200


def test_what_was_given_goes_over_the_profile(pytestconfig, monkeypatch):
    assert set(overrides(pytestconfig).values()) <= {None}
    for option in OPTIONS:
        if option.flag in ("--head-spec", "--seed"):
            value = ["0:1", "all"] if option.repeats else 0
            monkeypatch.setattr(pytestconfig.option, option.dest, value)
    found = {key: value for key, value in overrides(pytestconfig).items() if value is not None}
    assert found == {"heads": ("0:1", "all"), "seed": 0}


def test_messages_name_the_option():
    assert (flag_of("models"), flag_of("max_new_tokens")) == ("--model", "--max-new-tokens")
    assert flag_of("emotions") == "emotions"
