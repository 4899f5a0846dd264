"""The stages of fine-tuning that a recipe names: shares become rates, and the last one takes what is left."""

from __future__ import annotations

from collections.abc import Callable

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._transfer.stages import Phase, Stage, phases_of
from kilter.recipe import Recipe


def make_phases(
    recipe: Recipe, model: keras.Model, make_optimizer: Callable[[float], keras.optimizers.Optimizer]
) -> tuple[Phase, ...]:
    """The phases of ``[fine_tune]`` for the model that it made; () for a recipe that reuses nothing.

    ``make_optimizer`` gives the recipe's optimiser with a rate. Raises :class:`~kilter.errors.OptionError`
    where a stage names layers that the model does not have.
    """
    section = recipe.fine_tune
    if section is None:
        return ()
    lengths = section.lengths(recipe.train.epochs)
    stages = [
        Stage(
            epochs=epochs,
            train=stage.train,
            learning_rate=stage.rate * recipe.optimizer.rate,
            decay=stage.decay,
            # By depth there are only the optimisers that have a name, with their usual numbers.
            optimizer=make_optimizer if stage.decay == 1 else recipe.optimizer.name,
            schedule=stage.schedule,
        )
        for stage, epochs in zip(section.stages, lengths, strict=True)
    ]
    return phases_of(model, stages, freeze_batch_norm=section.freeze_batch_norm)
