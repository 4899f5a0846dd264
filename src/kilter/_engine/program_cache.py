"""The cache of compiled programs: by model, and by structure where models share them."""

import contextlib
import threading
import time
import weakref
from collections.abc import Callable, Generator, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import jax
import keras

from kilter._engine.fingerprint import Fingerprints, reference_to
from kilter._engine.interrupt import awaited, started
from kilter._engine.stable_losses import is_from_logits, losses_used
from kilter._engine.step_cost import StepCost, cost_of
from kilter._engine.step_loop import Chunk, setting
from kilter._engine.structure import structure
from kilter._models.layers import CONVOLUTIONS
from kilter._models.variables import variables
from kilter._system import context_value
from kilter._xla.compilation import (
    compares_floats,
    compile_options,
    is_quick,
    quick_compilation,
)
from kilter._xla.equations import constants_of
from kilter._xla.rewrite import is_rewritten
from kilter.errors import ModelError

_SHELF = "_kilter_programs"
# Number of programs that are kept although they differ only in values their traces read, for values that
# change back and forth.
_MOST_READINGS = 4
_STEPS: Final = ("train", "test", "predict")
_compiling = threading.Lock()  # one program at a time: two need more memory


class Compilation:
    """A program that another thread compiles; a call waits for it. A failed compilation is tried again."""

    def __init__(self, compile_it: Callable[[], Callable[..., Any]]) -> None:
        self._compile: Callable[[], Callable[..., Any]] | None = compile_it
        self._coming: Any = started(compile_it)

    def wait(self) -> float:
        """Seconds until the program was there."""
        if self._compile is None:
            return 0.0
        began, coming = time.perf_counter(), self._coming or started(self._compile)
        self._coming = None
        self.compiled = awaited(coming)
        self._compile = None  # with the program as it was before compilation
        return time.perf_counter() - began

    def __call__(self, *arguments: Any) -> Any:
        self.wait()
        return self.compiled(*arguments)


class Program(NamedTuple):
    """A compiled function, what one pass of its loop costs, and whether a loss is computed from logits."""

    run: Compilation
    cost: StepCost
    from_logits: bool


# Settings of JAX that a trace or a compilation reads; all can be set for a part of a program.
_SETTINGS: Final = (
    "default_matmul_precision",
    "enable_x64",
    "numpy_dtype_promotion",
    "debug_nans",
    "debug_infs",
)


class Key(NamedTuple):
    """What decides a compiled program."""

    name: Hashable
    signature: Hashable
    owners: tuple[int, ...]
    quick: bool
    rewritten: bool
    from_logits: bool
    settings: tuple[Any, ...]
    read: int


class _Shared:
    """Programs by structure. Keeps objects alive that its keys identify by ``id``."""

    def __init__(self) -> None:
        self.programs: dict[Hashable, Program] = {}
        self.kept: list[Any] = []


_shared: ContextVar[_Shared | None] = ContextVar("kilter_shared_programs", default=None)


@contextlib.contextmanager
def shared_programs() -> Generator[None]:
    """Context in which models of equal :func:`~kilter._engine.structure.structure` share programs.

    Within another such context it is that one.
    """
    if _shared.get() is not None:
        yield
        return
    with context_value(_shared, _Shared()):
        yield


QUICK_WEIGHTS: Final = 50_000
MANY_BATCHES: Final = 16  # an epoch, for which short runs leave the last, partial one out
QUICK_STEPS: Final = 30_000
_decided: ContextVar[bool] = ContextVar("kilter_compilation_decided", default=False)


@contextlib.contextmanager
def compiled_for(model: keras.Model, steps: int, most_weights: float) -> Generator[None]:
    """Context in which all programs for ``steps`` steps of models like this one are compiled the same way.

    For few steps of small networks without convolutions it is the fast way: these gain more than they lose.
    The outermost context decides, since a program that is compiled in two ways is compiled twice.
    """
    if _decided.get():
        yield
        return
    convolves = any(isinstance(layer, CONVOLUTIONS) for layer in model._flatten_layers())
    slow = convolves or steps > QUICK_STEPS or (model.built and model.count_params() > most_weights)
    with context_value(_decided, True), contextlib.nullcontext() if slow else quick_compilation():
        yield


@dataclass
class Shelf:
    """The programs compiled for one model, in whose ``__dict__`` it lives, and the seconds they took."""

    model: Callable[[], Any]
    programs: dict[Key, tuple[Program, tuple[Callable[[], Any], ...]]] = field(default_factory=dict)
    seconds: float = 0.0
    _fingerprints: Fingerprints = field(default_factory=Fingerprints)

    def get(
        self,
        name: Hashable,
        owners: tuple[Any, ...],
        make: Callable[[], Chunk],
        arguments: tuple[Any, ...],
        *,
        donate: tuple[int, ...] = (),
        hoists: bool = False,
        rare: bool = False,
        shapes: Hashable = None,
        waits: bool = True,
    ) -> Compilation:
        """The program ``name`` for the shapes of ``arguments``, compiled from ``make()`` if it is not there.

        ``donate``: arguments whose memory it may reuse. ``hoists``, ``rare``: as for
        :func:`~kilter._xla.compilation.compile_options`. ``owners``: objects that the trace depends on; with
        one of them the program goes too. The key also holds the values that a trace reads
        (:mod:`kilter._engine.fingerprint`). ``shapes``: the arguments' :func:`signature`, if it is known.
        Unless it ``waits``, the program may still be compiling.
        """
        entries = self._fingerprints.read(self.model(), owners)
        key = Key(
            name,
            shapes or signature(arguments),
            tuple(id(owner) for owner in owners),
            is_quick(),
            is_rewritten(),
            is_from_logits(),
            tuple(map(setting, _SETTINGS)),
            self._fingerprints.number(entries),
        )
        program, held = self.programs.get(key, (None, ()))
        # A deleted owner's identity may have been used again by another object.
        if program is None or any(one() is not owner for one, owner in zip(held, owners, strict=True)):
            self._forget(key)
            began, keys = time.perf_counter(), {key}
            place = self._shared_key(key, owners)
            shared = _shared.get()
            program = None if shared is None or place is None else shared.programs.get(place)
            if program is None:
                kind = name[0] if isinstance(name, tuple) else name
                of = self.model() if kind in _STEPS else None
                program = _compiled(make, arguments, donate, {"hoists": hoists, "rare": rare}, of)
                self._fingerprints.traced(entries, after := self._fingerprints.read(self.model(), owners))
                keys = {key._replace(read=self._fingerprints.number(read)) for read in (entries, after)}
                if shared is not None and place is not None:
                    shared.programs[place] = program
                    shared.kept += [owners, getattr(self.model(), "_compile_config", None)]
                self.seconds += time.perf_counter() - began
            self.programs |= dict.fromkeys(keys, (program, tuple(map(reference_to, owners))))
        if waits:
            self.seconds += program.run.wait()
        return program.run

    def cost(self, name: str) -> StepCost | None:
        """The cost of a step of the last program ``name``, or (``name``, ...); None without one."""
        program = self._last(name)
        return None if program is None else program.cost

    def uses_logits(self, name: str) -> bool:
        """Whether that program computes a cross-entropy from logits where Keras would clip probabilities."""
        program = self._last(name)
        return program is not None and program.from_logits

    def _last(self, name: str) -> Program | None:
        for key, (program, _) in reversed(self.programs.items()):
            kind = key.name[0] if isinstance(key.name, tuple) else key.name
            if kind == name and key.from_logits == is_from_logits():
                return program
        return None

    def _shared_key(self, key: Key, owned: tuple[Any, ...]) -> Hashable:
        """The key without identities of this model's own parts; None where its structure is not known."""
        model = self.model()
        if _shared.get() is None or (parts := structure(model)) is None:
            return None
        own = {id(one): place for place, one in enumerate(owners(model))}
        name = key.name[0] if isinstance(key.name, tuple) else key.name
        owned_by = tuple(own.get(one, one) for one in map(id, owned))
        return parts.of(str(name)), key._replace(owners=owned_by, read=0)

    def reading(self, owners: tuple[Any, ...]) -> int:
        """The number of the values that a trace would read now."""
        return self._fingerprints.number(self._fingerprints.read(self.model(), owners))

    def _forget(self, new: Key) -> None:
        """Drop programs with a deleted owner, and the oldest of those that read other values."""
        gone = [
            key
            for key, (_, held) in self.programs.items()
            if any(isinstance(one, weakref.ref) and one() is None for one in held)
        ]
        alike = [key for key in self.programs if key._replace(read=new.read) == new and key not in gone]
        for key in [*gone, *alike[: -_MOST_READINGS or None]]:
            del self.programs[key]


def _compiled(make: Any, arguments: Any, donate: Any, how: dict[str, bool], of: Any) -> Program:
    """``of``: the model whose step this is, None for other programs."""
    with losses_used() as losses:
        traced = jax.jit(make(), donate_argnums=donate).trace(*arguments)
    if of is not None:
        _check_constants(of, traced.jaxpr)
    lowered, cost = traced.lower(), cost_of(traced.jaxpr)
    options = compile_options(compares=compares_floats(traced.jaxpr), work=cost.work, **how) or None

    def compile_it() -> Callable[..., Any]:
        with _compiling:
            return lowered.compile(compiler_options=options)

    return Program(Compilation(compile_it), cost, bool(losses))


def _check_constants(model: keras.Model, jaxpr: Any) -> None:
    """Raise :class:`ModelError` if a step reads a variable of its model instead of the state.

    It would have its present value in every step, without a gradient. Keras takes variables away meanwhile.
    """
    found, groups = set(map(id, constants_of(jaxpr))), variables(model)
    # Layers may keep scalars of theirs, such as those that Normalization adapts to.
    fixed = {id(one) for one in groups.non_trainable if not one._value.ndim}
    every = (one for group in groups for one in group)
    read = [one.path for one in every if id(one._value) in found and id(one) not in fixed]
    if read:
        raise ModelError(
            expected="a step, loss or metric that takes the values of variables from the state",
            received=f"model {model.name!r}, whose own code reads {', '.join(read)} directly",
            remedy="compute penalties, such as compute_loss and self.losses, within self.stateless_call(..., "
            "return_losses=True), or within keras.StatelessScope with the state's values",
        )


def signature(arguments: Any) -> Hashable:
    """Structure, shapes and types of a program's arguments."""
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def shelf(model: keras.Model) -> Shelf:
    """The model's shelf of programs; a new one if layers were frozen or unfrozen since."""
    flags = tuple(layer.trainable for layer in model._flatten_layers())
    held_flags, held = model.__dict__.get(_SHELF, (None, None))
    if held is None or held_flags != flags or held.model() is not model:
        held = Shelf(reference_to(model))
        model.__dict__[_SHELF] = (flags, held)
    return held


def owners(model: keras.Model, *others: Any) -> tuple[Any, ...]:
    """The objects that a trace of the model depends on and that compile() replaces; None before compile()."""
    names = ("optimizer", "_compile_loss", "_compile_metrics", "_loss_tracker")
    return (*(getattr(model, name, None) for name in names), *others)


class Programs:
    """A model's programs for one call, in which changes of the model by a callback take no effect."""

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._held: dict[Any, tuple[Any, Any]] = {}

    def get(self, name: Hashable, owners: tuple[Any, ...], make: Any, arguments: Any, **how: Any) -> Any:
        """The program as :meth:`Shelf.get` gives it."""
        programs, waits = shelf(self._model), how.pop("waits", True)
        modes = (is_quick(), is_rewritten(), is_from_logits(), *how.items())
        shapes = signature(arguments)
        key = (name, shapes, *modes, id(programs), *map(id, owners))
        if key not in self._held:
            program = programs.get(name, owners, make, arguments, shapes=shapes, waits=waits, **how)
            # Keeps the shelf and the owners alive, so that their identities stay unique.
            self._held[key] = program, (programs, owners)
        program = self._held[key][0]
        if waits:
            programs.seconds += program.wait()
        return program
