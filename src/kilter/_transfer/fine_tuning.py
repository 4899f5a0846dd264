"""``kilter.fine_tune``: stages of training, each with its own layers and rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kilter._engine.arrays import check_batch_size, is_array, row_count, split
from kilter._engine.augmenting import Augment
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._engine.objective_for import last_activation, objective_for
from kilter._plotting import Figure, drawn
from kilter._progress import Verbose
from kilter._transfer.depth import train_only
from kilter._transfer.stages import Phase, Stage, default_stages, phases_of
from kilter.data import Dataset
from kilter.errors import OptionError


class StagedHistory(History):
    """Keras's history of all stages, one after the other; epochs are counted through.

    ``stages``: the number of the stage, from 0, of each epoch. A measure that some epochs do not have is NaN
    there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[int] = []

    def add(self, number: int, stage: History) -> None:
        """Append the epochs of stage ``number``."""
        names = dict.fromkeys([*self.history, *stage.history])
        before, after = len(self.epoch), len(stage.epoch)
        for name in names:
            earlier = self.history.get(name, [math.nan] * before)
            self.history[name] = [*earlier, *stage.history.get(name, [math.nan] * after)]
        self.epoch += stage.epoch
        self.stages += [number] * after
        self.seconds += stage.seconds
        self.compile_seconds += stage.compile_seconds
        self.params = stage.params

    def plot(self) -> Figure:
        """Each logged number against the epoch, with a line where a stage begins."""
        starts = {self.epoch[at] - 0.5: f"stage {self.stages[at] + 1}" for at in _beginnings(self.stages)}
        return drawn("history", self, stages=starts)


def _beginnings(stages: Sequence[int]) -> list[int]:
    return [place for place in range(1, len(stages)) if stages[place] != stages[place - 1]]


Compile = Callable[[keras.optimizers.Optimizer], None]
"""Compiles the model with an optimiser, for what it is trained for."""


def fine_tune(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    stages: Sequence[Stage] | None = None,
    loss: Any = None,
    metrics: Any = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    batch_size: int = 32,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    augment: Augment | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
    freeze_batch_norm: bool = False,
    seed: int = 0,
    verbose: Verbose = "auto",
) -> StagedHistory:
    """Train a model in stages, in place: what :func:`kilter.reuse` made, or any other.

    Each stage says which layers it trains, with which rates, for how long; the model is compiled anew for it.
    Afterwards it is as the last stage left it, with that stage's layers trainable. The head is what is
    trainable when fine-tuning begins while other layers are frozen; where none is frozen, the last layer.

    Args:
        model: built; whether and for what it is compiled does not matter, see ``loss``.
        x: as for :func:`kilter.fit`; and ``y``, ``validation_data``, ``validation_split``, ``batch_size``,
            ``class_weight``, ``sample_weight``, ``augment`` and ``verbose``.
        stages: see :class:`kilter.Stage`. If None, the head alone for 5 epochs, then all layers for up to 20
            at a tenth of the rate, which end after 5 epochs without a lower validation loss.
        loss: if None, the model's own where it is compiled, with its metrics. Otherwise cross-entropy for
            whole numbers and one-hot rows, with the accuracy, and mean squared error for other numbers; the
            outputs are taken as logits unless they end in a softmax or sigmoid.
        metrics: as for ``compile``, beside a ``loss`` or for a compiled model.
        callbacks: told of each stage as of a training; epochs are counted through. One that stops the
            training stops all of it.
        freeze_batch_norm: leave the batch normalisations that are reused in inference mode in all stages, as
            is advised for batches that are small or unlike those they were trained with.
        seed: of the order of the rows and of what ``augment`` draws.

    Returns one history of all stages, with the stage of each epoch.
    Raises :class:`~kilter.errors.OptionError`, :class:`~kilter.errors.ModelError` or
    :class:`~kilter.errors.DataError` for what does not fit, stages among them, before anything is trained.

    Example:
        >>> import kilter, numpy as np
        >>> model = kilter.nn.mlp((4,), 3, hidden=(8,))
        >>> student = kilter.reuse(model, keep=-1, head=2)
        >>> x, y = np.ones((8, 4)), np.arange(8) % 2
        >>> stages = [kilter.Stage(2, train="head"), kilter.Stage(1, learning_rate=1e-4, decay=2.6)]
        >>> kilter.fine_tune(student, x, y, stages=stages, verbose=0).stages
        [0, 0, 1]
    """
    check_batch_size(batch_size)
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
    validated = validation_data is not None
    chosen = default_stages(validated=validated) if stages is None else stages
    phases = phases_of(model, chosen, freeze_batch_norm=freeze_batch_norm, validated=validated)
    compile_for = _compiler(model, y, loss, metrics)
    told = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    return train_in_phases(
        model,
        phases,
        compile_for,
        (x, y),
        callbacks=told,
        validation_data=validation_data,
        batch_size=batch_size,
        class_weight=class_weight,
        sample_weight=sample_weight,
        augment=augment,
        measure=None,
        seed=seed,
        verbose=verbose,
    )


def train_in_phases(
    model: keras.Model,
    phases: Sequence[Phase],
    compile_for: Compile,
    data: tuple[Any, Any],
    *,
    batch_size: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    initial_epoch: int = 0,
    **options: Any,
) -> StagedHistory:
    """Train ``model`` through ``phases`` from ``initial_epoch`` on, with ``options`` of the engine's fit.

    Where ``initial_epoch`` lies within a phase, the model must have been entered into it already.
    """
    history = StagedHistory()
    for phase in phases:
        if phase.end <= initial_epoch:
            continue
        if phase.begin >= initial_epoch:
            enter(model, phase, compile_for)
        stopping = _stopping(phase.stage)
        batches = _batches(data[0], batch_size)
        found = fit(
            model,
            *data,
            **options,
            batch_size=batch_size,
            callbacks=[*stopping, *callbacks],
            schedule=None if batches is None else phase.schedule(batches),
            initial_epoch=max(initial_epoch, phase.begin),
            epochs=phase.end,
        )
        history.add(phase.number, found)
        if model.stop_training and not any(one.stopped_epoch for one in stopping):
            break
    return history


def enter(model: keras.Model, phase: Phase, compile_for: Compile) -> None:
    """Freeze and thaw the model's layers as ``phase`` wants them, and compile it with a fresh optimiser."""
    train_only(model, phase.trained)
    compile_for(phase.optimizer(model))


def _stopping(stage: Stage) -> list[keras.callbacks.EarlyStopping]:
    if stage.patience is None:
        return []
    return [keras.callbacks.EarlyStopping("val_loss", patience=stage.patience, restore_best_weights=True)]


def _batches(x: Any, batch_size: int) -> int | None:
    """The batches of an epoch; None for an iterable, which does not say."""
    return -(-row_count(x=x) // batch_size) if is_array(x) else None


def _compiler(model: keras.Model, y: Any, loss: Any, metrics: Any) -> Compile:
    """How to compile ``model``: with ``loss``, as it was compiled, or as ``y`` asks for."""
    if loss is not None:
        # With None, Keras would go on with the metrics of the last compile().
        return lambda optimizer: model.compile(optimizer, loss=loss, metrics=metrics or [])
    if model.compiled:
        given: Any = model._compile_config  # type: ignore[attr-defined]
        config = dict(given.config) | ({} if metrics is None else {"metrics": metrics})
        return lambda optimizer: model.compile(**(config | {"optimizer": optimizer}))
    if y is None or not is_array(y) or not hasattr(y, "shape"):
        raise OptionError(
            expected="a loss, for targets that are not one array",
            received="loss=None and a model that is not compiled",
            remedy="pass loss=..., or compile the model first",
        )
    return _compiler_for(model, np.asarray(y), metrics)


def _compiler_for(model: keras.Model, y: np.ndarray, metrics: Any) -> Compile:
    outputs = getattr(model, "outputs", None) or []
    width = outputs[0].shape[-1] if len(outputs) == 1 else None
    if y.ndim == 2 and y.shape[1] > 1 and width == y.shape[1] and _one_hot(y):
        from_logits = last_activation(model) not in ("softmax", "sigmoid")
        loss = keras.losses.CategoricalCrossentropy(from_logits=from_logits)
        found = ["accuracy"] if metrics is None else metrics
        return lambda optimizer: model.compile(optimizer, loss=loss, metrics=found)
    whole = y.dtype.kind in "iub" and y.size == len(y) and (width != 1 or int(y.max(initial=0)) <= 1)
    classes = tuple(map(str, range(max(width or int(y.max(initial=0)) + 1, 2)))) if whole else ()
    labels = y.reshape(len(y)) if whole else y
    rows = Dataset(y, labels, "classification" if whole else "regression", classes)
    objective = objective_for(model, rows)
    return lambda optimizer: model.compile(
        optimizer,
        loss=objective.loss,
        loss_weights=None if objective.loss_weight is None else [objective.loss_weight],
        metrics=objective.make_metrics() if metrics is None else metrics,
    )


def _one_hot(y: np.ndarray) -> bool:
    return bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
