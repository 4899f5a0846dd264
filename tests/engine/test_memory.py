"""Memory is given back where the C library can do it, and nothing is said where it cannot."""

import ctypes

import pytest

from kilter._xla import compilation


def test_a_library_that_can_is_asked_and_another_is_not(monkeypatch: pytest.MonkeyPatch):
    asked = []

    class Glibc:
        malloc_trim = staticmethod(asked.append)

    monkeypatch.setattr(compilation.sys, "platform", "linux")
    for library, expected in ((Glibc(), [0]), (object(), [0])):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, library=library: library)
        compilation.give_back()
        assert asked == expected
    monkeypatch.setattr(compilation.sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Glibc())
    compilation.give_back()
    assert asked == [0]
