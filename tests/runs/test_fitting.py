"""What a recipe leaves to the size of the data, and what a table's recipe has of its own."""

import numpy as np
import polars as pl
import pytest

from kilter.data import Dataset
from kilter.recipe import dump_recipe, parse_recipe, recipe_for, with_overrides
from kilter.runs.build import prepare
from kilter.runs.recipe_data import fitted

# Training rows, features: batch, width, which features.
SIZES = {
    (5, 3): (5, 32, "all"),
    (45, 12_000): (8, 32, "related"),
    (600, 600): (32, 32, "all"),
    (1_100, 9): (32, 32, "all"),
    (5_000, 9): (64, 64, "all"),
    (1_000_000, 1): (1024, 256, "all"),
}


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_batch_width_and_features_follow_the_size_of_the_table(size):
    rows, features = size
    x = np.broadcast_to(np.float32(0), (rows, features))
    names = tuple(f"f{i}" for i in range(features))
    train = Dataset(x, np.zeros(rows, np.float32), "regression", features=names)
    found = fitted(recipe_for("table.csv"), train)
    batch, width, select = SIZES[size]
    assert (found.train.batch_size, found.model.hidden, found.data.select) == (batch, (width, width), select)
    assert found.model.dropout == (0.15 if rows < 2000 else 0)
    assert fitted(found, train) == found
    given = with_overrides(
        recipe_for("table.csv"), ["train.batch_size=4", "model.hidden=[7]", "data.select=all"]
    )
    assert fitted(given, train) == given
    large = fitted(with_overrides(given, [f"train.batch_size={rows + 1}"]), train)
    assert large.train.batch_size == rows


@pytest.mark.parametrize("source", ["digits", "cifar10", "data.npz", "folder"])
def test_only_tables_have_the_defaults_of_tables(source):
    recipe = recipe_for(source)
    assert (recipe.optimizer.name, recipe.train.batch_size, recipe.train.ema) == ("nadam", 32, None)


def test_a_run_keeps_the_median_of_its_training_part_and_numbers_for_auto(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.exponential(1, 60).tolist()
    columns = {"a": [None if i % 4 == 0 else value for i, value in enumerate(values)]}
    columns |= {f"g{i}": rng.normal(size=60) for i in range(80)}
    columns["y"] = columns["g0"] * 3 + rng.normal(0, 0.1, 60)
    path = tmp_path / "t.csv"
    pl.DataFrame(columns, strict=False).write_csv(path)
    prepared = prepare(recipe_for(str(path)))
    train = prepared.parts.train
    known = train.x[train.x[:, 1] == 0, 0]
    assert prepared.source.encoding.columns[0].fill == np.median(known)
    assert set(train.x[train.x[:, 1] == 1, 0]) == {np.median(known)}
    assert parse_recipe(prepared.recipe.model_dump()).train.batch_size == 8
    assert '"auto"' not in dump_recipe(prepared.recipe).split("[optimizer]")[0].split("[model]")[1]
    mask = np.array(prepared.model.get_layer("kept_features").scale)
    assert mask[train.features.index("g0")] == 1
    assert mask.sum() < 10
