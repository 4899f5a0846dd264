"""Public packages whose names load on first use (PEP 562): ``kilter --help`` loads neither Keras nor JAX.

The stub beside a package, ``__init__.pyi``, is the only list of its public names; type checkers and editors
read it too. Each name stands in an import: ``from kilter.nn.builders import mlp as mlp``.
"""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

_IMPORT: Final = re.compile(r"^from (\S+) import (?:\(([^)]*)\)|(.+))$", re.MULTILINE)


def names_of_stub(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of the package, which is being imported."""
    module = sys.modules[package]
    stub = Path(module.__path__[0], "__init__.pyi").read_text(encoding="utf-8")
    homes = {
        name.split()[0]: found[1]
        for found in _IMPORT.finditer(stub)
        for name in (found[2] or found[3]).split(",")
        if name.strip()
    }

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes[name]
        value = import_module(f"{package}.{name}") if home == package else getattr(import_module(home), name)
        setattr(module, name, value)
        return value

    return load, lambda: sorted({*vars(module), *homes}), sorted(homes)
