"""Properties of recipes: what is written reads back equal, and nothing but a RecipeError ever comes out."""

import os
import tomllib

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kilter.errors import RecipeError
from kilter.nn.options import ACTIVATIONS, INITIALIZERS
from kilter.recipe import Recipe, dump_recipe, parse_recipe, with_overrides
from kilter.recipe.base import keys_of
from kilter.recipe.optimizer import DEFAULT_RATES

EXAMPLES = int(os.environ.get("KILTER_FUZZ_EXAMPLES", "50"))
slow_is_fine = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])

text = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
positive = st.floats(1e-12, 100.0)
share = st.floats(0.0, 0.99)
held = st.one_of(st.integers(1, 10**6), st.floats(0.01, 0.99), text, st.just("none"))
widths = st.one_of(
    st.lists(st.integers(1, 10**6), max_size=6),
    st.fixed_dictionaries({"layers": st.integers(0, 50), "units": st.integers(1, 100)}),
)
hidden = {
    "activation": st.sampled_from([name for name in ACTIVATIONS if name != "selu"]),
    "initializer": st.one_of(
        st.sampled_from([name for name in INITIALIZERS if name not in ("zeros", "ones")]),
        st.fixed_dictionaries({}, optional={"scale": positive, "mode": st.just("fan_avg")}),
    ),
    "batch_norm": st.sampled_from([False, "before", "after", "input"]),
    "dropout": share,
    "hidden": widths,
}
two = {"builder": st.just("mlp"), "hidden": st.just([3, 4])}
each = st.fixed_dictionaries(
    two,
    optional={
        "activation": st.lists(hidden["activation"], min_size=2, max_size=2),
        "initializer": st.lists(hidden["initializer"], min_size=2, max_size=2),
        "dropout": st.lists(share, min_size=2, max_size=2),
    },
)
against_theory = st.fixed_dictionaries(
    {"builder": st.just("mlp"), "unchecked": st.just(True)},
    optional={
        "initializer": st.sampled_from(INITIALIZERS),
        "activation": st.sampled_from(["selu", "leaky_relu"]),
        "lsuv": st.booleans(),
    },
)
standard = st.fixed_dictionaries({"builder": st.just("mlp")}, optional=hidden)
cnn = st.fixed_dictionaries({"builder": st.just("cnn")}, optional=hidden | {"filters": widths})
selu = st.fixed_dictionaries(
    {"builder": st.just("mlp"), "preset": st.just("self-normalizing")},
    optional={"dropout": share, "hidden": widths},
)
saved = st.fixed_dictionaries({"file": text})
factory = st.just({"factory": "my_models:build"})
optimizer = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(sorted(DEFAULT_RATES)),
        "learning_rate": positive,
        "global_clipnorm": positive,
        "weight_decay": share,
        "gradient_accumulation_steps": st.integers(2, 64),
        "options": st.dictionaries(
            st.from_regex(r"beta_[0-9a-z\"'.\[\] ]{1,5}", fullmatch=True),
            st.one_of(
                st.booleans(),
                st.integers(-(2**63), 2**63 - 1),
                st.floats(allow_nan=False, allow_infinity=False),
                text,
            ),
            max_size=3,
        ),
    },
)
train = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 10**6),
        "shuffle": st.booleans(),
        "early_stopping": st.fixed_dictionaries({"monitor": st.just("loss")}, optional={"min_delta": share}),
        "class_weight": st.one_of(
            st.just("balanced"), st.dictionaries(text, positive, min_size=1, max_size=3)
        ),
        "precision": st.sampled_from(["float32", "mixed_bfloat16", "mixed_float16"]),
        "swa": st.fixed_dictionaries({}, optional={"start": st.just(0), "every": st.integers(1, 9)}),
        "evaluate_training": st.booleans(),
    },
)
recipes = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"source": text},
            optional={"target": text, "validation": held, "test": held, "image_size": st.just([8, 9])},
        ),
        "model": st.one_of(standard, cnn, selu, each, against_theory, saved, factory),
    },
    optional={"seed": st.integers(0, 2**31 - 1), "optimizer": optimizer, "train": train},
)


@slow_is_fine
@given(recipes)
@example({"data": {"source": 'a"\\\n\x7f\u2028'}, "model": {"builder": "mlp"}})
def test_a_dumped_recipe_reads_back_equal(mapping):
    recipe = parse_recipe(mapping)
    text = dump_recipe(recipe)
    again = parse_recipe(tomllib.loads(text))
    assert again == recipe
    assert dump_recipe(again) == text


@slow_is_fine
@given(recipes)
def test_a_dump_has_every_key_of_its_sections(mapping):
    recipe = parse_recipe(mapping)
    read = tomllib.loads(dump_recipe(recipe))
    for name, section in recipe:
        if section is None:  # such a recipe has no such section
            assert name not in read
        elif name not in ("name", "seed"):
            assert set(read[name]) == set(keys_of(type(section)))


names = st.sampled_from(
    [
        "data",
        "model",
        "optimizer",
        "train",
        "regularize",
        "name",
        "seed",
        "source",
        "validation",
        "builder",
        "file",
        "factory",
        "hidden",
        "filters",
        "layers",
        "units",
        "initializer",
        "scale",
        "early_stopping",
        "patience",
        "class_weight",
        "options",
        "learning_rate",
        "image_size",
        "mlp",
        "cnn",
        "none",
        "batch_norm",
    ]
)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.binary(max_size=3),
    names,
    st.dates(),
)
keys = st.one_of(names, names, st.text(max_size=8), st.integers(), st.booleans(), st.none())
anything = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
    max_leaves=12,
)


@slow_is_fine
@given(st.one_of(anything, st.dictionaries(names, anything, max_size=6)))
def test_fuzz_nothing_but_a_recipe_error_comes_out(given_mapping):
    try:
        recipe = parse_recipe(given_mapping)
    except RecipeError as error:
        told = (error.expected, error.received, error.remedy)
    else:
        told = (dump_recipe(recipe),)
    assert all(told)


@slow_is_fine
@given(recipes, st.data())
def test_fuzz_one_spoiled_key_of_a_good_recipe(mapping, data):
    section = data.draw(st.sampled_from(sorted(mapping)))
    spoiled = data.draw(anything)
    if isinstance(mapping[section], dict) and mapping[section]:
        key = data.draw(st.sampled_from(sorted(mapping[section])))
        changed = mapping | {section: mapping[section] | {key: spoiled}}
    else:
        changed = mapping | {section: spoiled}
    try:
        recipe = parse_recipe(changed)
    except RecipeError:
        return
    assert parse_recipe(tomllib.loads(dump_recipe(recipe))) == recipe


@slow_is_fine
@given(
    st.lists(
        st.one_of(st.text(max_size=12), st.builds("{}.{}={}".format, names, names, st.text(max_size=8))),
        max_size=3,
    )
)
def test_fuzz_overrides(overrides):
    start = parse_recipe({"data": {"source": "digits"}, "model": {"builder": "mlp"}})
    try:
        assert isinstance(with_overrides(start, overrides), Recipe)
    except RecipeError:
        return
