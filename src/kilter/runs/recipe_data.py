"""The data of a recipe: read, split, and the numbers that depend on their size: batch, width, features."""

import math
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kilter.data import Dataset, Source, Splits, fold, load, split
from kilter.data.splitting import can_draw
from kilter.data.usage import BY_TIME
from kilter.errors import RecipeError, RunError
from kilter.recipe import FileSection, MlpSection, Recipe, ReuseSection, load_recipe
from kilter.recipe.optimizer import AUTO
from kilter.runs.checksums import require_same_recipe
from kilter.runs.reading import CALL, RECIPE
from kilter.runs.records import DataRecord
from kilter.runs.trained import data_of, image_form, require_names

_TOO_FEW: Final = (
    "there are too few rows to hold any out: the validation part is the training rows, so its measures say "
    "how well these rows are learned, and nothing about others"
)


def recipe_of_run(run: Path) -> Recipe:
    """The recipe that a run was started with; :class:`RunError` if it has changed or its data are gone."""
    path = run / RECIPE
    if not path.is_file():
        by_fit = (run / CALL).is_file()
        raise RunError(
            expected=f"the recipe of the run in {path}",
            received="a run of kilter.fit, which has none" if by_fit else "no such file",
            remedy="continue with kilter.fit(..., resume=True); to evaluate, name the data after the run"
            if by_fit
            else "copy it from where the run was",
        )
    require_same_recipe(path)
    recipe = load_recipe(path)
    source = Path(recipe.data.source)
    if source.is_absolute() and not source.exists():
        raise RunError(
            expected=f"the data that the run in {run} was started with",
            received=f"{source}, which does not exist",
            remedy=f"put the data back, or set data.source in {path} to their new place",
        )
    return recipe


def read_parts(
    recipe: Recipe,
    record: DataRecord | None = None,
    *,
    same_task: bool = False,
    source: Source | None = None,
) -> tuple[Source, Splits]:
    """The recipe's data as :func:`read_source` reads them, or the ``source`` read before, and their split."""
    section = recipe.data
    source = source or read_source(recipe, record, same_task=same_task)
    seed = recipe.seed if section.split_seed is None else section.split_seed
    if section.folds is not None:
        if section.fold is None:
            raise RecipeError(
                expected="data.fold, the one of data.folds to hold out",
                received=f"data.folds={section.folds} alone, which is for kilter train and cross_validate",
                remedy="leave data.folds out, or add data.fold",
            )
        source = fold(source, folds=section.folds, number=section.fold, seed=seed, group=section.group)
    validation, small = section.validation, False
    if source.validation is None and section.test is None and not can_draw(source.train, section.validation):
        validation, small = None, True
        source = replace(source, notes=(*source.notes, _TOO_FEW))
    parts = split(
        source, validation=validation, test=section.test, seed=seed, by=section.split, group=section.group
    )
    if small:
        parts = replace(parts, validation=parts.train)
    return replace(source, encoding=parts.encoding), parts


def read_source(
    recipe: Recipe,
    record: DataRecord | None,
    *,
    same_task: bool = False,
    unlabelled: bool = False,
    keep_inputs: bool = False,
) -> Source:
    """Read the recipe's data. Warns if different numbers become equal in float32.

    ``record``: of a trained model; its columns and shifts are used, with ``same_task`` its target and classes
    too.
    """
    section = recipe.data
    encoding = None if record is None else record.table_encoding
    shared: dict[str, Any] = {"skip_bad": section.skip_bad, "image_size": section.image_size}
    shared |= image_form(record, section.source) | {"keep_inputs": keep_inputs}
    shared["keep_inputs"] |= section.group is not None
    names = ("ignore", "only", "kinds", "text", "missing", "values")
    chosen = {name: getattr(section, name) for name in names}
    if section.group is not None and section.group not in section.ignore:
        chosen["ignore"] = (*section.ignore, section.group)
    if same_task and encoding is not None:
        return load(section.source, encoding=encoding, **shared)
    source = load(
        section.source,
        target=section.target,
        task=section.task,
        center=section.standardize,
        columns=() if encoding is None else encoding.columns,
        shifts=() if record is None else record.shifts,
        unlabelled=unlabelled,
        **shared,
        **chosen,
    )
    for loss in source.losses:
        warnings.warn(loss, stacklevel=3)
    if section.split == "time" or section.group is not None or section.folds is not None:
        source = replace(source, notes=tuple(one for one in source.notes if not one.endswith(BY_TIME)))
    return source


def given_record(recipe: Recipe) -> DataRecord | None:
    """The data record of the trained model that the recipe starts from; None for a new model."""
    if isinstance(recipe.model, FileSection):
        record = data_of(Path(recipe.model.file))
        if record is not None:
            require_names(record, recipe.data.source, recipe.model.file)
        return record
    if not isinstance(recipe.model, ReuseSection) or not recipe.model.reuse.endswith(".keras"):
        return None
    record = data_of(Path(recipe.model.reuse))
    require_names(record, recipe.data.source, recipe.model.reuse)
    return record


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
