"""Rows that belong together: never in two parts, and no feature."""

from fractions import Fraction

import numpy as np
import polars as pl
import pytest

from kilter.data import fold, load, split
from kilter.data.splitting import draw_groups
from kilter.errors import DataError
from kilter.recipe import parse_recipe
from kilter.runs.recipe_data import read_parts

FRAME = pl.DataFrame(
    {
        "patient": [f"p{i // 3}" for i in range(60)],
        "a": [float(i % 7) for i in range(60)],
        "y": ["well" if i % 2 else "ill" for i in range(60)],
    }
)


@pytest.fixture
def written(tmp_path):
    FRAME.write_csv(tmp_path / "visits.csv")
    return tmp_path / "visits.csv"


def recipe(data):
    return parse_recipe({"data": data, "model": {"builder": "mlp"}})


def patients(*parts):
    return [set(part.inputs["patient"]) for part in parts]


def test_no_group_is_in_two_parts(written):
    source = load(written, keep_inputs=True, ignore=["patient"])
    parts = split(source, validation=0.2, test=0.1, group="patient", seed=1)
    train, validation, test = patients(parts.train, parts.validation, parts.test)
    assert len(train | validation | test) == len(train) + len(validation) + len(test) == 20
    assert (len(parts.validation), len(parts.test)) == (12, 6)
    held = [fold(source, folds=4, number=number, group="patient").test for number in range(1, 5)]
    assert sorted(map(len, held)) == [15] * 4
    assert sum(map(len, patients(*held))) == 20


def test_a_share_of_unequal_groups_is_the_nearest_and_never_all():
    keys = np.arange(12, dtype=np.uint64)
    assert len(draw_groups(np.repeat([0, 1], [10, 2]), keys, Fraction(1, 5))) == 10
    assert draw_groups(np.array([3, 3, 5, 5, 7, 7]), keys[:6], Fraction(1, 2)).tolist() == [0, 1]


def test_a_column_that_is_not_there_is_named_with_a_near_one(written):
    with pytest.raises(DataError, match='did you mean "patient"'):
        split(load(written, keep_inputs=True), group="pateint")
    with pytest.raises(DataError, match="at least two groups"):
        split(load(FRAME.with_columns(patient=pl.lit("p")), keep_inputs=True), group="patient")


def test_the_group_of_a_recipe_is_no_feature_and_a_likely_one_is_proposed(written):
    assert any("--set data.group=" in note for note in load(written).notes)
    data = {"source": str(written), "target": "y", "group": "patient", "validation": 0.2}
    source, parts = read_parts(recipe(data))
    assert source.train.features == ("a",)
    train, validation = patients(parts.train, parts.validation)
    assert not train & validation


@pytest.mark.parametrize("rows", ["1,u\n2,v\n", "1,2.5\n"], ids=["one of each class", "one number"])
def test_too_few_rows_to_hold_any_out_are_their_own_validation_part(rows, tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n" + rows)
    source, parts = read_parts(recipe({"source": str(tmp_path / "t.csv")}))
    np.testing.assert_array_equal(parts.validation.x, parts.train.x)
    assert any("too few rows to hold any out" in note for note in source.notes)
