"""Every example in a docstring runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import pytest_emolib

import emolib


def _modules():
    for package in (emolib, pytest_emolib):
        yield package.__name__
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            # Importing one of these runs it.
            if not found.name.endswith("__main__"):
                yield found.name


def _examples(module):
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", list(_modules()))
def test_examples(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted == sum(len(test.examples) for test in _examples(module))


def test_there_are_examples():
    modules = (importlib.import_module(name) for name in _modules())
    assert sum(len(_examples(module)) for module in modules) >= 10
