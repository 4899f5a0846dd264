"""Recipes: the validated description of a run, read from TOML and written back resolved.

Importing this package imports neither Keras nor JAX.
"""

from kilter.recipe.augment import AugmentSection
from kilter.recipe.data import DataSection
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
from kilter.recipe.schedule import ScheduleSection, schedule_section
from kilter.recipe.sections import (
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
    "DataSection",
    "EarlyStopping",
    "FactorySection",
    "FileSection",
    "FineTuneSection",
    "MlpSection",
    "ModelSection",
    "OptimizerSection",
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
    "schedule_section",
    "with_overrides",
]
