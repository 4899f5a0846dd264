"""Augmentation inside the compiled step: a training step that first transforms its batch.

Random numbers depend only on the seed and the optimiser's step counter. So a resumed run, or one cut into
other chunks, draws the same numbers, each epoch draws new ones, and evaluation changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import keras

from kilter._engine.mixed_targets import check_mixed_targets, mix_targets, mixed_losses
from kilter._engine.packing import with_parts
from kilter._engine.step import Batch, Logs, Step
from kilter._models.optimizers import slot_index
from kilter._models.variables import State
from kilter.data.augmentation import Augmentation, Transform
from kilter.errors import OptionError

Augment = Augmentation | Transform | Sequence[Transform]


def as_augmentation(augment: Augment | None) -> Augmentation | None:
    """``augment`` as an augmentation: one, a single transformation, a list of them, or None."""
    if augment is None or isinstance(augment, Augmentation):
        return augment
    if isinstance(augment, Transform):
        return Augmentation((augment,))
    if not isinstance(augment, Sequence) or isinstance(augment, str):
        raise OptionError(
            expected="augment as a kilter.data.augmentation.Augmentation, or a list of transforms",
            received=f"augment={augment!r}",
            remedy="for example augment=[Flip(), Shift(0.1)]",
        )
    return Augmentation(tuple(augment)) if augment else None


def check_augmentation(model: keras.Model, augmentation: Augmentation, example: tuple[Any, Any, Any]) -> None:
    """Raise a :class:`~kilter.errors.KilterError` if a batch cannot be augmented."""
    x, y, _ = example
    augmentation.check(x)
    if augmentation.mixes:
        check_mixed_targets(model, y)
    slot_index(model, "iterations")


def augmented(model: keras.Model, step: Step, augmentation: Augmentation) -> Step:
    """The training step on transformed batches; it takes a seed (uint32 array, shape ()) besides the batch.

    Targets and weights stay with their rows. If rows are mixed, losses get the shares of both labels, metrics
    the label with the larger share (see ``mixed_targets``), and a row keeps its own weight.
    """
    place = slot_index(model, "iterations")

    def augmented_step(state: State, batch: Batch, seed: jax.Array) -> tuple[State, Logs]:
        x, y, weight = batch
        key = jax.random.fold_in(jax.random.key(seed), state.optimizer[place])
        x, mixture = augmentation(key, x)
        if mixture is None:
            return step(state, with_parts(batch, x, y, weight))
        (labels,), structure = jax.tree.flatten(y)
        target = jax.tree.unflatten(structure, [mix_targets(model, labels, mixture)])
        with mixed_losses(model, labels, mixture):
            return step(state, with_parts(batch, x, target, weight))

    return augmented_step
