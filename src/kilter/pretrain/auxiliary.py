"""``kilter.pretrain.auxiliary``: an encoder trained on a task whose answers are made from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kilter._engine.augmenting import Augment, as_augmentation
from kilter._engine.inference import evaluate
from kilter._models.arrays import some_rows
from kilter._progress import Verbose
from kilter.errors import DataError, OptionError
from kilter.nn.options import check_name
from kilter.pretrain.pretext import PretextModel, Training
from kilter.pretrain.running import (
    MEASURED_ROWS,
    Encoder,
    Pretrained,
    choice_notes,
    reconstruction_figures,
    reconstruction_notes,
    subject_of,
)
from kilter.pretrain.tasks.registry import SETTINGS, Options

# Pairs of the same group that a batch is to have on average, so that there is something to learn from.
_LEAST_PAIRS = 4


def auxiliary(
    encoder: Encoder,
    x: Any,
    *,
    task: str = "rotation",
    same: Any = None,
    patch: int = 4,
    masked: float = 0.5,
    tiles: int = 2,
    views: Augment | None = None,
    temperature: float = 0.2,
    validation_data: Any = None,
    epochs: int = 20,
    batch_size: int = 128,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    learning_rate: float | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
    verbose: Verbose = "auto",
) -> Pretrained:
    """Train a copy of ``encoder`` on a task whose answers the compiled step makes from the rows themselves.

    Args:
        encoder: a built Sequential or Functional model from rows to codes, or a function without arguments
            that makes one. It stays as it is. A head is put on it, which is thrown away afterwards.
        x: the rows, an array or a :class:`kilter.data.Dataset`: images, for all tasks but "pairs".
        task: "rotation": by how many quarters was the image turned? "masked-patch": what was under the masked
            squares of ``patch`` pixels a side, which cover the share ``masked``? "jigsaw": in which order are
            the ``tiles`` × ``tiles`` tiles, out of at most 30 permutations? "contrastive": which of the
            batch's views is of the same image (SimCLR, with this ``temperature``)? "pairs": are two rows the
            same, by the whole numbers in ``same``, one for each row: of a person, of a class?
        views: for "contrastive": what makes two views of an image, as ``augment`` of :func:`kilter.fit`;
            without it flips, zooms, turns, shifts, changed colours and a cut-out. ``Augmentation(...,
            image_shape=...)`` makes views of flat images.
        validation_data: rows like ``x``, and for "pairs" ``(rows, same)``, measured after each epoch.
        epochs, batch_size, callbacks, seed, verbose: as of :func:`kilter.fit`; ``seed`` is also that of the
            head's first weights and of all that is drawn.
        optimizer: a name or a Keras optimiser, whose configuration is used; ``learning_rate`` is the
            optimiser's own if None.

    Returns a :class:`Pretrained`; its figures have ``accuracy`` beside ``chance``, or for "masked-patch"
    ``error`` beside ``baseline``. Raises :class:`~kilter.errors.ModelError`,
    :class:`~kilter.errors.DataError` or :class:`~kilter.errors.OptionError` before anything is trained.

    Example:
        >>> images = np.random.default_rng(0).random((64, 8, 8, 1), dtype="float32")
        >>> small = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
        >>> done = auxiliary(small, images, task="rotation", epochs=1, verbose=0)
        >>> done.figures["chance"], done.encoder.output_shape
        (0.25, (None, 4))
    """
    check_name("task", task, tuple(SETTINGS))
    training = Training(epochs, batch_size, optimizer, learning_rate, seed, verbose, tuple(callbacks))
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
    options = Options(patch, masked, tiles, as_augmentation(views), temperature, batch_size, seed)
    setting = SETTINGS[task](subject, options)
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
    # Whole batches: among fewer rows the right one would be easier to find.
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
            expected="same for task='pairs': a whole number for each row, equal where rows are the same",
            received="no same",
            remedy="pass the persons' or classes' numbers, or take task='contrastive', which needs none",
        )
    if paired and validation is not None and not (isinstance(validation, tuple) and len(validation) == 2):
        raise DataError(
            expected="validation_data as (rows, same) for task='pairs'",
            received=f"{type(validation).__name__}",
            remedy="pass both",
        )


def _with_groups(rows: np.ndarray, same: Any, batch_size: int) -> dict[str, np.ndarray]:
    """The rows with their groups' numbers from 0, if a batch will have pairs of both kinds."""
    given = np.asarray(same)
    if given.shape != (len(rows),) or given.dtype.kind not in "iu":
        raise DataError(
            expected=f"same as {len(rows)} whole numbers, one for each row",
            received=f"same of dtype {given.dtype}, shape {given.shape}",
            remedy="number the groups; a row without one gets a number that no other row has",
        )
    _, groups, sizes = np.unique(given, return_inverse=True, return_counts=True)
    count, size = len(rows), min(batch_size, len(rows))
    # A batch of b rows out of n has b (b - 1) ordered pairs, each of them of one group with this probability.
    expected = size * (size - 1) * float((sizes * (sizes - 1.0)).sum()) / (count * (count - 1.0))
    if len(sizes) < 2 or expected < _LEAST_PAIRS:
        raise DataError(
            expected=f"rows of at least 2 groups, and {_LEAST_PAIRS} or more pairs of one group in a batch",
            received=f"{len(sizes)} groups, {expected:.2g} pairs in a batch of {size} on average",
            remedy="pass a larger batch_size, or more rows of each group",
        )
    return {"rows": rows, "groups": groups.astype(np.int32)}
