"""docs/recipes.md says what is true: every key with its default and its range, in the words of the errors."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from kilter.recipe import (
    AugmentSection,
    CnnSection,
    DataSection,
    EarlyStopping,
    FactorySection,
    FileSection,
    FineTuneSection,
    MlpSection,
    OptimizerSection,
    PretrainSection,
    Recipe,
    RegularizeSection,
    ReuseSection,
    StageSection,
    TrainSection,
    VarianceScaling,
    WeightAveraging,
    parse_recipe,
    schedule_section,
)
from kilter.recipe.base import keys_of
from kilter.recipe.optimizer import DEFAULT_RATES
from kilter.schedules.registry import SCHEDULES

PAGE = (Path(__file__).parent.parent / "docs/recipes.md").read_text(encoding="utf-8")
SECTIONS = [
    Recipe,
    DataSection,
    MlpSection,
    CnnSection,
    FileSection,
    FactorySection,
    ReuseSection,
    VarianceScaling,
    OptimizerSection,
    *(schedule_section(name) for name in SCHEDULES),
    TrainSection,
    EarlyStopping,
    WeightAveraging,
    FineTuneSection,
    StageSection,
    RegularizeSection,
    AugmentSection,
    PretrainSection,
]
KEYS = [
    (section.__name__, key, field)
    for section in SECTIONS
    for key, field in keys_of(section).items()
    if field.description
]
# Defaults that are computed from other keys are told in words; test_recipe.py holds them to their values.
COMPUTED = {
    "activation": "by the preset",
    "negative_slope": "0.2 for leaky_relu",
    "initializer": "by the activation",
    "learning_rate": "by the optimizer",
    "options": "{}",
    "stages": "the head for 5 epochs, then all at a tenth of the rate",
}


def default_in_words(key, field):
    if key in COMPUTED:
        return COMPUTED[key]
    if field.is_required():
        return "required"
    if field.default is None:
        return '`"none"`'
    return f"`{json.dumps(field.default)}`"


@pytest.mark.parametrize(("section", "key", "field"), KEYS, ids=[f"{name}-{key}" for name, key, _ in KEYS])
def test_every_key_has_its_row(section, key, field):
    if (section, key) == ("CnnSection", "hidden"):
        assert "`hidden` is `[128]`" in PAGE
        assert field.default == (128,)
        return
    assert f"| `{key}` | {default_in_words(key, field)} | {field.description} |" in PAGE


def test_the_page_names_no_key_that_does_not_exist():
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == {key for _, key, _ in KEYS}


def test_the_example_is_a_recipe():
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert parse_recipe(tomllib.loads(example)).name == "cifar10-selu"


def test_the_default_rates_are_told():
    others = {name: rate for name, rate in DEFAULT_RATES.items() if rate != 0.001}
    assert others == {"sgd": 0.01, "adagrad": 0.01, "adadelta": 1.0, "lion": 0.0001}
    assert "The default rate is 0.01 for sgd and adagrad, 1.0 for adadelta, 0.0001 for lion" in PAGE
