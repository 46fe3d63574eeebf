"""Names that a package hands on."""

from __future__ import annotations

import sys

import pytest

from emolib.lazy import hand_on


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Give a package that hands on a name of a module, and its folder."""
    folder = tmp_path / "handing"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from emolib.lazy import hand_on\n"
        "__getattr__, __dir__ = hand_on(__name__, {'handing.room': ['chair']})\n"
    )
    (folder / "room.py").write_text("chair = object()\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "handing"
    for name in ("handing", "handing.room"):
        sys.modules.pop(name, None)


def test_a_module_is_loaded_when_a_name_of_it_is_first_asked_for(package):
    import handing

    assert "handing.room" not in sys.modules and "chair" in dir(handing)
    chair = handing.chair
    assert chair is sys.modules["handing.room"].chair is vars(handing)["chair"]


def test_modules_are_still_imported_by_their_names(package):
    from handing import room

    assert room.__name__ == "handing.room"


def test_a_name_that_is_not_there_is_told_as_python_does(package):
    import handing

    with pytest.raises(AttributeError, match=r"^module 'handing' has no attribute 'table'$"):
        _ = handing.table
    with pytest.raises(ImportError, match="cannot import name 'table' from 'handing'"):
        from handing import table  # noqa: F401


def test_a_name_that_its_module_lacks_is_an_error():
    find, _ = hand_on("emolib.stats", {"emolib.stats.noise": ["nothing"]})
    with pytest.raises(AttributeError, match=r"emolib\.stats\.noise.*nothing"):
        find("nothing")
