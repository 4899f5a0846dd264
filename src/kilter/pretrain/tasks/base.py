"""The auxiliary tasks by name, and their common parts: options, heads, cross-entropy, image checks.

A task is a file here and its name in ``recipe/pretrain.py``.
"""

import importlib
from typing import Any, Final, NamedTuple, get_args

import jax
import jax.numpy as jnp
import keras

from kilter.data.augmentation import Augmentation
from kilter.errors import DataError, OptionError
from kilter.nn.blocks import Seeds
from kilter.pretrain.decoder import as_model
from kilter.pretrain.running import Judged, Subject, Task
from kilter.recipe import pretrain as recipe


class Options(NamedTuple):
    """The options of :func:`kilter.pretrain.auxiliary`; each task reads its own."""

    patch: int
    masked: float
    tiles: int
    views: Augmentation | None
    temperature: float
    batch_size: int
    seed: int


class Setting(NamedTuple):
    """A task, the head that solves it, and the score of a trivial prediction.

    ``guessing``: the accuracy of guessing, or the error of the mean row for a task measured by an error.
    """

    task: Task
    head: keras.Model
    guessing: float


def linear_head(subject: Subject, answers: int, seed: int) -> keras.Model:
    """A single linear layer, so that the encoder has to learn the features."""
    output = keras.layers.Dense(answers, kernel_initializer=Seeds(seed).initializer(None))
    return as_model([*flat(subject), output], subject.code_shape, "answers")


def flat(subject: Subject) -> list[Any]:
    """A Flatten layer if codes have several axes."""
    return [keras.layers.Flatten()] if len(subject.code_shape) > 1 else []


def classified(logits: jax.Array, answer: jax.Array) -> Judged:
    """Mean cross-entropy and accuracy of logits [n, classes] for class indices [n]."""
    own = jnp.take_along_axis(logits, answer[:, None], axis=1)[:, 0]
    loss = (jax.nn.logsumexp(logits, axis=1) - own).mean()
    accuracy = (logits.argmax(axis=1) == answer).astype(jnp.float32).mean()
    return Judged(loss, accuracy, jnp.float32(logits.shape[0]))


def image_shape(subject: Subject, task: str) -> tuple[int, int, int]:
    """(height, width, channels) of the rows; :class:`DataError` if they are not images."""
    if len(subject.shape) != 3:
        raise DataError(
            expected=f"images, x of shape (rows, height, width, channels), for task={task!r}",
            received=f"rows of shape {subject.shape}",
            remedy="reshape the rows to images and start the encoder with keras.layers.Flatten, or use "
            "kilter.pretrain.autoencoder",
        )
    height, width, channels = subject.shape
    return height, width, channels


def check_divides(name: str, number: int, sides: tuple[int, int], *, even: bool) -> None:
    """Raise :class:`OptionError` unless ``number`` divides both sides of the image.

    ``even``: at least 2 (a cut into tiles); otherwise smaller than the image (a patch of it).
    """
    height, width = sides
    most = min(sides) if even else min(sides) - 1
    if height % number or width % number or number > most:
        fits = [side for side in range(2 if even else 1, most + 1) if not height % side and not width % side]
        raise OptionError(
            expected=f"{name} that divides images of {height} × {width}: one of {', '.join(map(str, fits))}",
            received=f"{name}={number}",
            remedy="choose one of these, or crop the images",
        )


TASKS: Final = tuple(name for name in get_args(recipe.Task) if name not in ("autoencoder", "gan"))


def task_setting(name: str, subject: Subject, options: Options) -> Setting:
    """The task ``name``, one of :data:`TASKS`, with its head: ``setting`` of the file of that name."""
    module = importlib.import_module(f"kilter.pretrain.tasks.{name.replace('-', '_')}")
    return module.setting(subject, options)
