"""What the tests of inputs share: a working directory with data files of one's own."""

from __future__ import annotations

import pytest
from own_data import write_folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working directory with a profile ``mine`` and the data of one emotion."""
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path)
    return tmp_path
