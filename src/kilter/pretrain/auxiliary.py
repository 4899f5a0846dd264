"""``kilter.pretrain.auxiliary``: an encoder trained on a task with targets made from the rows."""

from typing import Any, Unpack

import keras
import numpy as np

from kilter._array_types import Arrays, Labels, ValidationData
from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.inference import evaluate
from kilter._models.arrays import some_rows
from kilter._validation import one_of
from kilter.errors import DataError, OptionError
from kilter.pretrain.running import (
    MEASURED_ROWS,
    Encoder,
    PretextModel,
    Pretrained,
    Training,
    TrainingKeywords,
    choice_notes,
    reconstruction_figures,
    reconstruction_notes,
    subject_of,
)
from kilter.pretrain.tasks.base import TASKS, Options, task_setting

# Pairs of one group that a batch needs on average, so that there is something to learn.
_LEAST_PAIRS = 4


def auxiliary(
    encoder: Encoder,
    x: Arrays,
    *,
    task: str = "rotation",
    same: Labels | None = None,
    patch: int = 4,
    masked: float = 0.5,
    tiles: int = 2,
    views: Augment | None = None,
    temperature: float = 0.2,
    validation_data: ValidationData | None = None,
    **options: Unpack[TrainingKeywords],
) -> Pretrained:
    """Train a copy of ``encoder`` on a task with targets made from the rows, inside the compiled step.

    Args:
        encoder: a built Sequential or Functional model from rows to codes, or a function without arguments
            that returns one. It is not changed. The head for the task is discarded after training.
        x: the rows, an array or a :class:`kilter.data.Dataset`. All tasks but "pairs" need images.
        task: "rotation": by how many quarter turns was the image rotated? "masked-patch": what is under the
            masked squares, ``patch`` pixels a side, which cover the share ``masked``? "jigsaw": in which of
            at most 30 orders are the ``tiles`` × ``tiles`` tiles? "contrastive": which view in the batch
            shows the same image (SimCLR, with ``temperature``)? "pairs": are two rows of the same group?
        same: for "pairs": an integer per row, equal for rows of one group (a person, a class).
        views: for "contrastive": the augmentation that makes two views of an image, as ``augment`` of
            :func:`kilter.fit`. By default flips, zooms, rotations, shifts, colour changes and a cutout.
            ``Augmentation(..., image_shape=...)`` makes views of flattened images.
        validation_data: rows like ``x``, measured after each epoch; for "pairs" ``(rows, same)``.
        epochs, batch_size, callbacks, seed, verbose: as in :func:`kilter.fit`; by default 20 epochs, batches
            of 128 and seed 0. ``seed`` also draws the head's weights and the task's inputs and targets.
        optimizer: "adam", another name, or a Keras optimiser, which is copied from its configuration;
            ``learning_rate`` replaces its own.

    Returns a :class:`Pretrained` with the figures ``accuracy`` and ``chance``, or ``error`` and ``baseline``
    for "masked-patch".

    Raises :class:`~kilter.errors.ModelError`, :class:`~kilter.errors.DataError` or
    :class:`~kilter.errors.OptionError` before training starts.

    Example:
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), dtype="float32")
        >>> small = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> done = auxiliary(small, images, task="rotation", epochs=1, verbose=0)
        >>> done.figures["chance"], done.encoder.output_shape
        (0.25, (None, 4))
    """
    one_of("task", task, TASKS)
    training = Training(**options)
    batch_size, seed = training.batch_size, training.seed
    paired = task == "pairs"
    _check_same(same, validation_data, paired=paired)
    held_rows, held_same = validation_data, None
    if paired and validation_data is not None:
        held_rows, held_same = validation_data
    subject = subject_of(encoder, x, held_rows, training)
    given: Any = subject.rows
    held: Any = subject.held_out
    if paired:
        given = _with_groups(subject.rows, same, batch_size)
        held = None if held is None else _with_groups(held, held_same, batch_size)
    views = as_augmentation(views)
    of_task = Options(patch, masked, tiles, views, temperature, batch_size, seed)
    setting = task_setting(task, subject, of_task)
    model = PretextModel(subject.encoder, setting.head, setting.task, seed=seed)
    history = training.run(model, given, held)
    if setting.task.measure == "error":
        figures = reconstruction_figures(model, subject, setting.guessing, seed)
        notes = reconstruction_notes(figures)
    else:
        figures = _choice_figures(model, given if held is None else held, setting.guessing, batch_size, seed)
        notes = choice_notes(figures)
    return Pretrained(task, subject.encoder, None, history, figures, notes, learnt=not notes)


def _choice_figures(
    model: PretextModel, rows: Any, chance: float, batch_size: int, seed: int
) -> dict[str, float]:
    chosen = some_rows(rows, MEASURED_ROWS, seed)
    count = len(keras.tree.flatten(chosen)[0])
    # Whole batches only: finding the right row among fewer is easier.
    whole = max(count - count % batch_size, min(count, batch_size))
    chosen = keras.tree.map_structure(lambda array: array[:whole], chosen)
    accuracy = evaluate(model, chosen, batch_size=batch_size, verbose=0)["accuracy"]
    return {"accuracy": accuracy, "chance": chance, "rows": whole}


def _check_same(same: Any, validation: Any, *, paired: bool) -> None:
    if not paired and same is not None:
        raise OptionError(
            expected="same for task='pairs' only", received="same with another task", remedy="leave it out"
        )
    if paired and same is None:
        raise DataError(
            expected="same for task='pairs': an integer per row, equal for rows of one group",
            received="no same",
            remedy="pass the ids of persons or classes, or use task='contrastive', which needs none",
        )
    if paired and validation is not None and not (isinstance(validation, tuple) and len(validation) == 2):
        raise DataError(
            expected="validation_data as (rows, same) for task='pairs'",
            received=f"{type(validation).__name__}",
            remedy="pass both",
        )


def _with_groups(rows: np.ndarray, same: Any, batch_size: int) -> dict[str, np.ndarray]:
    """Rows and group indices from 0; :class:`DataError` unless batches will have pairs of both kinds."""
    given = np.asarray(same)
    if given.shape != (len(rows),) or given.dtype.kind not in "iu":
        raise DataError(
            expected=f"same as {len(rows)} integers, one per row",
            received=f"same of dtype {given.dtype}, shape {given.shape}",
            remedy="number the groups; give a row without a group its own number",
        )
    _, groups, sizes = np.unique(given, return_inverse=True, return_counts=True)
    count, size = len(rows), min(batch_size, len(rows))
    # A batch of b rows out of n has b (b - 1) ordered pairs, each of them of one group with this probability.
    expected = size * (size - 1) * float((sizes * (sizes - 1.0)).sum()) / (count * (count - 1.0))
    if len(sizes) < 2 or expected < _LEAST_PAIRS:
        raise DataError(
            expected=f"at least 2 groups, and {_LEAST_PAIRS} or more pairs of one group in a batch",
            received=f"{len(sizes)} groups, {expected:.2g} pairs in a batch of {size} on average",
            remedy="pass a larger batch_size, or more rows of each group",
        )
    return {"rows": rows, "groups": groups.astype(np.int32)}
