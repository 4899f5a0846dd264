"""From the sections of a recipe to Keras and kilter objects: model, schedule, augmentation, stages."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from kilter import schedules
from kilter._models.saved import TRUST, load_model
from kilter._transfer.reusing import reuse
from kilter._transfer.sources import load_source
from kilter._transfer.stages import Phase, Stage, phases_of
from kilter._validation import errors_as
from kilter.data import Dataset, augmentation, moments
from kilter.data.augmentation import Augmentation, Mixing, Pixelwise, Transform
from kilter.data.precision import target_scales
from kilter.data.relations import related_features
from kilter.errors import ModelError, RecipeError
from kilter.nn import cnn, lsuv, mlp
from kilter.nn.builders import dense_weights, require_room
from kilter.nn.unet import unet
from kilter.recipe import (
    AugmentSection,
    CnnSection,
    FactorySection,
    FileSection,
    MlpSection,
    Recipe,
    ReuseSection,
)
from kilter.recipe.model import UnetSection


def make_phases(
    recipe: Recipe, model: keras.Model, make_optimizer: Callable[[float], keras.optimizers.Optimizer]
) -> tuple[Phase, ...]:
    """The phases of ``[fine_tune]`` for the recipe's model; () for a recipe that reuses nothing."""
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
            # Layer-wise rates need an optimiser given by name.
            optimizer=make_optimizer if stage.decay == 1 else recipe.optimizer.name,
            schedule=stage.schedule,
        )
        for stage, epochs in zip(section.stages, lengths, strict=True)
    ]
    return phases_of(model, stages, freeze_batch_norm=section.freeze_batch_norm)


def make_schedule(recipe: Recipe, batches: int) -> schedules.Schedule | schedules.Performance | None:
    """The schedule of ``[schedule]`` for epochs of ``batches`` batches; None for a constant rate."""
    section = recipe.schedule
    return section.kind.make(recipe.optimizer.rate, recipe.train.epochs, batches, **section.settings())


def make_augmentation(section: AugmentSection, train: Dataset) -> Augmentation | None:
    """The augmentation of ``[augment]`` for these data, if any."""
    made: dict[str, Transform] = {
        key: getattr(augmentation, key.capitalize())(value) for key, value in section.transforms().items()
    }
    if not made:
        return None
    moving = [key for key, one in made.items() if not isinstance(one, Pixelwise)]
    if moving and train.task == "segmentation":
        raise RecipeError(
            expected="augmentations that do not move pixels, because the images have masks",
            received=f"augment.{', augment.'.join(moving)}, which would not change the masks",
            remedy="leave them out; augment.brightness, contrast and the like work",
        )
    of_images = [key for key, one in made.items() if not isinstance(one, Mixing) or one.whole_images]
    if of_images and train.x.ndim != 4:
        raise RecipeError(
            expected="images, shape (rows, height, width, channels), for augment."
            + ", augment.".join(of_images),
            received=f"{train.name} of shape {train.x.shape}",
            remedy="leave them out; augment.mixup is for any rows",
        )
    colours = [key for key, one in made.items() if isinstance(one, Pixelwise) and one.colour]
    if colours and section.value_range is None and train.x.dtype != "uint8":
        raise RecipeError(
            expected=f"augment.value_range with augment.{colours[0]}",
            received=f"images of {train.x.dtype} from {train.x.min():g} to {train.x.max():g}",
            remedy="set value_range = [least, most] in [augment]",
        )
    chain = Augmentation(tuple(made.values()), value_range=section.value_range, fill=section.fill)
    chain.check(train.x[:1])
    return chain


def make_model(recipe: Recipe, train: Dataset, *, allow_code: bool = False) -> keras.Model:
    """The uncompiled model of ``[model]`` for the training data."""
    section = recipe.model
    if isinstance(section, FileSection):
        return load_model(section.file, allow_code=allow_code)
    if isinstance(section, ReuseSection):
        return _reused(section, recipe, train, allow_code=allow_code)
    if isinstance(section, FactorySection):
        if not allow_code:
            raise ModelError(
                expected="a recipe that does not run its own code",
                received=f"model.factory={section.factory!r}, which imports and calls Python code",
                remedy=TRUST,
            )
        model = call_factory(section.factory, recipe, train)
    else:
        model = _built(section, recipe, train)
    if getattr(section, "lsuv", False):
        lsuv(model, train.x, seed=recipe.seed)
    return model


def call_factory(name: str, recipe: Recipe, train: Dataset) -> keras.Model:
    """The model that ``module:function`` returns, called with ``input_shape=`` and ``outputs=``."""
    function = import_function(name)
    keras.utils.set_random_seed(recipe.seed)
    refused = errors_as(
        ModelError,
        Exception,
        expected=f"a model from {name}(input_shape={train.input_shape}, outputs={train.outputs})",
        remedy="correct the function; it is called with these two keyword arguments",
    )
    with _policy(recipe.train.precision), refused:
        model = function(input_shape=train.input_shape, outputs=train.outputs)
    if not isinstance(model, keras.Model):
        raise ModelError(
            expected=f"a keras.Model from {name}",
            received=type(model).__name__,
            remedy="return the model from the function",
        )
    return model


def _built(section: MlpSection | CnnSection | UnetSection, recipe: Recipe, train: Dataset) -> keras.Model:
    build: Callable[..., keras.Sequential] = cnn if isinstance(section, CnnSection) else mlp
    inputs = moments(train.x) if recipe.data.standardize else None
    given: dict[str, Any] = {
        "normalization": None if inputs is None else (inputs.mean, inputs.variance),
        "dtype": None if recipe.train.precision == "float32" else recipe.train.precision,
        "seed": recipe.seed,
    }
    if isinstance(section, UnetSection):
        if train.task != "segmentation":
            raise RecipeError(
                expected='images with masks, for builder = "unet"',
                received=f"{train.name}, for {train.task}",
                remedy='use builder = "cnn" for one answer for each image',
            )
        return unet(train.input_shape, train.outputs, filters=section.filters, **given)
    penalties = recipe.regularize
    chosen = recipe.data.select == "related" and train.features and train.y is not None
    kept = related_features(train) if chosen else None
    mask = {} if kept is None or kept.all() else {"kept": kept}
    model = build(
        train.input_shape,
        train.outputs,
        **section.arguments(),
        **mask,
        l1=penalties.l1,
        l2=penalties.l2,
        max_norm=penalties.max_norm,
        **given,
    )
    if train.task == "regression" and recipe.data.standardize:
        model.add(_in_target_units(train))
    return model


def _reused(section: ReuseSection, recipe: Recipe, train: Dataset, *, allow_code: bool) -> keras.Model:
    """The frozen lower layers of a trained model, under new hidden layers and a new output."""
    source = load_source(section.reuse, weights=section.weights, sha256=section.sha256, allow_code=allow_code)
    # At least one feature; how many is not known yet.
    require_room(dense_weights(1, (*section.hidden, train.outputs)))
    head: list[keras.layers.Layer] = [
        keras.layers.Dense(units, "elu", kernel_initializer="he_normal", name=f"head_{number}")
        for number, units in enumerate(section.hidden, start=1)
    ]
    head.append(keras.layers.Dense(train.outputs, dtype="float32", name="head_output"))
    if train.task == "regression" and recipe.data.standardize:
        head.append(_in_target_units(train))
    return reuse(source.model, keep=section.keep, head=head, input_shape=train.input_shape, seed=recipe.seed)


def _in_target_units(train: Dataset) -> keras.layers.Layer:
    """The layer after the output that scales standardised outputs to the targets' units.

    A network starts near 0 ± 1. Without this layer it would first have to learn a mean in the hundred
    thousands, in steps of the learning rate.
    """
    scales = target_scales(train.y)  # type: ignore[arg-type]
    mean, deviation = [one.center for one in scales], [one.deviation for one in scales]
    # Keras accepts a list, although its annotation says one number.
    offset: Any = mean
    return keras.layers.Rescaling(deviation, offset=offset, dtype="float32", name="target_units")


def import_function(name: str) -> Callable[..., Any]:
    """The function ``module:function``; :class:`ModelError` if there is none."""
    module_name, _, function_name = name.partition(":")
    refused = errors_as(
        ModelError,
        Exception,
        expected=f"a module {module_name!r} that can be imported from {Path.cwd()}",
        remedy="correct model.factory, or start kilter in the folder of the module",
    )
    with _working_directory_first(), refused:
        module = importlib.import_module(module_name)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ModelError(
            expected=f"a function {function_name!r} in {module.__file__}",
            received="nothing of that name" if function is None else type(function).__name__,
            remedy='correct model.factory = "module:function"',
        )
    return function


@contextmanager
def _working_directory_first() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


@contextmanager
def _policy(precision: str) -> Iterator[None]:
    """Set Keras's global dtype policy for the layers that a user's function makes, and restore it."""
    before = keras.config.dtype_policy()
    if precision != "float32":
        keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
