"""kilter sweep and kilter.sweep: the recipes that are compared, and that both are the same."""

import json

import pytest

import kilter as library
from kilter._cli.commands import Sweep
from kilter._cli.comparison import space_from
from kilter._cli.comparison import sweep as sweep_command
from kilter._cli.options import Overrides, Pairing, Search
from kilter._compare import search as searching
from kilter._compare.compare import variants
from kilter._compare.samplers import Choice, Range, space_of
from kilter._progress import SILENT
from kilter.errors import KilterError, OptionError
from kilter.recipe import recipe_for, with_overrides


def test_every_combination_is_a_recipe_of_its_own_and_the_baseline_comes_first():
    base = recipe_for("digits")
    found = variants(base, {"train.batch_size": [16, 64], "model.hidden": [[8], (8, 8)]})
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
    assert list(variants(base, {"train.batch_size": [base.train.batch_size, 7]})) == [
        "as-it-is",
        "batch_size-7",
    ]


def test_values_whose_names_look_alike_are_both_tried():
    found = variants(recipe_for("table.csv"), {"data.target": ["a b", "a-b", "a b"]})
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
        variants("digits", space_from(ranges))


@pytest.mark.parametrize(
    "over", [{"train.batch_size": []}, {"train.batch_size": 16}, {"train.batch_size": "16"}, {"seed": [1, 2]}]
)
def test_what_is_no_list_of_values_is_refused(over):
    with pytest.raises(OptionError, match="a list of values"):
        variants("digits", over)


def test_values_may_be_none_or_given_in_several_ranges():
    found = variants("digits", {"train.early_stopping": [None], "train.epochs": [7, 9]})
    assert [one.train.early_stopping is None for one in found.values()] == [False, True, True]
    assert space_from(["a.b=[1]", "a.b=[2]", "c.d=['x']"]) == {"a.b": [1, 2], "c.d": ["x"]}


@pytest.mark.parametrize(
    "written", ['["sgd", "adam"]', "[sgd, adam]", "sgd,adam", " sgd, adam ", "'sgd', 'adam'"]
)
def test_a_list_needs_neither_brackets_nor_quotes(written):
    assert space_from([f"a.b={written}", "c.d=0.1,1e-3,none"]) == {
        "a.b": ["sgd", "adam"],
        "c.d": [0.1, 0.001, "none"],
    }


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("[50, 50],[100]", [[50, 50], [100]]),
        ("[50, 50],none", [[50, 50], "none"]),
        ("[[50, 50], [100], none]", [[50, 50], [100], "none"]),
        ("a b,c.csv", ["a b", "c.csv"]),
        ('"a,b.csv","c.csv"', ["a,b.csv", "c.csv"]),
        ('"a,b.csv", c.csv', ["a,b.csv", "c.csv"]),
        ('"a,b.csv"', "a,b.csv"),
        ("16, 64,", [16, 64]),
        ("-1,-2.5e-3", [-1, -0.0025]),
        ("{ low = 1e-4, high = wrong }", "{ low = 1e-4, high = wrong }"),
    ],
)
def test_commas_in_quotes_lists_and_tables_belong_to_the_value(written, read):
    assert space_from([f"a.b={written}"]) == {"a.b": read}


@pytest.mark.long
def test_the_command_gives_what_python_gives(kilter, tmp_path):
    settings = ["train.epochs=2", "model.builder=mlp", "model.hidden=[16]"]
    done = kilter(
        "sweep", "digits", "--vary", "optimizer.learning_rate=[1e-7]",
        *(word for setting in settings for word in ("--set", setting)),
        "--pairs", 2, "--workers", 1, "--out", tmp_path / "sweep", "--json",
    )  # fmt: skip
    found = json.loads(done.out)
    assert [one["name"] for one in found["candidates"]] == ["as-it-is", "learning_rate-1e-07"]
    assert max(found["differences"][0]["differences"]) < 0
    trained = []
    again = library.sweep(
        with_overrides(recipe_for("digits"), settings),
        over={"optimizer.learning_rate": [1e-7]},
        pairs=2,
        out=tmp_path / "sweep",
        progress=trained.append,
    )
    assert json.loads(again.to_json()) == found
    assert trained == [], "the same recipes: their runs are there already"


@pytest.mark.parametrize(
    ("ranges", "over", "trials"),
    [(None, None, None), (["a.b=[1]"], ["a.b=[1]"], None), (["a.b=[1]"], None, 3)],
)
def test_a_sweep_either_proves_or_searches(ranges, over, trials):
    with pytest.raises(OptionError, match="--over"):
        sweep_command(
            Sweep(
                source="digits",
                ranges=ranges,
                search=Search(over, trials),
                overrides=Overrides(),
                pairing=Pairing(),
            ),
            SILENT,
        )


def test_the_seed_is_that_of_all_trials_of_a_search(monkeypatch):
    asked = []
    monkeypatch.setattr(searching, "search", lambda base, *_, **__: asked.append(base.seed) or 1 / 0)
    for seed in (None, 7):
        with pytest.raises(ZeroDivisionError):
            sweep_command(
                Sweep(
                    source="digits",
                    ranges=None,
                    search=Search(["model.dropout=[0.0, 0.1]"]),
                    overrides=Overrides(settings=["seed=3"]),
                    pairing=Pairing(seed=seed),
                ),
                SILENT,
            )
    assert asked == [3, 7]


def test_ranges_are_read_from_toml():
    found = space_from(
        ["optimizer.learning_rate={ low = 1e-4, high = 0.1, log = true }", "model.dropout=[0.0]"]
    )
    assert list(space_of(found).values()) == [Range(1e-4, 0.1, log=True), Choice((0.0,))]
    with pytest.raises(OptionError):
        space_of(space_from(["model.dropout"]))
