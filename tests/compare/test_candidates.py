"""What cannot be compared is refused, in words, before anything is written or trained."""

import copy

import pytest

from kilter import errors
from kilter._compare.candidates import gather
from kilter._compare.compare import compare
from kilter._compare.workers import cores, places

from .functions_of_test import narrow, unseeded

FUNCTIONS = {"a": narrow, "b": unseeded}


def two(recipe_of):
    return {"candidates": {"a": recipe_of(), "b": recipe_of()}}


# The arguments of compare, given recipe_of and arrays; the error and a part of what it says.
REFUSED = {
    "one": (lambda r, a: {"candidates": {"a": r()}}, "OptionError", "two or more candidates"),
    "no mapping": (lambda r, a: {"candidates": [r(), r()]}, "OptionError", "list"),
    "name": (lambda r, a: {"candidates": {"a": r(), "../b": r()}}, "OptionError", "'../b'"),
    "mixed": (lambda r, a: {"candidates": {"a": r(), "b": narrow}, "data": a}, "OptionError", "a=Recipe"),
    "neither": (lambda r, a: {"candidates": {"a": 3, "b": narrow}, "data": a}, "OptionError", "a=int"),
    "absent file": (
        lambda r, a: {"candidates": {"a": r(), "b": "absent.toml"}},
        "RecipeError",
        "absent.toml",
    ),
    "another source": (
        lambda r, a: {"candidates": {"a": r(), "b": r(data={"source": "cifar10"})}},
        "RecipeError",
        "data.source='cifar10' in b, 'digits' in a",
    ),
    "another split": (
        lambda r, a: {"candidates": {"a": r(), "b": r(data={"validation": 0.1, "split_seed": 3})}},
        "RecipeError",
        "data.validation=0.1 in b, 0.2 in a; data.split_seed=3 in b, 0 in a",
    ),
    "no validation": (
        lambda r, a: {"candidates": {"a": r(data={"validation": "none"}), "b": r()}},
        "RecipeError",
        "validation data",
    ),
    "data beside recipes": (lambda r, a: two(r) | {"data": a}, "OptionError", "no data="),
    "fit beside recipes": (
        lambda r, a: two(r) | {"fit": {"epochs": 3}},
        "OptionError",
        "fit with epochs",
    ),
    "no data": (lambda r, a: {"candidates": {"a": narrow, "b": unseeded}}, "DataError", "no data"),
    "half the data": (
        lambda r, a: {"candidates": FUNCTIONS, "data": a[:2]},
        "DataError",
        "(x, y, x_val, y_val)",
    ),
    "option of no fit": (
        lambda r, a: {"candidates": FUNCTIONS, "data": a, "fit": {"epoch": 3, "seed": 1}},
        "OptionError",
        "epoch, seed",
    ),
    "one pair": (lambda r, a: two(r) | {"pairs": 1}, "OptionError", "pairs=1"),
    "half a pair": (lambda r, a: two(r) | {"pairs": 2.5}, "OptionError", "pairs=2.5"),
    "level": (lambda r, a: two(r) | {"level": 5}, "OptionError", "level=5"),
    "seed": (lambda r, a: two(r) | {"seed": 2**31 - 3}, "OptionError", "seed as a whole number from 0"),
    "no workers": (lambda r, a: two(r) | {"workers": 0}, "OptionError", "workers=0"),
    "workers": (
        lambda r, a: two(r) | {"workers": len(cores()) + 1},
        "OptionError",
        "the cores that this process may use",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_written(case, recipe_of, arrays, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, kind, says = REFUSED[case]
    with pytest.raises(getattr(errors, kind)) as caught:
        compare(**arguments(recipe_of, arrays))
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_how_inputs_are_scaled_may_differ(recipe_of):
    first, second = recipe_of(data={"split_seed": 5}), recipe_of(data={"split_seed": 5, "standardize": False})
    found = gather({"a": first, "b": second}, None, None, split_seed=0)
    assert [one.recipe.data.split_seed for one in found] == [5, 5]


def test_a_pair_changes_the_seed_and_nothing_else(recipe_of):
    one, _ = gather({"a": recipe_of(), "b": recipe_of(train={"epochs": 3})}, None, None, split_seed=7)
    third = one.recipe_for(3)
    assert (third.seed, third.data.split_seed) == (3, 7)
    assert third.model_copy(update={"seed": one.recipe.seed}) == one.recipe


@pytest.mark.parametrize("platforms", ["cpu", ""])
def test_on_a_processor_each_worker_has_its_core(platforms, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", platforms)
    monkeypatch.setattr("kilter._compare.workers.entry_points", lambda group: [])
    assert places(None) == cores()
    assert places(1) == cores()[:1]


def test_on_an_accelerator_one_worker_has_all_cores(monkeypatch):
    monkeypatch.setattr("kilter._compare.workers.entry_points", lambda group: [group])
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert places(None) == [None]
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert places(None) == cores()


@pytest.mark.parametrize("kind", [errors.DataError, errors.ModelError, errors.RunError, errors.RecipeError])
def test_an_error_arrives_from_a_worker_as_it_was_raised(kind):
    error = kind(expected="a", received="b", remedy="c")
    arrived = copy.copy(error)  # by the same way as pickle
    assert type(arrived) is kind
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))
