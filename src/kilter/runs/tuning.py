"""What a recipe leaves to be measured, ``"auto"``: the learning rate and the clipping threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._progress import SILENT, Progress
from kilter._tuning.clip_threshold import clip_threshold
from kilter._tuning.find_lr import find_lr
from kilter._tuning.found_clip import FoundClip
from kilter._tuning.rate_curve import FoundRate
from kilter.data import Dataset
from kilter.recipe import Recipe
from kilter.recipe.optimizer import AUTO


@dataclass(frozen=True, eq=False)
class Tuned:
    """The measurements that ``recipe``'s numbers come from; None where the recipe had a number itself."""

    recipe: Recipe
    rate: FoundRate | None
    clip: FoundClip | None


def tune(
    recipe: Recipe,
    model: keras.Model,
    train: Dataset,
    class_weight: Mapping[int, float] | None,
    progress: Progress = SILENT,
) -> Tuned:
    """The recipe with a number for each ``"auto"`` in ``[optimizer]``, measured on the training part.

    ``model`` is compiled with the recipe's optimiser at any rate; only that rate changes. Gradients are
    measured at the rate that was found, or is given. Raises :class:`~kilter.errors.ModelError` where nothing
    can be found (see :func:`kilter.find_lr`, :func:`kilter.clip_threshold`).
    """
    changes: dict[str, float | None] = {}
    rate = clip = None
    how: dict[str, Any] = {
        "batch_size": recipe.train.batch_size,
        "seed": recipe.seed,
        "class_weight": class_weight,
        "verbose": progress,
    }
    if recipe.optimizer.learning_rate == AUTO:
        rate = find_lr(model, train.x, train.y, **how)
        changes["learning_rate"] = rate.suggestion
        model.optimizer.learning_rate = rate.suggestion
    if recipe.optimizer.clip == AUTO:
        clip = clip_threshold(model, train.x, train.y, **how)
        changes |= {"clip": None, "global_clipnorm": clip.threshold}
    optimizer = recipe.optimizer.model_copy(update=changes)
    return Tuned(recipe.model_copy(update={"optimizer": optimizer}), rate, clip)
