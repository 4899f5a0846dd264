"""What a trace of a model reads besides its arrays: attributes, options, functions and what these refer to.

A compiled program holds such values as constants, so its key holds them too: numbers, strings and small NumPy
arrays by value, everything else by identity. They are found by walking from the model, its layers and what it
was compiled with, through attributes, containers, closures and what user functions read of their globals.
"""

import functools
import hashlib
import operator
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import keras
import numpy as np

from kilter._engine.attributes import PLAIN, parts_of, slots
from kilter._models.keras_internals import Node

Entries = dict[tuple[int, str], Any]
"""Frozen values by (number of the object, name of the attribute)."""

# Larger arrays and containers are compared by identity and length.
_MOST_BYTES = 1 << 24
_MOST_ITEMS = 1000
_DEEPEST = 8
_MOST_NUMBERS = 4  # kept, of the last readings

# No compiled step reads these.
_UNREAD = (
    keras.KerasTensor,
    Node,
    keras.callbacks.Callback,
    keras.initializers.Initializer,
    types.ModuleType,
)


class Fingerprints:
    """Numbers for what traces of a model read: the same number while nothing has changed."""

    def __init__(self) -> None:
        self._identities: dict[int, tuple[Callable[[], Any], int]] = {}
        self._known: dict[frozenset[Any], int] = {}
        self._volatile: set[tuple[int, str]] = set()
        self._next = 0
        self._walks: dict[int, _Walk] = {}  # the last one, by the number of owners
        self._numbers: dict[int, tuple[Entries, int]] = {}

    def read(self, model: keras.Model, owners: Sequence[Any]) -> Entries:
        """What a trace of the model would read now; ``owners`` is what it was compiled with."""
        variables = model.variables
        roots = {
            "layers": [*model._flatten_layers()],
            "owners": [*owners],
            "trainable": bytes(bool(one.trainable) for one in variables),
            "penalties": [
                (place, one.regularizer, one.constraint)
                for place, one in enumerate(variables)
                if not (one.regularizer is None and one.constraint is None)
            ],
        }
        given, walk = _identities(model, variables), self._walks.get(len(owners))
        if walk is None or not walk.holds(given, roots):
            walk = self._walks[len(owners)] = _Walk(self._number, given, roots)
        return walk.entries

    def number(self, entries: Entries) -> int:
        """The number of these values, ignoring those that traces themselves change."""
        held, number = self._numbers.get(id(entries), (None, 0))
        if held is not entries:
            found = frozenset(item for item in entries.items() if item[0] not in self._volatile)
            number = self._known.setdefault(found, len(self._known))
            self._numbers = dict([*self._numbers.items()][-_MOST_NUMBERS:]) | {id(entries): (entries, number)}
        return number

    def traced(self, before: Entries, after: Entries) -> None:
        """Ignore the values that this trace changed, such as a count of calls, from now on."""
        self._volatile.update(key for key, value in after.items() if before.get(key, value) != value)
        self._numbers.clear()

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


def _identities(model: keras.Model, variables: list[keras.Variable]) -> set[int]:
    optimizer = getattr(model, "optimizer", None)  # no attribute before compile()
    groups = (variables, model.metrics_variables, getattr(optimizer, "variables", ()))
    return {id(variable) for group in groups for variable in group}


class _Walk:
    """One walk from the roots through everything that a trace may read."""

    def __init__(self, number: Callable[[Any], int], variables: set[int], roots: Mapping[str, Any]) -> None:
        self._number = number
        self._given = variables
        self._seen: set[int] = set()
        self._waiting: deque[Any] = deque()
        self.entries: Entries = self._noted(0, roots.items())
        self._unchanged: list[Callable[[], bool]] = []
        while self._waiting:
            thing = self._waiting.popleft()
            owner, parts = self._number(thing), dict(parts_of(thing))
            if parts:
                found = self._noted(owner, parts.items())
                self.entries |= found
                self._unchanged.append(self._watched(thing, owner, parts, found))

    def holds(self, variables: set[int], roots: Mapping[str, Any]) -> bool:
        """Whether another walk would find the same: most is compared by identity, which is faster."""
        found = self._noted(0, roots.items())
        known = all(self.entries[place] == value for place, value in found.items())
        return known and variables == self._given and all(unchanged() for unchanged in self._unchanged)

    def _noted(self, owner: int, parts: Iterable[tuple[str, Any]]) -> Entries:
        return {(owner, name): self._frozen(value, 0) for name, value in parts}

    def _watched(
        self, thing: Any, number: int, parts: Mapping[str, Any], found: Entries
    ) -> Callable[[], bool]:
        """Whether ``thing`` still has these parts."""
        whole = reference_to(thing)
        kind, attributes = type(thing), getattr(thing, "__dict__", None)
        if type(attributes) is not dict or slots(kind) or isinstance(thing, types.FunctionType):
            return lambda: self._noted(number, parts_of(whole())) == found
        names, read = [*attributes], [name for name in parts if name != "class"]
        fixed = [name for name in read if _form(type(parts[name])) in (PLAIN, float)]
        others = [name for name in read if name not in fixed and self._is_object(parts[name])]
        rest = [(name, found[number, name]) for name in read if name not in fixed and name not in others]
        get_fixed, get_others = _getter(fixed), _getter(others)
        values, references = get_fixed(attributes), [*map(reference_to, get_others(attributes))]

        def unchanged() -> bool:
            alive = whole()
            held = getattr(alive, "__dict__", None)
            return (
                type(alive) is kind
                and held is not None
                and [*held] == names
                and all(map(operator.is_, get_fixed(held), values))
                and all(map(operator.is_, get_others(held), [one() for one in references]))
                and all(self._frozen(held[name], 0) == value for name, value in rest)
            )

        return unchanged

    def _is_object(self, value: Any) -> bool:
        """Whether it counts by identity alone."""
        form = _form(type(value))
        return form is object or (form is keras.Variable and id(value) in self._given)

    def _frozen(self, value: Any, depth: int) -> Any:
        """``value`` as a hashable that equals another exactly if a trace reads both in the same way."""
        kind = type(value)
        form = _form(kind)
        if form is PLAIN:
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
    if kind in PLAIN:
        return PLAIN
    forms: dict[Any, Any] = {
        np.ndarray: (np.ndarray, np.generic),
        keras.Variable: keras.Variable,
        tuple: (Mapping, list, tuple, set, frozenset),
        functools.partial: functools.partial,
        types.MethodType: types.MethodType,
    }
    found = (form for form, alike in forms.items() if issubclass(kind, alike))
    return float if kind is float else next(found, object)


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """A function that takes these items out of a dict."""
    if len(names) > 1:
        return operator.itemgetter(*names)
    return lambda items: tuple(items[name] for name in names)
