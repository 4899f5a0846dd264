"""Runs a user's script up to its first training, with ``fit`` intercepted and layers located.

Runs in a process of its own, which :mod:`kilter._cli.scripts` starts.
"""

import inspect
import itertools
import runpy
import sys
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Final

import keras
import numpy as np

import kilter
from kilter import _fit
from kilter._cli.script_edits import Position
from kilter.errors import DataError, RunError

_TAKEN: Final = ("validation_data", "batch_size", "epochs", "shuffle", "class_weight", "sample_weight")
_KILTER: Final = (*_TAKEN, "schedule", "augment")
_HELD: Final = 0.2
_USAGE: Final = 2  # argparse's exit code for arguments that are missing or wrong
_TRAIN: Final = "call model.fit or kilter.fit on the model, also if the script is run directly"
_MOST_ROWS: Final = 20_000  # of a generator


@dataclass(frozen=True, eq=False)
class Training:
    """The first call of ``fit``: the model, the data, the options, and the line that it is on.

    ``compiled``: the line on which the model was compiled, None if the script did not do it itself.
    """

    model: keras.Model
    x: Any
    y: Any
    options: dict[str, Any]
    line: int
    compiled: int | None = None


class _Reached(BaseException):
    """The script has reached its first training; no ``except Exception`` of the script holds it up."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self.training = training


class Sites:
    """Where in the script each layer was made."""

    def __init__(self, script: Path) -> None:
        self._script = str(script)
        self._known: weakref.WeakKeyDictionary[Any, Position] = weakref.WeakKeyDictionary()
        self.compiled: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def see_compile(self, model: Any) -> None:
        """Remember the line of the script that compiles ``model``."""
        frame = sys._getframe(2)
        while frame is not None and frame.f_code.co_filename != self._script:
            frame = frame.f_back
        if frame is not None:
            self.compiled[model] = frame.f_lineno

    def see(self, layer: Any) -> None:
        """Remember the call of the script that is making ``layer``."""
        frame = sys._getframe(1)
        while frame is not None and not self._makes(frame, layer):
            frame = frame.f_back
        if frame is None or layer in self._known:
            return
        places = list(frame.f_code.co_positions())[frame.f_lasti // 2]
        if None not in places:
            first, last, start, end = places
            self._known[layer] = (first, start, last, end)  # type: ignore[assignment]

    def _makes(self, frame: FrameType, layer: Any) -> bool:
        """Whether a frame is the script's, and not within the constructor of the layer's own class."""
        code = frame.f_code
        within = code.co_name == "__init__" and frame.f_locals.get("self") is layer
        return code.co_filename == self._script and not within

    def of(self, layer: Any) -> Position | None:
        """The place of the call; None for a layer that the script did not make itself."""
        return self._known.get(layer)


def first_training(script: Path, sites: Sites, arguments: Sequence[str] = ()) -> Training:
    """Run the script up to its first training. Raises :class:`RunError` if it ends, or fails, before."""
    made = keras.layers.Layer.__init__

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options)
        sites.see(self)

    compiling = keras.Model.compile

    def compile_(self: Any, *arguments: Any, **options: Any) -> None:
        sites.see_compile(self)
        compiling(self, *arguments, **options)

    own, theirs, path, given = keras.Model.fit, _fit.fit, list(sys.path), list(sys.argv)
    keras.Model.compile = compile_  # type: ignore[method-assign]
    keras.Model.fit = _hook(own, _TAKEN)  # type: ignore[method-assign]
    kilter.fit = _fit.fit = _hook(theirs, _KILTER)  # type: ignore[assignment]
    keras.layers.Layer.__init__ = init  # type: ignore[method-assign]
    sys.path.insert(0, str(script.parent))
    sys.argv[:] = [str(script), *arguments]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except _Reached as reached:
        found = reached.training
        return replace(found, compiled=sites.compiled.get(found.model))
    except SystemExit as ended:
        usage = ended.code == _USAGE
        remedy = f"pass the arguments that it needs after --: {script.name} -- ARGUMENTS" if usage else _TRAIN
        raise _no_training(script, f"it ended with exit code {ended.code}", remedy) from ended
    finally:
        keras.Model.fit, _fit.fit, kilter.fit = own, theirs, theirs  # type: ignore[method-assign]
        keras.layers.Layer.__init__ = made  # type: ignore[method-assign]
        keras.Model.compile = compiling  # type: ignore[method-assign]
        sys.path[:], sys.argv[:] = path, given
    raise _no_training(script, "it ended without one")


def _no_training(script: Path, what: str, remedy: str = _TRAIN) -> RunError:
    return RunError(expected=f"a script that trains a model: {script}", received=what, remedy=remedy)


def _hook(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    signature = inspect.signature(function)

    def fit(*arguments: Any, **options: Any) -> Any:
        given = signature.bind(*arguments, **options).arguments
        model = given.get("self", given.get("model"))
        frame = sys._getframe(1)
        x, y, size = _arrays(given.get("x"), given.get("y"), given.get("steps_per_epoch"))
        taken = {name: given[name] for name in names if given.get(name) is not None}
        taken = taken if size is None else {"batch_size": size, **taken}
        held = taken.get("validation_data")
        if held is not None and not isinstance(held, tuple | list):
            taken["validation_data"] = _arrays(held, None, given.get("validation_steps"))[:2]
        x, y, taken = _divided(x, y, taken, float(given.get("validation_split") or 0.0))
        raise _Reached(Training(model, x, y, taken, frame.f_lineno))

    return fit


def _arrays(x: Any, y: Any, steps: int | None) -> tuple[Any, Any, int | None]:
    """Arrays; an epoch of batches of a PyDataset or generator is put together, with their size."""
    if y is not None or hasattr(x, "shape") or isinstance(x, dict | list | tuple):
        return x, y, None
    if isinstance(x, keras.utils.PyDataset):
        given: Any = x
        batches: Iterable[Any] = (given[index] for index in range(x.num_batches or 0))
    elif isinstance(x, Iterable) and (steps is not None or hasattr(x, "__len__")):
        batches = itertools.islice(x, len(x) if steps is None else steps)  # type: ignore[arg-type]
    else:
        batches = ()
    parts, sizes = [], []
    for batch in batches:
        parts.append(tuple(batch)[:2])
        sizes.append(len(keras.tree.flatten(parts[-1])[0]))
        if sum(sizes) >= _MOST_ROWS:
            break
    if not parts or len(parts[0]) < 2:
        raise DataError(
            expected="arrays passed to fit, or batches (x, y) whose number is known",
            received=f"{type(x).__name__}{'' if parts else ' without a number of batches'}",
            remedy="pass steps_per_epoch, or collect a few thousand rows into arrays for this",
        )
    joined = keras.tree.map_structure(lambda *some: np.concatenate([np.asarray(one) for one in some]), *parts)
    return (*joined, sizes[0])  # type: ignore[misc]


def _divided(x: Any, y: Any, options: dict[str, Any], share: float) -> tuple[Any, Any, dict[str, Any]]:
    """As Keras divides: the last ``share`` of the rows is for validation."""
    held = options.get("validation_data")
    if held is not None:
        return x, y, {**options, "validation_data": tuple(held)}
    if not share:
        return x, y, options
    count = len(keras.tree.flatten(x)[0])
    at = int(count * (1 - share))

    def part(value: Any, rows: slice) -> Any:
        return keras.tree.map_structure(lambda one: np.asarray(one)[rows], value)

    weights = options.get("sample_weight")
    kept = {"sample_weight": part(weights, slice(at))} if weights is not None else {}
    options = {**options, **kept, "validation_data": (part(x, slice(at, None)), part(y, slice(at, None)))}
    return part(x, slice(at)), part(y, slice(at)), options


def held_out(training: Training, seed: int = 0) -> Training:
    """The training with a fifth of its rows for validation, if the script has none."""
    if "validation_data" in training.options:
        return training
    count = len(keras.tree.flatten(training.x)[0])
    order = np.random.default_rng(seed).permutation(count)
    rows, held = np.sort(order[int(_HELD * count) :]), np.sort(order[: int(_HELD * count)])

    def part(value: Any, chosen: np.ndarray) -> Any:
        return keras.tree.map_structure(lambda one: np.asarray(one)[chosen], value)

    options = {**training.options, "validation_data": (part(training.x, held), part(training.y, held))}
    if "sample_weight" in options:
        options["sample_weight"] = part(options["sample_weight"], rows)
    return replace(training, x=part(training.x, rows), y=part(training.y, rows), options=options)
