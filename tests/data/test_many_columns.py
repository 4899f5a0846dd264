"""A wide table, whose columns are judged together, gives what each column gives alone."""

import numpy as np
import polars as pl
import pytest

from kilter.data.columns import find_column
from kilter.data.many_columns import _plain_columns, find_columns

KINDS = (
    lambda r, n: r.normal(size=n),
    lambda r, n: r.normal(size=n) * 10.0 ** r.integers(-12, 20),
    lambda r, n: r.normal(size=n) + 10.0 ** r.integers(0, 12),
    lambda r, n: np.exp(3 * r.normal(size=n)),
    lambda r, n: r.standard_cauchy(size=n),
    lambda r, n: np.where(r.random(n) < 0.6, 0.0, r.normal(size=n)),
    lambda r, n: np.where(r.random(n) < 0.05, -999.0, r.random(n)),
    lambda r, n: np.where(r.random(n) < 0.1, r.choice([np.nan, np.inf, -np.inf]), r.random(n)),
    lambda r, n: r.integers(0, 5, n).astype(float),
    lambda r, n: np.full(n, r.normal()),
    lambda r, n: r.choice([1e308, -1e308, 1e-310, 0.0, 4e38], n),
    lambda r, n: r.integers(0, 1000, n),
    lambda r, n: pl.Series(r.random(n)).set(pl.Series(r.random(n) < 0.1), None),
    lambda r, n: r.choice(["p", "q", "r"], n),
    lambda r, n: 1.7e9 + 1e4 * r.random(n),
)


@pytest.mark.parametrize("rows", [1, 2, 19, 40, 41, 2048])
@pytest.mark.parametrize("precise", [True, False])
def test_columns_together_are_what_they_are_alone(rows, precise):
    rng = np.random.default_rng(rows)
    columns = [
        pl.Series("time" if make is KINDS[-1] else f"c{i}_{j}", make(rng, rows), strict=False)
        for i, make in enumerate(KINDS)
        for j in range(1 if make is KINDS[-1] else 12)
    ]
    columns = [one for one in columns if one.drop_nulls().len()]
    kinds = {"c0_1": "category", "c8_0": "number"}
    found = find_columns(columns, precise=precise, kinds=kinds, text="bag")
    assert found == tuple(
        find_column(one, precise=precise, kind=kinds.get(one.name), text="bag") for one in columns
    )
    assert len(_plain_columns(columns)) >= (12 if rows >= 19 else 0)
