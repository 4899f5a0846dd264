"""Keras's internals are imported in one module, and all of them are there."""

import re
from pathlib import Path

from kilter._models import keras_internals

SOURCE = Path(__file__).parent.parent / "src"
HOME = "kilter/_models/keras_internals.py"


def test_no_symbol_is_missing():
    assert keras_internals.missing() == []


def test_a_symbol_that_moved_is_named():
    assert keras_internals.missing({"Gone": ("keras.src.layers", ""), "Dense": ("keras.layers", "")}) == [
        "keras.src.layers.Gone"
    ]
    assert keras_internals.missing({"Gone": ("keras.src.nowhere", "")}) == ["keras.src.nowhere.Gone"]


def test_each_symbol_has_a_reason():
    assert all(reason for _, reason in keras_internals.INTERNALS.values())


def test_nothing_else_imports_from_keras_src():
    found = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(r"^\s*(from|import) keras\.src", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert found == [HOME]
