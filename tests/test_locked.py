"""What CI installs: every file by its hash, in the versions that the figures were measured with."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pins(name):
    """Return versions by name, and of each how many hashes it has."""
    lines = (ROOT / ".ci" / name).read_text("utf-8").replace("\\\n", "").splitlines()
    found = {}
    for line in lines:
        if pin := re.match(r"([\w.-]+)==([^\s;+]+)", line):
            found[canonicalize_name(pin[1])] = pin[2], line.count("--hash=sha256:")
    return found


def test_locked_versions_are_those_of_the_constraints():
    locked, constraints = pins("locked.txt"), pins("constraints.txt")
    other = {name: version for name, (version, _) in locked.items()
             if version != constraints.get(name, (version,))[0]}  # fmt: skip
    assert not other, "make lock"


def test_every_file_is_held_to_a_hash():
    locked = pins("locked.txt")
    assert len(locked) > 100 and not [name for name, (_, hashes) in locked.items() if not hashes]


def test_all_that_tests_need_is_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    needed = [*project["dependencies"], *extras["dev"], *extras["export"], *extras["gguf"]]
    names = {canonicalize_name(Requirement(text).name) for text in needed} - {"emolib"}
    assert names <= pins("locked.txt").keys(), "make lock"
