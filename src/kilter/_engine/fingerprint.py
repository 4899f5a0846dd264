"""What a trace of a model reads besides its arrays: attributes, options, functions and what these refer to.

A compiled program holds such values as constants, so its key holds them too: numbers, strings and small NumPy
arrays by value, everything else by identity. They are found by walking from the model, its layers and what it
was compiled with, through attributes, containers, closures and what user functions read of their globals.
"""

from __future__ import annotations

import dis
import functools
import hashlib
import sys
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.keras_internals import Node

Entries = dict[tuple[int, str], Any]
"""Frozen values by (number of the object, name of the attribute)."""

_SIMPLE = (type(None), bool, int, str, bytes, complex)
# What is read of a user's class; the rest is found where it is used.
_OF_CLASSES = (*_SIMPLE, float, list, tuple, dict, types.FunctionType)
# Larger arrays and containers are compared by identity and length.
_MOST_BYTES = 1 << 24
_MOST_ITEMS = 1000
_DEEPEST = 8

# fmt: off
# Keras's bookkeeping, which changes while it builds, compiles or trains.
_OWN_OF_KERAS: Final = frozenset((
    "_tracker", "_trainable_variables", "_non_trainable_variables", "_layers", "_metrics", "_seed_generators",
    "_lock", "_auto_config", "build", "quantize", "_run_eagerly", "_jit_compile", "compiled", "loss",
    "steps_per_execution", "_initial_epoch", "_compute_loss_has_training_arg", "_compile_loss",
    "_compile_metrics", "_loss_tracker", "train_function", "test_function", "predict_function",
    "_jax_state_synced", "name", "_inbound_nodes", "_outbound_nodes", "_path", "built", "_input_spec",
    "_called", "supports_jit", "_trainable", "_losses", "_loss_ids", "_losses_override", "_call_signature",
    "call_signature_parameters", "_call_has_training_arg", "_call_has_mask_arg", "_call_context_args",
    "_call_has_context_arg", "_supports_masking", "_convert_input_args", "_allow_non_tensor_positional_args",
    "_build_shapes_dict", "_parent_path", "_functional", "stop_training", "stop_evaluating",
    "stop_predicting", "_compiled_trainable_state", "_compile_config", "_distribute_strategy",
    "_eval_epoch_iterator", "history", "_jax_state", "_inputs_struct", "_outputs_struct", "_inputs",
    "_outputs", "_nodes", "_nodes_by_depth", "_operations", "_operations_by_depth", "output_names",
    "_variables", "_trainable_variables_indices", "_kilter_programs",
))
# Private attributes of Keras's objects that a user sets, by an argument or a property.
_SET_BY_USERS: Final = frozenset((
    "_fn_kwargs", "_user_loss", "_user_loss_weights", "_user_metrics", "_user_weighted_metrics",
    "_dtype_policy", "_learning_rate",
))
# No compiled step reads these.
_UNREAD = (
    keras.KerasTensor,
    Node,
    keras.callbacks.Callback,
    keras.initializers.Initializer,
    types.ModuleType,
)
# Libraries whose objects are compared by identity.
_OPAQUE: Final = frozenset((
    "numpy", "jax", "jaxlib", "pandas", "polars", "torch", "tensorflow", "grain", "sklearn", "scipy",
    "plotly", "matplotlib", "threading", "_thread", "weakref", "logging", "inspect", "multiprocessing",
))
# fmt: on
_LIBRARIES: Final = _OPAQUE | sys.stdlib_module_names - {"__main__"} | {"keras", "kilter", "optax"}


class Fingerprints:
    """Numbers for what traces of a model read: the same number while nothing has changed."""

    def __init__(self) -> None:
        self._identities: dict[int, tuple[Callable[[], Any], int]] = {}
        self._known: dict[frozenset[Any], int] = {}
        self._volatile: set[tuple[int, str]] = set()
        self._next = 0

    def read(self, model: keras.Model, owners: Sequence[Any]) -> Entries:
        """What a trace of the model would read now; ``owners`` is what it was compiled with."""
        walk = _Walk(self._number, _variables(model))
        layers = model._flatten_layers()
        walk.note(0, "layers", [*layers])
        walk.note(0, "owners", [*owners])
        walk.note(
            0, "variables", [[one.regularizer, one.constraint, one.trainable] for one in model.variables]
        )
        return walk.entries()

    def number(self, entries: Entries) -> int:
        """The number of these values, ignoring those that traces themselves change."""
        found = frozenset(item for item in entries.items() if item[0] not in self._volatile)
        return self._known.setdefault(found, len(self._known))

    def traced(self, before: Entries, after: Entries) -> None:
        """Ignore the values that this trace changed, such as a count of calls, from now on."""
        self._volatile.update(key for key, value in after.items() if before.get(key, value) != value)

    def _number(self, thing: Any) -> int:
        """A number for ``thing`` that no other object has had, even if an address is reused."""
        reference, number = self._identities.get(id(thing), (None, 0))
        if reference is None or reference() is not thing:
            self._next = number = self._next + 1
            self._identities[id(thing)] = reference_to(thing), number
        return number


def reference_to(thing: Any) -> Callable[[], Any]:
    """A function that returns ``thing`` while it is alive; a weak reference if possible."""
    try:
        return weakref.ref(thing)
    except TypeError:  # None, and objects without weak references
        return lambda: thing


def _variables(model: keras.Model) -> set[int]:
    optimizer = getattr(model, "optimizer", None)  # no attribute before compile()
    groups = (model.variables, model.metrics_variables, getattr(optimizer, "variables", ()))
    return {id(variable) for group in groups for variable in group}


class _Walk:
    """One walk from the roots through everything that a trace may read."""

    def __init__(self, number: Callable[[Any], int], variables: set[int]) -> None:
        self._number = number
        self._given = variables
        self._entries: Entries = {}
        self._seen: set[int] = set()
        self._waiting: deque[Any] = deque()

    def note(self, owner: int, name: str, value: Any) -> None:
        self._entries[owner, name] = self._frozen(value, 0)

    def entries(self) -> Entries:
        while self._waiting:
            thing = self._waiting.popleft()
            number = self._number(thing)
            for name, value in _parts(thing):
                self.note(number, name, value)
        return self._entries

    def _frozen(self, value: Any, depth: int) -> Any:
        """``value`` as a hashable that equals another exactly if a trace reads both in the same way."""
        kind = type(value)
        form = _form(kind)
        if form is _SIMPLE:
            return kind, value
        if form is float:
            return kind, repr(value)
        if form is np.ndarray and value.dtype != object:
            return self._array(value)
        if form is keras.Variable:
            held = None if id(value) in self._given else self._number(value._value)
            return "variable", self._number(value), held
        if form is tuple and depth < _DEEPEST:
            return self._container(value, depth + 1)
        if form is functools.partial:
            return self._frozen([value.func, value.args, value.keywords], depth)
        if form is types.MethodType:
            return self._frozen([value.__func__, value.__self__], depth)
        self._visit(value)
        return "object", self._number(value)

    def _array(self, array: Any) -> Any:
        if array.nbytes > _MOST_BYTES:
            return "array", self._number(array), array.shape
        digest = hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=16).digest()
        return "array", array.shape, array.dtype.str, digest

    def _container(self, value: Any, depth: int) -> Any:
        kind = type(value).__name__
        if len(value) > _MOST_ITEMS and depth > 1:
            return kind, self._number(value), len(value)
        if isinstance(value, Mapping):
            items = ((self._frozen(key, depth), self._frozen(one, depth)) for key, one in value.items())
            return kind, tuple(items)
        items = tuple(self._frozen(one, depth) for one in value)
        return kind, frozenset(items) if isinstance(value, set | frozenset) else items

    def _visit(self, thing: Any) -> None:
        if id(thing) in self._seen or isinstance(thing, (*_UNREAD, jax.Array)):
            return
        self._seen.add(id(thing))
        self._waiting.append(thing)


@functools.lru_cache(maxsize=4096)
def _form(kind: type) -> Any:
    """How values of this type are frozen, by the type that stands for all of its form."""
    if kind in _SIMPLE:
        return _SIMPLE
    forms: dict[Any, Any] = {
        np.ndarray: (np.ndarray, np.generic),
        keras.Variable: keras.Variable,
        tuple: (Mapping, list, tuple, set, frozenset),
        functools.partial: functools.partial,
        types.MethodType: types.MethodType,
    }
    found = (form for form, alike in forms.items() if issubclass(kind, alike))
    return float if kind is float else next(found, object)


def _parts(thing: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(thing, types.FunctionType):
        yield from _of_function(thing) if _is_foreign(thing) else ()
    elif isinstance(thing, type):
        yield from _of_class(thing) if _is_foreign(thing) else ()
    else:
        yield from _of_object(thing)


def _of_object(thing: Any) -> Iterator[tuple[str, Any]]:
    kind = type(thing)
    library = _library(kind)
    if library in _OPAQUE:
        return
    yield "class", kind
    for name, value in _attributes(thing):
        if _is_read(kind, name):
            yield name, value


@functools.lru_cache(maxsize=4096)
def _library(kind: type) -> str:
    return _root(kind.__module__)


@functools.lru_cache(maxsize=1 << 15)
def _is_read(kind: type, name: str) -> bool:
    """Whether an attribute is not Keras's own bookkeeping."""
    private = _library(kind) == "keras" and name.startswith("_") and name not in _SET_BY_USERS
    return not private and not (name in _OWN_OF_KERAS and _is_of_keras(kind))


@functools.lru_cache(maxsize=4096)
def _is_of_keras(kind: type) -> bool:
    return any(one.__module__.startswith("keras.") for one in kind.__mro__)


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    yield from list(getattr(thing, "__dict__", {}).items())
    yield from ((name, getattr(thing, name)) for name in _slots(type(thing)) if hasattr(thing, name))


@functools.lru_cache(maxsize=4096)
def _slots(kind: type) -> tuple[str, ...]:
    found = [vars(one).get("__slots__", ()) for one in kind.__mro__]
    names = [name for slots in found for name in ((slots,) if isinstance(slots, str) else slots)]
    return tuple(name for name in names if name not in ("__dict__", "__weakref__"))


def _of_class(kind: type) -> Iterator[tuple[str, Any]]:
    yield "bases", kind.__bases__
    for name, value in list(vars(kind).items()):
        if isinstance(value, property):
            yield name, value.fget
        elif isinstance(value, staticmethod | classmethod):
            yield name, value.__func__
        elif isinstance(value, _OF_CLASSES) and (name == "__call__" or not name.startswith("__")):
            yield name, value


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """A user's function: code, defaults, closure, and what it reads of its globals."""
    yield "code", function.__code__
    yield "defaults", (function.__defaults__, function.__kwdefaults__)
    yield "closure", [_content(cell) for cell in function.__closure__ or ()]
    for chain in _global_reads(function.__code__):
        if chain[0] in function.__globals__:
            yield f"global {'.'.join(chain)}", _reached(function.__globals__[chain[0]], chain[1:])


def _reached(value: Any, names: Sequence[str]) -> Any:
    """What ``value.a.b`` is, for the first names that exist; None of what a library has."""
    for name in names:
        if isinstance(value, types.ModuleType) and _root(value.__name__) in _LIBRARIES:
            return None
        if isinstance(getattr(type(value), name, None), property | functools.cached_property):
            return value  # reading it would run code
        try:
            value = getattr(value, name)
        except FOREIGN_ERRORS:
            break
    return value


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


@functools.lru_cache(maxsize=4096)
def _global_reads(code: types.CodeType) -> tuple[tuple[str, ...], ...]:
    """The globals that code reads, each with the attributes that it reads of them: ``(settings, scale)``."""
    found: set[tuple[str, ...]] = set()
    chain: tuple[str, ...] = ()
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            found, chain = found | {chain}, (step.argval,)
        elif chain and step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
            chain = (*chain, step.argval)
        elif step.opname not in ("CACHE", "EXTENDED_ARG", "PRECALL"):
            found, chain = found | {chain}, ()
    inner = (_global_reads(one) for one in code.co_consts if isinstance(one, types.CodeType))
    return tuple(sorted(found.union({chain}, *inner) - {()}))


def _root(module: str | None) -> str:
    return (module or "").partition(".")[0]


def _is_foreign(thing: Any) -> bool:
    """Whether a function or class is the user's own; a library's does not change."""
    return _root(thing.__module__) not in _LIBRARIES
