"""kilter sweep: the recipes that reach the comparison."""

import json

import pytest

from kilter._cli.sweeping import candidates
from kilter.errors import KilterError
from kilter.recipe.text import recipe_for


def test_every_combination_is_a_recipe_of_its_own_and_the_baseline_comes_first():
    base = recipe_for("digits")
    found = candidates(base, ["train.batch_size=[16, 64]", "model.hidden=[[8], [8, 8]]"])
    assert next(iter(found.values())) is base
    rest = list(found.values())[1:]
    assert [(one.train.batch_size, one.model.hidden) for one in rest] == [
        (16, (8,)),
        (16, (8, 8)),
        (64, (8,)),
        (64, (8, 8)),
    ]
    assert len(set(found)) == 5


def test_what_the_recipe_has_already_is_the_baseline_alone():
    base = recipe_for("digits")
    assert list(candidates(base, [f"train.batch_size=[{base.train.batch_size}, 7]"])) == [
        "as-it-is",
        "batch_size-7",
    ]


def test_values_whose_names_look_alike_are_both_tried():
    found = candidates(recipe_for("table.csv"), ['data.target=["a b", "a-b", "a b"]'])
    assert [recipe.data.target for recipe in list(found.values())[1:]] == ["a b", "a-b"]


@pytest.mark.parametrize(
    "ranges",
    [
        [],
        ["train.batch_size"],
        ["train.batch_size=16"],
        ["train.batch_size=[]"],
        ["batch_size=[1, 2]"],
        ["optimizer.name=[sgd]"],
        ["train.batchsize=[1, 2]"],
        ["train.batch_size=[-1]"],
        [f"train.epochs={list(range(1, 80))}"],
    ],
    ids=lambda ranges: "; ".join(ranges)[:40] or "none",
)
def test_what_is_no_range_is_refused(ranges):
    with pytest.raises(KilterError):
        candidates(recipe_for("digits"), ranges)


def test_the_recipes_are_compared(kilter, tmp_path):
    done = kilter(
        "sweep", "digits", "--vary", "optimizer.learning_rate=[1e-7]", "--set", "train.epochs=2",
        "--set", "model.builder=mlp", "--set", "model.hidden=[16]", "--pairs", 2, "--workers", 1,
        "--out", tmp_path / "sweep", "--json",
    )  # fmt: skip
    found = json.loads(done.out)
    assert [one["name"] for one in found["candidates"]] == ["as-it-is", "learning_rate-1e-07"]
    assert max(found["differences"][0]["differences"]) < 0
