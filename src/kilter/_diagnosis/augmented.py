"""What an augmentation costs: the same network trained without it, and each augmentation by itself."""

from collections.abc import Callable
from typing import Any

import jax
import keras
import numpy as np

from kilter._diagnosis.context import Context
from kilter._diagnosis.sibling import compiled_soundly
from kilter._engine.augmenting import Augment
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.editing import can_be_cut, cut, open_layers
from kilter._models.layers import AUGMENTATIONS


def augmenting_layers(model: keras.Model) -> list[Any]:
    """The layers of a graph that change its inputs at random while it trains."""
    return [one for one in open_layers(model) if isinstance(one, AUGMENTATIONS)] if can_be_cut(model) else []


def is_augmented(context: Context, augment: Augment | None) -> bool:
    """Whether the training changes its inputs at random, and can be tried without that."""
    return bool(augmenting_layers(context.model)) or (augment is not None and can_be_cut(context.model))


def unaugmented(context: Context) -> keras.Model:
    """The network without augmenting layers, with its own weights and the sibling's optimiser."""
    cuts = {layer: lambda _: None for layer in augmenting_layers(context.model)}
    return compiled_soundly(context, cut(context.model, cuts).model)


def most_harmful(context: Context, x: Any, score: Callable[[Any], float]) -> tuple[str, ...]:
    """The augmenting layers that read an input and lower a trained network's score most, the worst first.

    ``score``: of the network on rows like ``x``. Those that cost less than half of the worst are left out.
    """
    layers = [one for one in context.layers if isinstance(one.layer, AUGMENTATIONS)]
    if len(jax.tree.leaves(x)) != 1 or not layers:
        return ()
    before, costs = score(x), dict[str, float]()
    for one in layers:
        try:
            (leaf,), structure = jax.tree.flatten(x)
            changed = np.asarray(one.layer(np.asarray(leaf, "float32"), training=True))
            costs[one.path] = before - score(structure.unflatten([changed]))
        except FOREIGN_ERRORS:
            return ()
    worst = max(costs.values())
    named = sorted(costs, key=lambda path: -costs[path])
    return tuple(path for path in named if costs[path] >= worst / 2) if worst > 0 else ()
