"""Pretraining from a recipe: the model of ``[model]`` without its output, on the task of ``[pretrain]``."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from kilter._progress import Verbose, shown
from kilter._text import printable
from kilter.data import Dataset, Source, Splits, load, split
from kilter.data.splitting import draw_rows
from kilter.errors import DataError, RecipeError
from kilter.pretrain.autoencoder import autoencoder
from kilter.pretrain.auxiliary import auxiliary
from kilter.pretrain.decoder import without_top
from kilter.pretrain.gan import discriminator_of, gan
from kilter.pretrain.running import Pretrained
from kilter.recipe import PretrainSection, Recipe
from kilter.runs.build import make_optimizer
from kilter.runs.from_recipe import make_augmentation, make_model
from kilter.runs.recipe_data import fitted, given_record, read_source
from kilter.runs.training import data_record

# Keys of [train] about labels, or about averaging the weights of a finished model.
_NOT_FOR_PRETRAINING = ("class_weight", "ema", "swa", "evaluate_training")


def pretrain(
    recipe: Recipe,
    *,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: Verbose = "auto",
    allow_code: bool = False,
) -> Pretrained:
    """Pretrain the encoder that ``recipe`` describes. Only the task "pairs" uses labels.

    ``allow_code`` lets the recipe run code: its factory, or code in its .keras file.
    Raises a :class:`~kilter.errors.KilterError` before training starts if something does not fit.
    """
    section = _checked(recipe)
    with shown(verbose) as progress:
        progress.stage(f"Reading {printable(recipe.data.source)}")
        source = read_source(recipe, given_record(recipe), unlabelled=True)
    train, validation = _parts(recipe, source)
    # Builders need classes. One is enough, because the output is dropped.
    recipe = fitted(recipe, train)
    unlabelled = replace(train, y=None, task="classification", classes=("row",))
    encoder = without_top(make_model(recipe, unlabelled, allow_code=allow_code), section.drop)
    done = _trained(recipe, section, encoder, train, validation, callbacks, verbose)
    return replace(done, data=data_record(source, Splits(train, validation, None)))


def _trained(
    recipe: Recipe,
    section: PretrainSection,
    encoder: keras.Model,
    train: Dataset,
    validation: Dataset | None,
    callbacks: Sequence[keras.callbacks.Callback],
    verbose: Verbose,
) -> Pretrained:
    options: dict[str, Any] = {"epochs": recipe.train.epochs, "batch_size": recipe.train.batch}
    options |= {"seed": recipe.seed, "verbose": verbose, "callbacks": callbacks}
    optimizer = make_optimizer(recipe)
    if section.task == "gan":  # no early stopping: neither network's loss falls while both learn
        judge = discriminator_of(encoder, seed=recipe.seed)
        return gan(train.x, discriminator=judge, discriminator_optimizer=optimizer, **options)
    measure = "error" if section.task in ("autoencoder", "masked-patch") else "accuracy"
    options |= {**section.options(), "optimizer": optimizer}
    options["callbacks"] = [*callbacks, *_stopping(recipe, measure)]
    held: Any = None if validation is None else validation.x
    if section.task == "autoencoder":
        return autoencoder(encoder, train.x, validation_data=held, **options)
    if section.task == "pairs":
        options["same"] = _labels(train)
        held = None if validation is None else (validation.x, _labels(validation))
    elif section.task == "contrastive":
        options["views"] = make_augmentation(recipe.augment, train)
    return auxiliary(encoder, train.x, task=section.task, validation_data=held, **options)


def _checked(recipe: Recipe) -> PretrainSection:
    section = recipe.pretrain
    if section is None:
        raise RecipeError(
            expected="a recipe with [pretrain]",
            received=f"recipe {recipe.name!r} without it",
            remedy='add [pretrain] with a task, or pass --task, for example "autoencoder"',
        )
    idle = [f"train.{key}" for key in _NOT_FOR_PRETRAINING if getattr(recipe.train, key)]
    if recipe.schedule.name != "constant":
        idle.append("schedule")
    if recipe.augment != type(recipe.augment)() and section.task != "contrastive":
        idle.append("augment")
    if recipe.optimizer.learning_rate == "auto" or recipe.optimizer.clip is not None:
        idle.append('"auto" in [optimizer]')
    if idle:
        raise RecipeError(
            expected=f"only keys that pretraining for {section.task!r} uses",
            received=", ".join(idle),
            remedy="remove them",
        )
    return section


def _parts(recipe: Recipe, source: Source) -> tuple[Dataset, Dataset | None]:
    """Training and validation rows; rows without labels are split without stratification."""
    data = recipe.data
    seed = recipe.seed if data.split_seed is None else data.split_seed
    if source.train.y is None:
        return _unlabelled_parts(source, data.validation, seed)
    found = split(source, validation=data.validation, test=data.test, seed=seed)
    return found.train, found.validation


def _unlabelled_parts(source: Source, validation: Any, seed: int) -> tuple[Dataset, Dataset | None]:
    rows = source.train
    if validation is None:
        return rows, None
    if isinstance(validation, str):
        same = {"encoding": source.encoding, "shifts": source.shifts, "image_size": source.image_size}
        return rows, load(validation, unlabelled=True, **same).train
    front = isinstance(validation, int)
    count = validation if front else round(validation * len(rows))
    if not 0 < count < len(rows):
        raise DataError(
            expected="a data.validation that leaves rows for both training and validation",
            received=f"data.validation={validation} of {len(rows)} rows",
            remedy="choose another number or fraction",
        )
    held = np.arange(count) if front else draw_rows(len(rows), count, seed)
    return rows.take(np.setdiff1d(np.arange(len(rows)), held)), rows.take(held)


def _labels(part: Dataset) -> np.ndarray:
    if part.y is None or part.task != "classification":
        raise DataError(
            expected="class labels for the task 'pairs', which learns whether two rows have the same class",
            received=f"{part.name} without class labels",
            remedy="use another task; 'contrastive' needs no labels",
        )
    return part.y


def _stopping(recipe: Recipe, measure: str) -> Sequence[keras.callbacks.Callback]:
    stopping = recipe.train.early_stopping
    if stopping is None:
        return []
    prefixes = ("", "val_") if recipe.data.validation is not None else ("",)
    known = [f"{prefix}{name}" for prefix in prefixes for name in ("loss", measure)]
    monitor = stopping.monitor or known[-2]
    if monitor not in known:
        raise RecipeError(
            expected=f"train.early_stopping.monitor to be one of {', '.join(known)}",
            received=f"monitor={monitor!r}",
            remedy=f"use {known[-2]!r}",
        )
    # A dict, because Keras annotates min_delta as an int.
    options: dict[str, Any] = {"patience": stopping.patience, "min_delta": stopping.min_delta}
    mode = "max" if monitor.endswith("accuracy") else "min"
    return [keras.callbacks.EarlyStopping(monitor, mode=mode, restore_best_weights=True, **options)]
