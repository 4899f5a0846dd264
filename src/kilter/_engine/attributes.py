"""What a trace may read of one thing: attributes, and of a user's function its globals.

Of Keras's objects without its bookkeeping, of functions and classes only those of users.
"""

import dis
import functools
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any, Final

from kilter._models.copying import FOREIGN_ERRORS

PLAIN: Final = (type(None), bool, int, str, bytes, complex)
# What is read of a user's class; the rest is found where it is used.
_OF_CLASSES: Final = (*PLAIN, float, list, tuple, dict, types.FunctionType)

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
# Libraries whose objects are compared by identity.
_OPAQUE: Final = frozenset((
    "numpy", "jax", "jaxlib", "pandas", "polars", "torch", "tensorflow", "grain", "sklearn", "scipy",
    "plotly", "matplotlib", "threading", "_thread", "weakref", "logging", "inspect", "multiprocessing",
))
# fmt: on
_LIBRARIES: Final = _OPAQUE | sys.stdlib_module_names - {"__main__"} | {"keras", "kilter", "optax"}


def parts_of(thing: Any) -> Iterator[tuple[str, Any]]:
    """What a trace may read of ``thing``, by name."""
    if isinstance(thing, types.FunctionType):
        yield from _of_function(thing) if is_foreign(thing) else ()
    elif isinstance(thing, type):
        yield from _of_class(thing) if is_foreign(thing) else ()
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
    yield from ((name, getattr(thing, name)) for name in slots(type(thing)) if hasattr(thing, name))


@functools.lru_cache(maxsize=4096)
def slots(kind: type) -> tuple[str, ...]:
    """The names of attributes that a class keeps in slots."""
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


def is_foreign(thing: Any) -> bool:
    """Whether a function or class is the user's own; a library's does not change."""
    return _root(thing.__module__) not in _LIBRARIES
