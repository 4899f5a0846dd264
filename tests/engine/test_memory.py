"""Memory is given back where the C library can do it, and nothing is said where it cannot."""

import ctypes

import pytest

from kilter._xla import memory


def test_a_library_that_can_is_asked_and_another_is_not(monkeypatch: pytest.MonkeyPatch):
    asked = []

    class Glibc:
        malloc_trim = staticmethod(asked.append)

    monkeypatch.setattr(memory.sys, "platform", "linux")
    for library, expected in ((Glibc(), [0]), (object(), [0])):
        monkeypatch.setattr(ctypes, "CDLL", lambda name, library=library: library)
        memory.give_back()
        assert asked == expected
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Glibc())
    memory.give_back()
    assert asked == [0]
