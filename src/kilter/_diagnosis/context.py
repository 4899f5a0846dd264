"""The input of the checks: facts of model, loss and optimiser, the data, and measurements."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, Final

import jax
import keras
import numpy as np

from kilter._diagnosis.thresholds import Thresholds, seen
from kilter._engine.arrays import pick
from kilter._engine.inference import predict_unchanged
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.layers import NORMALIZATIONS, PASSING, LayerFacts, OutputFacts
from kilter._models.optimizers import OptimizerFacts
from kilter._models.softmax_axes import Misused
from kilter._models.tracing import fixed_batch_size
from kilter._records import Evidence, Finding, Measurements
from kilter._validation import instance_of
from kilter.errors import KilterError, OptionError

_ANSWERED: Final = 64


@dataclass(frozen=True, eq=False)
class SequenceReading:
    """What a network does with the steps of a batch of sequences; nothing is trained.

    Attributes:
        inputs: the batch's ids [rows, steps], or its series [rows, steps, columns].
        content: which steps are no padding, bool [rows, steps].
        by_step: norm of the gradient of the loss by each step, [rows, steps].
        heads: for each attention ("head:name") the entropy of each head over that of uniform weights.
        tokens: for each attention ("tokens:name") the mean cosine between two of a row's tokens, and the
            share of the tokens' variance that differences between rows make.
        order_change: how far outputs change if the steps are permuted; later_change: how far an output that
            comes before it changes with the last step. Both relative to the differences between rows; NaN if
            not measured.
        lags: the first and the last step whose output changes with a step in the middle, counted from it;
            None without an output for each step.
        misused: softmaxes along a wrong axis.
    """

    inputs: np.ndarray
    content: np.ndarray
    by_step: np.ndarray
    heads: Mapping[str, np.ndarray]
    tokens: Mapping[str, np.ndarray]
    order_change: float
    later_change: float
    lags: tuple[int, int] | None = None
    misused: tuple[Misused, ...] = ()


@dataclass(frozen=True)
class Timing:
    """Where the time of a training went, by epoch, in seconds.

    ``computing``: all but compiling; ``compiling``; ``waiting``: for data, a part of the first. ``steps``: of
    an epoch. ``work``: multiply-adds of a step, 0 if unknown. ``memory``: bytes held after each epoch.
    """

    computing: tuple[float, ...]
    compiling: tuple[float, ...]
    waiting: tuple[float, ...]
    steps: int = 0
    work: float = 0.0
    memory: tuple[int, ...] = ()

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.computing) + sum(self.compiling)


@dataclass(frozen=True, eq=False)
class Context:
    """Everything that a check may read; checks change nothing.

    Attributes:
        model: compiled and built.
        layers: calls of leaf layers, in the order of a forward pass.
        outputs: the model's outputs, each with its loss and targets.
        optimizer: the compiled optimiser.
        inputs: the training inputs, one array for each input of the model, rows first.
        x, y, x_val, y_val: the data as given; None without validation data.
        batch_size, shuffle, epochs: as in training, None if unknown.
        row_weights: of the rows, class weights included, or None.
        probe: measurements of one forward and backward pass (length 1); None if they failed.
        training: measurements of some training steps of a copy; None without them.
        history: the numbers of each epoch by log name ("loss", "val_loss", metrics); None if unknown.
        thresholds: the limits of the checks.
        features: names of a table's features, in the order of the input's columns; () if they have none.
        sequences: what the model does with the steps of sequences; None without any.
        timing: where the time of an earlier training went; None if unknown.
    """

    model: keras.Model
    layers: tuple[LayerFacts, ...]
    outputs: tuple[OutputFacts, ...]
    optimizer: OptimizerFacts
    inputs: tuple[np.ndarray, ...]
    x: Any
    y: Any
    x_val: Any = None
    y_val: Any = None
    batch_size: int = 32
    shuffle: bool = True
    epochs: int | None = None
    row_weights: Any = None
    probe: Measurements | None = None
    training: Measurements | None = None
    history: Mapping[str, Sequence[float]] | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)
    features: tuple[str, ...] = ()
    sequences: SequenceReading | None = None
    timing: Timing | None = None

    def seen(self, limit: str, name: str, value: float | int | str) -> Evidence:
        """``value`` as evidence, with the threshold called ``limit`` and its source."""
        return seen(self.thresholds, limit, name, value)

    def column(self, index: int) -> str:
        """A column of the input by its name, or by its number."""
        return self.features[index] if index < len(self.features) else str(index)

    @cached_property
    def held_inputs(self) -> tuple[np.ndarray, ...]:
        """The validation inputs, one array for each input of the model; () without validation data."""
        return tuple(map(np.asarray, jax.tree.leaves(self.x_val)))

    @property
    def rows(self) -> int:
        """The number of training rows."""
        return len(self.inputs[0])

    @cached_property
    def answers(self) -> tuple[np.ndarray, ...] | None:
        """What the model as given predicts for the first rows, by output; None if it cannot."""
        count = fixed_batch_size(self.model) or min(_ANSWERED, self.rows)
        try:
            given = predict_unchanged(self.model, pick(self.x, slice(count)), batch_size=count)
        except (KilterError, *FOREIGN_ERRORS):
            return None
        found = tuple(np.asarray(one) for one in jax.tree.leaves(given))
        return found if len(found) == len(self.outputs) else None

    def readers(self, index: int) -> tuple[LayerFacts, ...]:
        """The calls that take the model's input of that position, reshaped at most."""
        return tuple(one for one in self.layers if index in one.enters)

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps in an epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def weighted(self) -> tuple[LayerFacts, ...]:
        """The calls of dense layers and convolutions, each layer once."""
        return tuple(one for one in self.layers if one.is_weighted and not one.repeated)

    @property
    def hidden(self) -> tuple[LayerFacts, ...]:
        """Those of :attr:`weighted` that are not output layers."""
        return tuple(one for one in self.weighted if not one.is_output)

    def activation_of(self, layer: LayerFacts) -> LayerFacts:
        """The call that applies the layer's activation."""
        return next(one for one in self.layers[layer.index :] if one.path == layer.activation_layer)

    def layer(self, path: str) -> LayerFacts | None:
        """The facts of the layer at ``path``, None if unknown; "name#2" is the second call of "name"."""
        bare = path.partition("#")[0]
        return next((one for one in self.layers if one.path == bare), None)


def within(context: Context, kinds: tuple[type, ...]) -> set[str]:
    """The paths of layers inside a layer of one of ``kinds``, such as the projections of an attention."""
    inner = {
        id(layer)
        for holder in context.model._flatten_layers()
        if isinstance(holder, kinds)
        for layer in holder._flatten_layers(include_self=False)
    }
    return {one.path for one in context.layers if id(one.layer) in inner}


def is_passed(context: Context, layer: LayerFacts) -> bool:
    """Whether no way from the inputs to the outputs leads around the layer."""
    reached: set[int] = set()
    for one in context.layers:
        if one.index != layer.index and (one.takes_input or reached & {*one.sources}):
            reached.add(one.index)
    ends = {one.index for one in context.layers if not one.consumers}
    return not reached & ends


def normalized(context: Context, layer: LayerFacts) -> bool:
    """Whether a normalisation comes before or after the layer, with at most dropout or reshaping between."""
    calls = context.layers

    def reached(at: LayerFacts, way: str) -> bool:
        for index in getattr(at, way):
            near = calls[index]
            if isinstance(near.layer, NORMALIZATIONS):
                return True
            if isinstance(near.layer, PASSING) and reached(near, way):
                return True
        return False

    after = context.activation_of(layer)
    return any((reached(layer, "sources"), reached(layer, "consumers"), reached(after, "consumers")))


Check = Callable[[Context], Iterable[Finding]]


def checks_in(*modules: ModuleType) -> tuple[Check, ...]:
    """The functions ``check_...`` of modules, in the order in which they stand there."""
    named = ((module.__name__, one) for module in modules for one in vars(module).items())
    own = (one for home, (name, one) in named if name.startswith("check_") and one.__module__ == home)
    return tuple(own)


def check_validation(held: Any) -> None:
    """Raise :class:`OptionError` unless ``held`` is (x, y) or (x, y, sample_weight)."""
    what = "(x, y) or (x, y, sample_weight)"
    instance_of("validation_data", held, (tuple, list), what)
    if len(held) not in (2, 3):
        raise OptionError(
            expected=f"validation_data as {what}",
            received=f"{len(held)} parts",
            remedy="pass the validation inputs and their targets",
        )


def check_history(history: Any) -> None:
    """Raise :class:`OptionError` unless ``history`` is None or has a list of numbers for each name."""
    if history is None:
        return
    instance_of("history", history, Mapping, "a mapping from names to a number for each epoch")
    for name, numbers in history.items():
        instance_of(f"history[{name!r}]", numbers, (Sequence, np.ndarray), "a list, a number for each epoch")


def check_names(x: Any, features: Any) -> None:
    """Raise :class:`OptionError` unless ``features`` are names, one for each column if ``x`` is a table."""
    what = "a list of the names of the columns of x"
    instance_of("features", features, (list, tuple), what)
    for one in features:
        instance_of("features", one, str, what)
    columns = x.shape[1] if features and getattr(x, "ndim", 0) == 2 else len(features)
    if len(features) != columns:
        raise OptionError(
            expected=f"a name for each of the {columns} columns of x",
            received=f"{len(features)} features",
            remedy="name every column, or leave features out to number them",
        )
