"""``kilter.fine_tune``: stages of training, each with its own layers and rates."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np

from kilter._array_types import Arrays, ValidationData
from kilter._engine.arrays import is_array, row_count, split
from kilter._engine.augmenting import Augment
from kilter._engine.cuts import Start
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._engine.objective_for import last_activation, objective_for
from kilter._engine.training_spec import listed
from kilter._models.layers import require_model
from kilter._progress import Verbose
from kilter._records import Figure, drawn
from kilter._transfer.depth import train_only
from kilter._transfer.stages import Phase, Stage, default_stages, phases_of
from kilter._validation import whole_number
from kilter.data import Dataset
from kilter.data.labels import is_one_hot
from kilter.errors import DataError, OptionError


class StagedHistory(History):
    """Keras's history of all stages, one after the other, with consecutive epochs.

    ``stages``: the number of the stage, from 0, of each epoch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages: list[int] = []

    def plot(self) -> Figure:
        """Each logged number against the epoch, with a line where a stage begins."""
        steps = zip(self.epoch[1:], pairwise(self.stages), strict=True)
        starts = {epoch - 0.5: f"stage {now + 1}" for epoch, (before, now) in steps if now != before}
        return drawn("history", self, stages=starts)


Compile = Callable[[keras.optimizers.Optimizer], None]
"""Compiles the model with an optimiser and the task's loss and metrics."""


def fine_tune(
    model: keras.Model,
    x: Arrays,
    y: Arrays | None = None,
    *,
    stages: Sequence[Stage] | None = None,
    loss: Any = None,
    metrics: Any = None,
    validation_data: ValidationData | None = None,
    validation_split: float = 0.0,
    batch_size: int = 32,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Arrays | None = None,
    augment: Augment | None = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
    freeze_batch_norm: bool = False,
    seed: int = 0,
    verbose: Verbose = "auto",
) -> StagedHistory:
    """Train a model in stages, in place: one from :func:`kilter.reuse`, or any other.

    Each stage defines which layers it trains, at which rates and for how long. The model is compiled again
    for each stage. Afterwards the last stage's layers are trainable. The head is the set of trainable layers
    when fine-tuning begins, or the last layer if none is frozen.

    Args:
        model: built; it need not be compiled, see ``loss``.
        x, y, validation_data, validation_split, batch_size, class_weight, sample_weight, augment, verbose: as
            for :func:`kilter.fit`.
        stages: see :class:`kilter.Stage`. By default only the head for 5 epochs, then all layers for up to 20
            at a tenth of the rate, stopped after 5 epochs without a lower validation loss.
        loss: by default that of a compiled model, with its metrics. For an uncompiled model it follows from
            the targets, of any dtype, and the last layer: cross-entropy and accuracy for class numbers and
            one-hot rows; binary cross-entropy for columns of 0 and 1, one or several (multi-label); mean
            squared error for other numbers. Outputs are logits unless they end in a softmax or sigmoid.
        metrics: as for ``compile``, with a ``loss`` or for a compiled model.
        callbacks: called for each stage as for a training run, with consecutive epochs. One that stops the
            training stops all stages.
        freeze_batch_norm: keep reused batch normalisations in inference mode in all stages, for batches that
            are small or differ from those of the original training.
        seed: of the order of the rows and the augmentation.

    Returns one history of all stages. Raises :class:`~kilter.errors.OptionError`,
    :class:`~kilter.errors.ModelError` or :class:`~kilter.errors.DataError` before training.

    Example:
        >>> import kilter, numpy as np
        >>> model = kilter.nn.mlp((4,), 3, hidden=(8,))
        >>> student = kilter.reuse(model, keep=-1, head=2)
        >>> x, y = np.ones((8, 4)), np.arange(8) % 2
        >>> stages = [kilter.Stage(2, train="head"), kilter.Stage(1, learning_rate=1e-4, decay=2.6)]
        >>> kilter.fine_tune(student, x, y, stages=stages, verbose=0).stages
        [0, 0, 1]
    """
    require_model(model)
    whole_number("batch_size", batch_size, 1)
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
    validated = validation_data is not None
    chosen = default_stages(validated=validated) if stages is None else stages
    phases = phases_of(model, chosen, freeze_batch_norm=freeze_batch_norm, validated=validated)
    compile_for = _compiler(model, y, loss, metrics)
    return train_in_phases(
        model,
        phases,
        compile_for,
        (x, y),
        callbacks=listed(callbacks),
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
    start: Start | None = None,
    **options: Any,
) -> StagedHistory:
    """Train ``model`` through ``phases`` from ``initial_epoch`` on, with ``options`` of the engine's fit.

    If ``initial_epoch`` is within a phase, or a ``start`` is within that epoch, call :func:`enter` for that
    phase first.
    """
    history = StagedHistory()
    for phase in phases:
        if phase.end <= initial_epoch:
            continue
        if phase.begin >= initial_epoch and start is None:
            enter(model, phase, compile_for)
        patience: Any = phase.stage.patience
        stopping = [
            keras.callbacks.EarlyStopping("val_loss", patience=epochs, restore_best_weights=True)
            for epochs in ([] if patience is None else [patience])
        ]
        batches = -(-row_count(x=data[0]) // batch_size) if is_array(data[0]) else None
        found = fit(
            model,
            *data,
            **options,
            batch_size=batch_size,
            callbacks=[*stopping, *callbacks],
            schedule=None if batches is None else phase.schedule(batches),
            initial_epoch=max(initial_epoch, phase.begin),
            epochs=phase.end,
            start=start,
        )
        start = None
        history.append(found)
        history.stages += [phase.number] * len(found.epoch)
        if model.stop_training and not any(one.stopped_epoch for one in stopping):
            break
    return history


def enter(model: keras.Model, phase: Phase, compile_for: Compile) -> None:
    """Freeze and unfreeze layers for ``phase``, and compile the model with a fresh optimiser."""
    train_only(model, phase.trained)
    compile_for(phase.optimizer(model))


def _compiler(model: keras.Model, y: Any, loss: Any, metrics: Any) -> Compile:
    """How to compile ``model``: with ``loss``, as it was compiled, or as ``y`` requires."""
    if loss is not None:
        # With None, Keras would keep the metrics of the last compile().
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


def _are_classes(y: np.ndarray, width: int | None) -> bool:
    """Whether one column of targets numbers the classes of a model with ``width`` outputs (None: unknown)."""
    if y.dtype.kind == "f":
        return width is not None and bool(np.isin(y, np.arange(max(width, 2))).all())
    return width != 1 or int(y.max(initial=0)) <= 1


def _compiler_for_columns(model: keras.Model, y: np.ndarray, metrics: Any) -> Compile:
    """For a column of 0 and 1 for each output: one-hot, or several labels per row."""
    activation = last_activation(model)
    from_logits = activation not in ("softmax", "sigmoid")
    loss: keras.losses.Loss
    if is_one_hot(y) and activation != "sigmoid":
        loss = keras.losses.CategoricalCrossentropy(from_logits=from_logits)
        found: Any = ["accuracy"]
    else:
        loss = keras.losses.BinaryCrossentropy(from_logits=from_logits)
        found = [keras.metrics.BinaryAccuracy(name="accuracy", threshold=0.0 if from_logits else 0.5)]
    return lambda optimizer: model.compile(
        optimizer, loss=loss, metrics=found if metrics is None else metrics
    )


def _compiler_for(model: keras.Model, y: np.ndarray, metrics: Any) -> Compile:
    if y.dtype.kind not in "iubf":
        raise DataError(
            expected="numbers as targets",
            received=f"targets of dtype {y.dtype}, such as {str(y.flat[0])!r}",
            remedy="number the classes: names, y = np.unique(y, return_inverse=True)",
        )
    outputs = getattr(model, "outputs", None) or []
    width = outputs[0].shape[-1] if len(outputs) == 1 else None
    if y.ndim == 2 and y.shape[1] > 1 and width == y.shape[1] and np.isin(y, (0, 1)).all():
        return _compiler_for_columns(model, y, metrics)
    whole = y.size == len(y) and _are_classes(y, width)
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
