"""From a recipe to data, a compiled model and a TrainingSpec, all checked before a step is traced."""

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import Rows, collect
from kilter._engine.augmenting import as_augmentation, check_augmentation
from kilter._engine.averaging import (
    ExponentialMovingAverage,
    StochasticWeightAverage,
    WeightAverage,
    normalizes_batches,
)
from kilter._engine.checks import check_inputs
from kilter._engine.objective_for import Objective, objective_for
from kilter._engine.scheduling import check_schedule
from kilter._engine.training_spec import EarlyStopping, TrainingSpec
from kilter._models.variables import build
from kilter._progress import SILENT, Progress
from kilter._system import require_memory
from kilter._text import counted, did_you_mean, printable
from kilter._transfer.sources import checksum
from kilter._transfer.stages import Phase
from kilter._tuning.clip_threshold import FoundClip, clip_threshold
from kilter._tuning.find_lr import FoundRate, find_lr
from kilter._validation import errors_as
from kilter.data import Dataset, Source, Splits
from kilter.data.loading import absolute
from kilter.data.relations import leak_notes
from kilter.data.summary import rare_class_note
from kilter.errors import ModelError, RecipeError
from kilter.nn.builders import BYTES_A_WEIGHT
from kilter.recipe import FileSection, Recipe, ReuseSection
from kilter.recipe.optimizer import AUTO
from kilter.runs.best_epoch import Watch
from kilter.runs.evaluating import ValidationMeasure, positive_of, require_measure, watch_for
from kilter.runs.from_recipe import make_augmentation, make_model, make_phases, make_schedule
from kilter.runs.recipe_data import fitted, given_record, read_parts

_LONG_TAIL = "the target has a long tail: the Huber loss keeps a few rows from deciding everything"


@dataclass(frozen=True, eq=False)
class Prepared:
    """A recipe that is ready to train: paths resolved, data read, model compiled and built.

    Numbers that were measured ("auto") are in `recipe`. `phases`: the stages of fine-tuning, if any. `guard`:
    whether a training run that diverges goes back and continues at a lower rate.
    """

    recipe: Recipe
    source: Source
    parts: Splits
    model: keras.Model
    objective: Objective
    watch: Watch
    spec: TrainingSpec
    found_rate: FoundRate | None = None
    found_clip: FoundClip | None = None
    phases: tuple[Phase, ...] = ()
    guard: bool = True

    @property
    def batches(self) -> int:
        """Batches per epoch; the last one may be short."""
        return math.ceil(len(self.parts.train) / self.spec.batch_size)

    def recompile(self, optimizer: keras.optimizers.Optimizer) -> None:
        """Compile the model with another optimiser and the same loss and metrics, and build it."""
        compile_for(self.model, optimizer, self.objective)
        _build(self.model, self.recipe, self.parts.train)


def prepare(
    recipe: Recipe,
    *,
    allow_code: bool = False,
    progress: Progress = SILENT,
    source: Source | None = None,
    all_notes: bool = False,
) -> Prepared:
    """Read the data, build and compile the model, and check that data, model and recipe fit each other.

    Numbers left to be measured ("auto") are measured last, on the training part. ``allow_code`` lets the
    recipe run code: its factory, or code in its .keras file; nothing in a recipe can grant this. ``source``:
    the recipe's data, if they are read already; their notes are not printed again. ``all_notes``: print
    the notes on the data, not only how many there are.
    """
    if recipe.pretrain is not None:
        raise RecipeError(
            expected="a recipe without [pretrain] to train a classifier or a regression with",
            received=f"[pretrain] with task={recipe.pretrain.task!r}",
            remedy="use kilter pretrain, or leave the section out",
        )
    require_measure(recipe)
    recipe = with_absolute_paths(recipe)
    progress.stage(f"Reading {printable(recipe.data.source)}")
    is_read = source is not None
    source, parts = read_parts(recipe, given_record(recipe), source=source)
    notes = (*source.notes, *leak_notes(parts.train, source.encoding), *rare_class_note(source.train))
    if notes and not is_read and not all_notes:
        notes = (f"{counted(len(notes), 'note')} on the data; to see more: {_data_command(recipe)}",)
    for note in () if is_read else notes:
        progress.print(f"Note: {printable(note)}")
    if isinstance(recipe.train.batch_size, int) and recipe.train.batch_size > len(parts.train):
        progress.print(f"Note: train.batch_size is {len(parts.train)}, the number of training rows")
    recipe = fitted(recipe, parts.train)
    progress.stage("Building the model")
    model = make_model(recipe, parts.train, allow_code=allow_code)
    objective = objective_for(model, parts.train, recipe.regularize.label_smoothing)
    if isinstance(objective.loss, keras.losses.Huber):
        progress.print(f"Note: {_LONG_TAIL}")
    watch = watch_for(recipe, objective, parts)
    optimizer = make_optimizer(recipe)
    _require_training_room(model, optimizer)
    compile_for(model, optimizer, objective)
    _build(model, recipe, parts.train)
    spec = make_spec(recipe, parts, model, watch)
    augmentation = as_augmentation(spec.augment)
    if augmentation is not None:
        check_augmentation(model, augmentation, _example(parts.train, 1).data)
    check_schedule(model, spec.schedule, validated=parts.validation is not None)
    prepared = _tuned(Prepared(recipe, source, parts, model, objective, watch, spec), progress)
    tuned = prepared.recipe
    phases = make_phases(tuned, model, lambda rate: make_optimizer(tuned, rate))
    return replace(prepared, phases=phases)


def _data_command(recipe: Recipe) -> str:
    """The command that describes the data as the recipe reads them."""
    section = recipe.data
    given = {
        "target": [section.target] if section.target else [],
        "ignore": section.ignore,
        "only": section.only,
        "as": [f"{name}={kind}" for name, kind in section.kinds.items()],
        "missing": section.missing,
    }
    options = [f"--{name}={value}" for name, values in given.items() for value in values]
    return shlex.join(["kilter", "data", printable(section.source), *options])


def make_spec(recipe: Recipe, parts: Splits, model: keras.Model, watch: Watch) -> TrainingSpec:
    """How the recipe trains its compiled model on these data."""
    options, train, validation = recipe.train, parts.train, parts.validation
    stopping = None
    if options.early_stopping is not None:
        limits = options.early_stopping.patience, options.early_stopping.min_delta
        stopping = EarlyStopping(watch.monitor, watch.direction, *limits)
    return TrainingSpec(
        epochs=options.epochs,
        batch_size=options.batch,
        shuffle=options.shuffle,
        validation_data=None if validation is None else (validation.x, validation.y),
        class_weight=_class_weight(recipe, train),
        schedule=make_schedule(recipe, math.ceil(len(train) / options.batch)),
        augment=make_augmentation(recipe.augment, train),
        early_stopping=stopping,
        callbacks=_callbacks(recipe, parts, model, watch),
        evaluate_training=options.evaluate_training,
        seed=recipe.seed,
    )


def weight_average(recipe: Recipe, train: Dataset, model: keras.Model) -> WeightAverage | None:
    """The callback that averages the weights as ``train.swa`` or the optimiser asks, if any."""
    swa = recipe.train.swa
    if swa is not None:
        refresh = train.x if normalizes_batches(model) else None
        return StochasticWeightAverage(swa.start, swa.every, refresh)
    optimizer: Any = model.optimizer
    return ExponentialMovingAverage() if optimizer.use_ema else None


def with_absolute_paths(recipe: Recipe) -> Recipe:
    """The recipe with absolute paths, so that it can be replayed from any folder."""
    data = recipe.data
    given = {"source": data.source, "validation": data.validation, "test": data.test}
    paths = {key: absolute(value) for key, value in given.items() if isinstance(value, str)}
    changes: dict[str, object] = {"data": data.model_copy(update=paths)}
    if isinstance(recipe.model, FileSection):
        changes["model"] = recipe.model.model_copy(update={"file": absolute(recipe.model.file)})
    if isinstance(recipe.model, ReuseSection):
        changes["model"] = _with_checksum(recipe.model)
    return recipe.model_copy(update=changes)


def _with_checksum(section: ReuseSection) -> ReuseSection:
    """With absolute paths and the SHA-256 of the weights, so that a replay reuses the same ones."""
    given = {"reuse": section.reuse, "weights": section.weights}
    paths = {key: absolute(value) for key, value in given.items() if value is not None}
    file = Path(paths.get("weights", paths["reuse"]))
    if section.sha256 is None and file.is_file():
        paths["sha256"] = checksum(file)
    return section.model_copy(update=paths)


def make_optimizer(recipe: Recipe, rate: float | None = None) -> keras.optimizers.Optimizer:
    """The Keras optimiser of ``[optimizer]`` with ``train.ema``, at ``rate`` if given."""
    section = recipe.optimizer
    arguments = section.model_dump(exclude={"name", "options", "clip"}, exclude_none=True)
    arguments["learning_rate"] = section.rate if rate is None else rate
    if section.name != "sgd":
        arguments.pop("nesterov")
    if recipe.train.ema is not None:
        arguments |= {"use_ema": True, "ema_momentum": recipe.train.ema}
    with errors_as(
        RecipeError,
        *(TypeError, ValueError, OverflowError),
        expected=f"options of keras's {section.name} in [optimizer]",
        received=f"options={section.options}",
        remedy="see the arguments of the optimiser in Keras's documentation",
    ):
        optimizer = keras.optimizers.get({"class_name": section.name, "config": arguments | section.options})
        if section.options:
            _try_step(optimizer)
        return optimizer


def _try_step(optimizer: keras.optimizers.Optimizer) -> None:
    """Trace one step of a copy of the optimiser, because Keras checks few of its arguments earlier."""
    copy: Any = type(optimizer).from_config(optimizer.get_config())
    weights = [keras.Variable([0.0])]
    copy.build(weights)
    values = [variable.value for variable in copy.variables]
    jax.eval_shape(copy.stateless_apply, values, [jnp.zeros(1)], [weight.value for weight in weights])


def _tuned(prepared: Prepared, progress: Progress) -> Prepared:
    """With a number for each "auto", and compiled with it, as a replay of the recipe will be.

    Gradients are measured at the final learning rate.
    """
    section, model, spec = prepared.recipe.optimizer, prepared.model, prepared.spec
    train = prepared.parts.train
    changes: dict[str, float | None] = {}
    rate = clip = None
    if section.learning_rate == AUTO:
        rate = find_lr(model, train.x, train.y, **spec.arguments_for(find_lr), verbose=progress)
        changes["learning_rate"] = rate.suggestion
        model.optimizer.learning_rate = rate.suggestion
    if section.clip == AUTO:
        clip = clip_threshold(model, train.x, train.y, **spec.arguments_for(clip_threshold), verbose=progress)
        changes |= {"clip": None, "global_clipnorm": clip.threshold}
    if not changes:
        return prepared
    recipe = prepared.recipe.model_copy(update={"optimizer": section.model_copy(update=changes)})
    prepared.recompile(make_optimizer(recipe))
    spec = replace(spec, schedule=make_schedule(recipe, prepared.batches))
    return replace(prepared, recipe=recipe, spec=spec, found_rate=rate, found_clip=clip)


def _callbacks(
    recipe: Recipe, parts: Splits, model: keras.Model, watch: Watch
) -> tuple[keras.callbacks.Callback, ...]:
    """The weight average, if any, then the validation measure that ``watch`` needs."""
    found: list[keras.callbacks.Callback] = []
    average = weight_average(recipe, parts.train, model)
    found += [] if average is None else [average]
    name = watch.monitor.removeprefix("val_")
    logged = ("loss", *objective_for(model, parts.train).metrics)
    if parts.validation is not None and watch.monitor.startswith("val_") and name not in logged:
        found.append(ValidationMeasure(name, parts.validation, positive_of(parts.train)))
    return tuple(found)


def _class_weight(recipe: Recipe, train: Dataset) -> dict[int, float] | None:
    """Weights by class index. "balanced" is rows / (classes · rows of the class), as in scikit-learn."""
    given = recipe.train.class_weight
    if given is None:
        return None
    if train.task != "classification" or train.y is None:
        raise RecipeError(
            expected="train.class_weight for classification only",
            received=f"class_weight={given!r} and targets that are numbers",
            remedy="leave class_weight out",
        )
    if given == "balanced":
        counts = np.bincount(train.y, minlength=len(train.classes))
        present = int(np.count_nonzero(counts))
        return {label: len(train) / (present * int(rows)) for label, rows in enumerate(counts) if rows}
    assert isinstance(given, dict)
    unknown = sorted(set(given) - set(train.classes))
    if unknown:
        raise RecipeError(
            expected=f"names of classes in train.class_weight: {', '.join(train.classes[:20])}",
            received=", ".join(repr(name) for name in unknown),
            remedy=did_you_mean(unknown[0], train.classes, "correct the names"),
        )
    return {label: float(given.get(name, 1.0)) for label, name in enumerate(train.classes)}


def compile_for(
    model: keras.Model, optimizer: keras.optimizers.Optimizer | str, objective: Objective
) -> None:
    """Compile the model with the loss and metrics of the objective."""
    model.compile(
        optimizer=optimizer,
        loss=objective.loss,
        loss_weights=None if objective.loss_weight is None else [objective.loss_weight],
        metrics=objective.make_metrics(),
    )


def _require_training_room(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> None:
    """Raise :class:`ModelError` if gradients and the optimiser's state do not fit into memory."""
    if not model.built:
        return
    probe = type(optimizer).from_config(optimizer.get_config())
    probe.build([keras.Variable([0.0])])
    slots = sum(tuple(variable.shape) == (1,) for variable in probe.variables)
    weights = sum(math.prod(variable.shape) for variable in model.trainable_variables)
    require_memory(
        weights * (1 + slots) * BYTES_A_WEIGHT,
        ModelError,
        expected="a model that can be trained in memory",
        received=f"{weights:.3g} weights, for each a gradient and {slots} numbers of {optimizer.name}",
        remedy="use fewer or narrower layers, or another optimiser (sgd needs the least memory)",
    )


def _example(train: Dataset, rows: int) -> Rows:
    return collect(train.x[:rows], train.y[:rows])  # type: ignore[index]


def _build(model: keras.Model, recipe: Recipe, train: Dataset) -> None:
    rows = min(recipe.train.batch, len(train))
    example = _example(train, rows)
    check_inputs(model, example)
    build(model, example.example(rows))
    with errors_as(
        ModelError,
        *(NotImplementedError, TypeError, ValueError),
        expected="a model that Keras can save, to keep its best weights",
        received=f"model {model.name!r}",
        remedy="give its class a get_config(), registered by keras.saving.register_keras_serializable()",
    ):
        keras.saving.serialize_keras_object(model)
