"""The auxiliary tasks by name: each checked against the images and its options, with its head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import keras

from kilter._engine.fit import check_whole_numbers
from kilter.data.augmentation import Augmentation
from kilter.data.scaling import moments
from kilter.errors import DataError, OptionError
from kilter.pretrain.decoder import Seeds, as_model, mirrored
from kilter.pretrain.encoder_chain import links
from kilter.pretrain.pretext import Task
from kilter.pretrain.running import Subject, baseline_error
from kilter.pretrain.targets import check_images, targets_for, value_range
from kilter.pretrain.tasks.classification import QUARTERS, Jigsaw, Rotation, distant_permutations
from kilter.pretrain.tasks.contrastive import Contrastive, Pairs, default_views
from kilter.pretrain.tasks.reconstruction import MaskedPatch

PERMUTATIONS: Final = 30
# SimCLR's projection head: a hidden layer and an output, both thrown away with the head.
PROJECTION: Final = (128, 64)


class Options(NamedTuple):
    """What :func:`auxiliary` is given for the tasks; each looks at its own."""

    patch: int
    masked: float
    tiles: int
    views: Augmentation | None
    temperature: float
    batch_size: int
    seed: int


class Setting(NamedTuple):
    """A task with its head, and what it is measured against.

    ``guessing``: the accuracy of guessing, or for a task whose measure is an error that of the mean row.
    """

    task: Task
    head: keras.Model
    guessing: float


def _rotation(subject: Subject, options: Options) -> Setting:
    check_images(subject.shape, "rotation")
    height, width, _ = subject.shape
    if height != width:
        raise DataError(
            expected="square images for task='rotation'",
            received=f"images of {height} × {width}",
            remedy="crop or resize them, or take task='jigsaw'",
        )
    return Setting(Rotation(), _answering(subject, QUARTERS, options.seed), 1 / QUARTERS)


def _jigsaw(subject: Subject, options: Options) -> Setting:
    check_images(subject.shape, "jigsaw")
    check_whole_numbers(2, tiles=options.tiles)
    _check_divides("tiles", options.tiles, subject, even=True)
    order = distant_permutations(options.tiles**2, PERMUTATIONS, options.seed)
    return Setting(
        Jigsaw(options.tiles, order), _answering(subject, len(order), options.seed), 1 / len(order)
    )


def _masked_patch(subject: Subject, options: Options) -> Setting:
    check_images(subject.shape, "masked-patch")
    check_whole_numbers(1, patch=options.patch)
    _check_divides("patch", options.patch, subject, even=False)
    _check_share("masked", options.masked)
    fill = tuple(float(mean) for mean in moments(subject.rows).mean)
    task = MaskedPatch(targets_for(subject.rows), options.patch, options.masked, fill)
    images = mirrored(links(subject.encoder), seeds=Seeds(options.seed))
    backward = [layer for stage in reversed(images) for layer in stage]
    mirror = as_model(backward, subject.code_shape, "mirror")
    return Setting(task, mirror, baseline_error(subject, task.targets, options.seed))


def _contrastive(subject: Subject, options: Options) -> Setting:
    if not isinstance(options.temperature, int | float) or not 0.01 <= options.temperature <= 10:
        raise OptionError(
            expected="temperature from 0.01 to 10",
            received=f"temperature={options.temperature!r}",
            remedy="0.1 to 0.5 are usual",
        )
    rivals = 2 * min(options.batch_size, len(subject.rows)) - 1
    if rivals < 2:
        raise OptionError(
            expected="batch_size of at least 2 for task='contrastive': other rows to tell a row from",
            received=f"batch_size={options.batch_size}",
            remedy="128 or more are usual",
        )
    views = options.views
    if views is None:
        check_images(subject.shape, "contrastive")
        height, width, channels = subject.shape
        views = default_views((height, width, channels), value_range(subject.rows))
    elif views.mixes:
        raise OptionError(
            expected="views of one image each, for task='contrastive'",
            received="Mixup or Cutmix, which mix two",
            remedy="leave them out",
        )
    views.check(subject.rows[:1])
    seeds = Seeds(options.seed)
    hidden, width = PROJECTION
    layers = [
        *_flat(subject),
        keras.layers.Dense(hidden, activation="relu", kernel_initializer=seeds.initializer("relu")),
        keras.layers.Dense(width, kernel_initializer=seeds.initializer(None)),
    ]
    head = as_model(layers, subject.code_shape, "projection")
    return Setting(Contrastive(views, float(options.temperature)), head, 1 / rivals)


def _pairs(subject: Subject, options: Options) -> Setting:
    return Setting(Pairs(), _answering(subject, 1, options.seed), 0.5)


SETTINGS: Final[dict[str, Callable[[Subject, Options], Setting]]] = {
    "rotation": _rotation,
    "masked-patch": _masked_patch,
    "jigsaw": _jigsaw,
    "pairs": _pairs,
    "contrastive": _contrastive,
}


def _answering(subject: Subject, answers: int, seed: int) -> keras.Model:
    """A head of one linear layer: what tells the answers apart, the encoder has to find."""
    output = keras.layers.Dense(answers, kernel_initializer=Seeds(seed).initializer(None))
    return as_model([*_flat(subject), output], subject.code_shape, "answers")


def _flat(subject: Subject) -> list[Any]:
    return [keras.layers.Flatten()] if len(subject.code_shape) > 1 else []


def _check_divides(name: str, number: int, subject: Subject, *, even: bool) -> None:
    height, width, _ = subject.shape
    most = min(height, width) if even else min(height, width) - 1
    if height % number or width % number or number > most:
        fits = [side for side in range(2 if even else 1, most + 1) if not height % side and not width % side]
        raise OptionError(
            expected=f"{name} that divides images of {height} × {width}: one of {', '.join(map(str, fits))}",
            received=f"{name}={number}",
            remedy="take one of these, or crop the images",
        )


def _check_share(name: str, value: Any) -> None:
    if not isinstance(value, int | float) or not 0 < value < 1:
        raise OptionError(
            expected=f"{name} as a share above 0 and below 1",
            received=f"{name}={value!r}",
            remedy="0.5 is a start",
        )
