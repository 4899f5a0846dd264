"""Recipes: the validated description of a run, read from TOML and written back resolved.

Importing this package imports neither Keras nor JAX.
"""

from __future__ import annotations

from kilter.recipe.augment import AugmentSection
from kilter.recipe.fine_tune import FineTuneSection, StageSection
from kilter.recipe.model import (
    CnnSection,
    FactorySection,
    FileSection,
    MlpSection,
    ModelSection,
    ReuseSection,
    VarianceScaling,
)
from kilter.recipe.optimizer import OptimizerSection
from kilter.recipe.pretrain import PretrainSection
from kilter.recipe.schedule import (
    ConstantSection,
    CosineSection,
    ExponentialSection,
    OneCycleSection,
    PerformanceSection,
    PiecewiseSection,
    PowerSection,
    ScheduleSection,
)
from kilter.recipe.sections import (
    DataSection,
    EarlyStopping,
    Recipe,
    RegularizeSection,
    TrainSection,
    WeightAveraging,
)
from kilter.recipe.text import dump_recipe, load_recipe, parse_recipe, recipe_for, with_overrides

__all__ = [
    "AugmentSection",
    "CnnSection",
    "ConstantSection",
    "CosineSection",
    "DataSection",
    "EarlyStopping",
    "ExponentialSection",
    "FactorySection",
    "FileSection",
    "FineTuneSection",
    "MlpSection",
    "ModelSection",
    "OneCycleSection",
    "OptimizerSection",
    "PerformanceSection",
    "PiecewiseSection",
    "PowerSection",
    "PretrainSection",
    "Recipe",
    "RegularizeSection",
    "ReuseSection",
    "ScheduleSection",
    "StageSection",
    "TrainSection",
    "VarianceScaling",
    "WeightAveraging",
    "dump_recipe",
    "load_recipe",
    "parse_recipe",
    "recipe_for",
    "with_overrides",
]
