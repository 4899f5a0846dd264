"""Names of columns that are also words of polars, or of kilter's own tables, mean nothing special."""

import polars as pl
import pytest

from kilter.data import describe, load
from kilter.data.survey import survey

NAMES = (
    "rows",
    "count",
    "entry",
    "word",
    "words",
    "text",
    "texts",
    "index",
    "place",
    "len",
    "literal",
    "fold",
)
VALUES = {
    "categories": ["red car", "Red car", "blue car", "green car", None] * 8,
    "many categories": [f"kind {i // 2} of them" for i in range(40)],
    "units": [f"{i} kg" for i in range(40)],
    "numbers": [i * 7 % 13 + i / 4 for i in range(40)],
    "dates": [f"2024-01-{1 + i % 28:02}" for i in range(40)],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("values", VALUES)
def test_a_column_may_have_any_name(name, values, tmp_path):
    frame = pl.DataFrame({name: VALUES[values], "other": [i * 0.5 for i in range(40)]})
    table = frame.with_columns(pl.Series("target", ["yes", "no"] * 20))
    table.write_csv(path := tmp_path / "table.csv")
    source = load(path)
    assert len(source.train) == 40
    assert any(feature.startswith(name) for feature in source.train.features)
    describe(source)
    survey(str(path))
