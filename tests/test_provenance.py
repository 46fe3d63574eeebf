"""Provenance: versions, the commit, and hashes of code."""

from __future__ import annotations

import subprocess

import torch

from emolib import provenance


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


def test_package_hash_covers_the_package():
    assert len(provenance.package_hash()) == 16
