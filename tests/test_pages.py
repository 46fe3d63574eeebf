"""Every command that README and docs show is one that there is, and runs as far as is cheap.

- ``pytest …``: collected with all its options, in a folder like a checkout; of models of the Hub,
  which no test asks, up to the message that names them. In running text, and of packages that are
  installed (``--pyargs``, which tests of a wheel run): options that there are.
- ``emolib …``: those that read results run, on results made here; the others are parsed.
- ``make …``: what it would do is printed. Others (`sbatch`, `rsync`, …) are known by name.
- Scripts of a shell are parsed by one; TOML, JSON, YAML and ini files are read.
"""

from __future__ import annotations

import argparse
import configparser
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
import webbrowser

import pytest
import yaml
from made import make_results
from pages import OTHERS, OURS, PAGES, ROOT, SHELL, blocks, commands, first_word, inline, ours

# What runs inside this process forgets what it imports; what has compiled parts is loaded once.
import emolib.methods.study
import emolib.results.frames  # noqa: F401
from emolib import __main__ as command
from emolib.results.records import Store

BLOCKS = [block for page in PAGES for block in blocks(page)]
LINES = list(dict.fromkeys((line, block) for block in BLOCKS for line in commands(block)))
SHOWN = list(dict.fromkeys(tuple(words) for line, _ in LINES for words in ours(line)))
INLINE = list(dict.fromkeys(text for page in PAGES for text in inline(page)))
RUN_HERE = ("init", "plots", "report", "view", "compare", "columns", "export", "runs", "pack")
"""Commands that run here; `merge`, `launch` and `models` have tests of their own."""
_HUB = ("baseline", "extended")
_TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}{{ '\n' }}"


def typed(words):
    return shlex.join(words)


def of(program):
    return [words for words in SHOWN if words[0] == program]


@pytest.fixture
def checkout(pytester, monkeypatch):
    """Give a folder in which pages' commands find what they name."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST")]:
        monkeypatch.delenv(name)
    pytester.makeini(
        "[pytest]\npython_files = exp_*.py\npython_functions = exp_*\nfilterwarnings = error\n"
    )
    shutil.copytree(ROOT / "experiments", pytester.path / "experiments")
    baseline = "results/demo/effects/baseline.json"
    (pytester.path / baseline).parent.mkdir(parents=True)
    shutil.copy(ROOT / baseline, pytester.path / baseline)
    for name in ("my-model", "my-instruct-model"):
        shutil.copytree(ROOT / "data/models/tiny-neo", pytester.path / name)
    (pytester.path / "my-instruct-model/chat_template.jinja").write_text(_TEMPLATE)
    (profile,) = [b.text for b in blocks(ROOT / "docs/guide.md") if b.kind == "toml"]
    (pytester.path / "data/profiles").mkdir(parents=True)
    (pytester.path / "data/profiles/mine.toml").write_text(profile)
    return pytester


@pytest.mark.parametrize("words", of("pytest"), ids=typed)
def test_a_run_is_collected_as_it_is_typed(words, checkout, pytestconfig):
    assert _flags(words) <= _options(pytestconfig)
    if "--pyargs" in words:
        return
    here = {"cuda": "cpu", "--results-dir=/data/study": f"--results-dir={checkout.path}/study"}
    arguments = [here.get(word, word) for word in words[1:]]
    done = checkout.runpytest_inprocess("--collect-only", "-q", *arguments)
    said = done.stdout.str() + done.stderr.str()
    if any(name in _HUB for name in arguments):
        assert done.ret == pytest.ExitCode.USAGE_ERROR and "the Hub cannot" in said, said
    else:
        assert done.ret == pytest.ExitCode.OK and "exp_" in said, said


class Parsed(Exception):
    """A command was understood."""


@pytest.fixture
def parse(monkeypatch):
    """Give a function that has a command parsed, and no more."""
    true = argparse.ArgumentParser.parse_args

    def parse_args(self, *args, **options):
        raise Parsed(true(self, *args, **options))

    def parse(words):
        with monkeypatch.context() as changed:
            changed.setattr(argparse.ArgumentParser, "parse_args", parse_args)
            with pytest.raises(Parsed):
                command.main(words)

    return parse


@pytest.mark.parametrize("words", of("emolib"), ids=typed)
def test_a_command_after_a_run_does_what_is_shown(words, parse, tmp_path, monkeypatch):
    arguments = list(words[1:])
    if arguments[0] == "launch":
        arguments += ["--", "pytest", "experiments"]
    parse(arguments)
    if arguments[0] in RUN_HERE:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(webbrowser, "open", lambda address: True)
        profile = "mine" if "mine" in arguments else "demo"
        results = make_results(tmp_path / "results" / profile, models=("one",), emotions=("joy",))
        (run,) = Store(results).runs()
        assert command.main([run.id if w == "20261124T18" else w for w in arguments]) == 0


@pytest.mark.parametrize("text", INLINE)
def test_a_command_in_running_text_is_one_that_there_is(text, parse, pytestconfig):
    if first_word(text) == "make":
        _prints(text)
        return
    for words in ours(text):
        if words[0] == "emolib" and len(words) == 2:
            # Named, not typed out.
            with pytest.raises(SystemExit, match=r"^0$"):
                command.main([words[1], "--help"])
        elif words[0] == "emolib":
            parse(words[1:] + ["--", "pytest", "experiments"] * (words[1] == "launch"))
        else:
            assert _flags(words) <= _options(pytestconfig)


def _flags(words):
    return {word.partition("=")[0] for word in words if word.startswith("-")}


def _options(config):
    groups = [*config._parser._groups, config._parser._anonymous]
    names = {name for group in groups for option in group.options for name in option.names()}
    return names | {"--help"}


@pytest.mark.parametrize(("line", "block"), LINES, ids=[line for line, _ in LINES])
def test_a_line_is_a_command_that_is_known(line, block):
    program = first_word(line)
    if program == "make":
        _prints(line)
    elif program == ".ci/run":
        assert os.access(ROOT / program, os.X_OK)
    elif block.kind != "bash" and not ours(line):
        assert program in OTHERS, f"{block}: {line}: in tests/pages.py no program of this name"


def _prints(line):
    """Have make say what it would do."""
    words = shlex.split(line, comments=True)
    done = subprocess.run(
        [*words, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind == "bash"], ids=str)
def test_a_script_is_one(block):
    done = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True)
    assert not done.returncode and not done.stderr, done.stderr


READ = {
    "toml": tomllib.loads,
    "json": json.loads,
    "yaml": yaml.safe_load,
    "ini": lambda text: configparser.ConfigParser().read_string(text),
}


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.kind in READ], ids=str)
def test_a_file_that_is_shown_is_one(block):
    READ[block.kind](block.text)


def test_every_block_is_of_a_kind_that_is_checked():
    kinds = {*SHELL, "python", "text", "bibtex", *READ}
    assert [str(block) for block in BLOCKS if block.kind not in kinds] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_an_extra_that_is_named_is_one(page):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = re.findall(r"(?:emolib|\.)\[([\w,]+)\]'", page.read_text(encoding="utf-8"))
    there = set(project["optional-dependencies"])
    assert {extra for names in named for extra in names.split(",")} <= there


def test_readmes_show_the_same_commands_and_code():
    """In the same order, whatever the language: a translation changes comments alone."""
    readmes = sorted(ROOT.glob("README*.md"))
    assert len(readmes) > 1
    commands_of = [
        [shlex.split(line, comments=True) for block in blocks(page) for line in commands(block)]
        for page in readmes
    ]
    code_of = [
        [(block.kind, _less_words(block.text)) for block in blocks(page) if block.kind]
        for page in readmes
    ]
    for page, shown, code in zip(readmes, commands_of, code_of, strict=True):
        assert shown and shown == commands_of[0], page.name
        assert code and code == code_of[0], page.name


def _less_words(code):
    """Return code without docstrings and comments."""
    return re.sub(r"\s*#.*", "", re.sub(r'""".*?"""', "", code, flags=re.DOTALL))


def test_commands_are_found_in_lines_of_any_form():
    assert ours("pytest a -k 'x and y' -n 2  # two; at once") == [
        ["pytest", "a", "-k", "x and y", "-n", "2"]
    ]
    assert ours('ssh node$i "cd /a && . b && pytest e --shard $i/4" &') == [
        ["pytest", "e", "--shard", "1/4"]
    ]
    assert ours("srun python -m emolib launch --on x -- pytest e; emolib runs") == [
        ["emolib", "launch", "--on", "x"],
        ["pytest", "e"],
        ["emolib", "runs"],
    ]
    assert ours("echo pytest") == [] and len(SHOWN) > 20 and set(OURS) >= {w[0] for w in SHOWN}
