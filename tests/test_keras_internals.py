"""Keras's internals are imported in one module, and all of them are there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src"
HOME = "kilter/_models/keras_internals.py"


def test_a_symbol_that_moved_is_named():
    code = "from keras.src.ops import node\ndel node.Node\nimport kilter._models.keras_internals"
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "BackendError" in ended.stderr
    assert "cannot import name 'Node' from 'keras.src.ops.node'" in ended.stderr


def test_each_symbol_has_a_reason():
    tree = ast.parse((SOURCE / HOME).read_text(encoding="utf-8"))
    imports = [one for one in ast.walk(tree) if isinstance(one, ast.ImportFrom)]
    names = [each.name for one in imports if str(one.module).startswith("keras") for each in one.names]
    listed = str(ast.get_docstring(tree))
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", listed)] == []


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
