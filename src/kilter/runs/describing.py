"""Objects as text that is the same in another process, to notice what has changed since a run began."""

import functools
import hashlib
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final

import keras
import numpy as np

from kilter._engine.attributes import PLAIN, is_foreign, parts_of
from kilter._models.copying import FOREIGN_ERRORS

_MOST_BYTES: Final = 1 << 24  # of larger arrays only type and shape count
_NAMED: Final = (types.FunctionType, types.BuiltinFunctionType, type)


def digest_of(thing: Any) -> str:
    """SHA-256 of what another process would see of ``thing`` too.

    That is: plain values, containers and arrays; the configurations of Keras's objects, the fields of
    dataclasses; and of functions and classes that are not a library's, the compiled code with what it reads,
    but not its lines and comments. Other objects count by their type.
    """
    return hashlib.sha256("\n".join(_lines(thing, {})).encode("utf-8", "backslashreplace")).hexdigest()


def _lines(thing: Any, seen: dict[int, Any]) -> Iterator[str]:
    """The text of ``thing``; ``seen`` has what it was made of so far, which is not repeated."""
    if isinstance(thing, (*PLAIN, float)):
        yield repr(thing)
        return
    named = thing if isinstance(thing, _NAMED) else type(thing)
    yield f"{named.__module__}.{named.__qualname__}"
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    yield "("
    for part in _parts(thing):
        yield from _lines(part, seen)
    yield ")"


def _parts(thing: Any) -> list[Any]:
    """What counts of ``thing`` besides its name or type."""
    if isinstance(thing, types.CodeType):
        return [thing.co_code.hex(), *thing.co_names, *thing.co_varnames, *thing.co_consts]
    if isinstance(thing, functools.partial):
        return [thing.func, *thing.args, *thing.keywords.items()]
    if isinstance(thing, types.MethodType):
        return [thing.__func__]
    if isinstance(thing, _NAMED):
        return [*parts_of(thing)] if not isinstance(thing, types.BuiltinFunctionType) else []
    if isinstance(thing, Mapping):
        return [*thing.items()]
    if isinstance(thing, set | frozenset):
        return sorted(map(repr, thing))
    if isinstance(thing, list | tuple):
        return [*thing]
    if isinstance(thing, np.ndarray | np.generic):
        is_read = thing.nbytes <= _MOST_BYTES and thing.dtype != object
        return [str(thing.dtype), str(thing.shape), thing.tobytes().hex() if is_read else None]
    return [*([type(thing)] if is_foreign(type(thing)) else []), *_settings(thing)]


def _settings(thing: Any) -> list[Any]:
    if is_dataclass(thing):
        return [(one.name, getattr(thing, one.name)) for one in fields(thing)]
    if isinstance(thing, types.ModuleType | keras.Model) or not hasattr(thing, "get_config"):
        return []
    try:
        return [one for one in thing.get_config().items() if one[0] != "name"]
    except FOREIGN_ERRORS:
        return []


def code_of(model: keras.Model, given: list[Any]) -> str:
    """SHA-256 of the code of users in the model, its layers, losses and metrics, and in ``given``."""
    layers = [*model._flatten_layers()]
    config = getattr(getattr(model, "_compile_config", None), "config", {})
    used = [
        *layers,
        *keras.tree.flatten(config),
        *given,
        *(one for layer in layers for one in vars(layer).values()),
    ]
    named = [one if isinstance(one, _NAMED) else type(one) for one in used]
    return digest_of([one for one in named if is_foreign(one)])
