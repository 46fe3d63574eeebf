"""Provenance: versions, the commit, and hashes of code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import pytest_emolib
import torch

import emolib
from emolib.results import provenance


def git(folder, *arguments):
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_versions_name_what_numbers_depend_on():
    found = provenance.versions()
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert {"python", "emolib", "transformers", "tokenizers", "numpy", "scipy"} <= set(found)


def test_commit_of_a_folder_and_its_changes(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("a")
    git(tmp_path, "add", "a.txt")
    git(tmp_path, "commit", "-qm", "first")
    head = git(tmp_path, "rev-parse", "--short=12", "HEAD")
    assert provenance.git_commit(tmp_path) == head
    provenance.git_commit.cache_clear()
    (tmp_path / "a.txt").write_text("b")
    assert provenance.git_commit(tmp_path) == f"{head}+"


def test_no_repository_no_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_commit(tmp_path / "none") is None
    assert provenance.git_commit(tmp_path) is None


def test_code_hash_follows_the_content_and_skips_what_is_not_there(tmp_path):
    file = tmp_path / "exp_a.py"
    file.write_text("x = 1")
    first = provenance.code_hash([file, tmp_path / "conftest.py"])
    assert first == provenance.code_hash([file])
    file.write_text("x = 2")
    assert provenance.code_hash([file]) != first


def _folders_with_code(root):
    return sorted({path.parent for path in root.rglob("*.py")})


@pytest.mark.parametrize("package", [emolib, pytest_emolib], ids=lambda package: package.__name__)
def test_an_edit_in_any_folder_of_a_package_changes_its_hash(package, tmp_path):
    root = tmp_path / package.__name__
    skipped = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(Path(package.__file__).parent, root, ignore=skipped)
    package_hash = provenance.package_hash.__wrapped__
    before = package_hash(root)
    assert before == package_hash(Path(package.__file__).parent)
    for folder in _folders_with_code(root):
        file = min(folder.glob("*.py"))
        content = file.read_bytes()
        file.write_bytes(content + b"# edited")
        assert package_hash(root) != before, f"an edit of {file} goes unseen"
        file.write_bytes(content)
    assert package_hash(root) == before


def test_modules_of_one_name_in_two_folders_do_not_stand_in_for_each_other(tmp_path):
    for folder, content in (("a", "x = 1"), ("b", "x = 2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(content)
    package_hash = provenance.package_hash.__wrapped__
    before = package_hash(tmp_path)
    (tmp_path / "a/same.py").write_text("x = 2")
    (tmp_path / "b/same.py").write_text("x = 1")
    assert package_hash(tmp_path) != before


def test_by_default_the_hash_is_of_all_of_emolib():
    assert provenance.package_hash() == provenance.package_hash(Path(emolib.__file__).parent)
