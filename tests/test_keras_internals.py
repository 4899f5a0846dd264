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


def test_variables_are_written_in_one_module():
    """But for an optimiser's own state, which it updates while a step is traced."""
    written = re.compile(r"\b(?!self\b)\w+\.assign\(")
    found = [
        path.relative_to(SOURCE).as_posix()
        for path in sorted(SOURCE.rglob("*.py"))
        if written.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["kilter/_engine/optax_optimizer.py", "kilter/_models/variables.py"]


def test_calls_of_layers_are_replaced_in_one_module():
    replaced = re.compile(r"""replace_attribute\(\w+, "call"|\.call = """)
    found = [
        path.relative_to(SOURCE).as_posix()
        for path in sorted(SOURCE.rglob("*.py"))
        if replaced.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["kilter/_models/tracing.py"]


def test_the_inner_optimizer_is_found_in_one_module():
    found = [
        path.relative_to(SOURCE).as_posix()
        for path in sorted(SOURCE.rglob("*.py"))
        if re.search(r"[.\"]inner_optimizer\b", path.read_text(encoding="utf-8"))
    ]
    assert found == ["kilter/_models/optimizers.py"]
