"""Numbers of a recipe that depend on the size of the data: batch, width, and which features are used."""

import math

from kilter.data import Dataset
from kilter.recipe import MlpSection, Recipe
from kilter.recipe.optimizer import AUTO

# Smaller batches give noisy gradients, larger ones give too few steps.
_BATCHES = (8, 1024)
# Wider layers overfit few rows: two of 100 units lose 0.004 to 0.007 on tables of 460 and 880 training rows.
_WIDTHS = (32, 256)
# Without dropout four of five tables of 100 to 960 training rows lose 0.010 to 0.025 (the fifth gains 0.008);
# with it one of 3,600 loses 0.009 of R2.
_DROPOUT, _MANY_ROWS = 0.15, 2000


def fitted(recipe: Recipe, train: Dataset) -> Recipe:
    """The recipe with a value for each "auto" that depends on the training part; no batch is larger."""
    changes: dict[str, object] = {}
    root = 2 ** round(math.log2(max(1, len(train))) / 2)
    asked = recipe.train.batch_size
    wanted = min(max(root, _BATCHES[0]), _BATCHES[1]) if isinstance(asked, str) else asked
    batch = max(1, min(wanted, len(train)))
    if batch != asked:
        changes["train"] = recipe.train.model_copy(update={"batch_size": batch})
    if isinstance(recipe.model, MlpSection) and recipe.model.hidden == AUTO:
        width = min(max(root, _WIDTHS[0]), _WIDTHS[1])
        update: dict[str, object] = {"hidden": (width, width)}
        if "dropout" not in recipe.model.model_fields_set and len(train) < _MANY_ROWS:
            update["dropout"] = _DROPOUT
        changes["model"] = recipe.model.model_copy(update=update)
    if recipe.data.select == AUTO:
        wide = train.y is not None and len(train.features) > len(train)
        changes["data"] = recipe.data.model_copy(update={"select": "related" if wide else "all"})
    return recipe.model_copy(update=changes)
