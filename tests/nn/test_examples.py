"""The examples in the docstrings of kilter.nn are true."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["builders", "pairing"])
def test_examples(module):
    found = doctest.testmod(importlib.import_module(f"kilter.nn.{module}"))
    assert found.failed == 0
    assert found.attempted > 0
