"""Candidates that are functions: ``seed -> compiled Keras model``, trained on arrays."""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._fit import fit
from kilter.errors import DataError, ModelError, OptionError

Factory = Callable[[int], keras.Model]

PARTS = ("x", "y", "x_val", "y_val")
# What a comparison sets itself; all else that fit takes may be given.
_TAKEN = {"model", "x", "y", "validation_data", "validation_split", "run", "seed", "verbose", "initial_epoch"}


def train_function(
    function: Factory, seed: int, data: Mapping[str, Any], options: Mapping[str, Any], folder: Path
) -> None:
    """Train the model that ``function(seed)`` returns, kept in a run directory below `folder`.

    Keras's, NumPy's and Python's generators are seeded first, for layers that are given no seed draw from
    them. The model ends with its best weights by the validation loss.
    """
    keras.utils.set_random_seed(seed)
    model = function(seed)
    if not isinstance(model, keras.Model) or not model.compiled:
        kind = "a model that is not compiled" if isinstance(model, keras.Model) else type(model).__name__
        raise ModelError(
            expected=f"a compiled keras.Model from {describe(function)}({seed})",
            received=kind,
            remedy="call model.compile(...) in the function and return the model",
        )
    validation = (data["x_val"], data["y_val"])
    folder.mkdir(parents=True, exist_ok=True)
    fit(model, data["x"], data["y"], validation_data=validation, seed=seed, run=folder, verbose=0, **options)


def check_data(data: Any) -> dict[str, Any]:
    """`data` by the names of its parts; :class:`DataError` unless it is (x, y, x_val, y_val)."""
    if not isinstance(data, tuple | list) or len(data) != len(PARTS):
        raise DataError(
            expected="data=(x, y, x_val, y_val) for candidates that are functions",
            received="no data" if data is None else f"data of type {type(data).__name__}",
            remedy="divide the data once, so that all candidates see the same rows",
        )
    return dict(zip(PARTS, data, strict=True))


def check_options(options: Mapping[str, Any]) -> None:
    """Raise :class:`OptionError` for what is no option of kilter.fit, or is set by the comparison."""
    known = sorted(set(inspect.signature(fit).parameters) - _TAKEN)
    wrong = sorted(set(options) - set(known))
    if wrong:
        raise OptionError(
            expected=f"options of kilter.fit in fit: {', '.join(known)}",
            received=", ".join(wrong),
            remedy="take them out: data, seeds and run directories are the comparison's",
        )


def importable(function: Factory) -> str | None:
    """``module:function`` by which another process finds `function`; None for one that has no such name."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module in (None, "__main__") or getattr(sys.modules.get(module), name, None) is not function:
        return None
    return f"{module}:{name}"


def transferable(data: Mapping[str, Any], options: Mapping[str, Any]) -> bool:
    """Whether data and options can be written to files without pickle: arrays of numbers, and JSON."""
    arrays = all(hasattr(part, "dtype") and np.asarray(part).dtype != object for part in data.values())
    return arrays and _plain(options)


def describe(function: Factory) -> str:
    """The function's name, for people."""
    return getattr(function, "__qualname__", type(function).__name__)


def fingerprint(data: Mapping[str, Any]) -> str:
    """SHA-256 of all arrays in `data`, in order."""
    digest = hashlib.sha256()
    for leaf in keras.tree.flatten([data[name] for name in PARTS]):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _plain(options: Mapping[str, Any]) -> bool:
    try:
        return json.loads(json.dumps(dict(options))) == dict(options)
    except (TypeError, ValueError):
        return False
