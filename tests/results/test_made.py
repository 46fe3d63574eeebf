"""What files were made of: the same items, the same code, and nobody wrote to them since."""

from __future__ import annotations

import os
from array import array

import pytest

from emolib.results import made
from emolib.results.made import is_made_of, made_of

ITEMS = array("q", [1, 2, 3])


@pytest.fixture
def files(tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "a.md"]
    for path in paths:
        path.write_text(path.name)
    return paths


def test_files_stand_while_nothing_changes(files):
    noted = made_of(ITEMS, files)
    assert is_made_of(noted, ITEMS, files) and is_made_of(noted, ITEMS, files[:1])
    assert not is_made_of(made_of(ITEMS, files[:1]), ITEMS, files)


def test_other_items_other_code_or_another_file_undo_that(files, monkeypatch):
    noted = made_of(ITEMS, files)
    assert not is_made_of(noted, array("q", [1, 3, 2]), files)
    before = files[0].stat()
    files[0].write_text("A.csv")
    assert not is_made_of(noted, ITEMS, files) and is_made_of(noted, ITEMS, files[1:])
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    assert is_made_of(noted, ITEMS, files)
    files[0].unlink()
    assert not is_made_of(noted, ITEMS, files)
    assert not is_made_of(made_of(ITEMS, files), ITEMS, files)
    monkeypatch.setattr(made, "package_hash", lambda: "other")
    assert not is_made_of(noted, ITEMS, files[1:])
