"""Wide tables: what asks the frame for all its columns is not done once a column."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from kilter._cli.commands import Data
from kilter._cli.listing import SHOWN, data
from kilter._cli.options import Columns
from kilter._progress import SILENT
from kilter.data import describe, load, split
from kilter.data.paths import NAMED_IN_MESSAGES

# Each of these takes time in proportion to the columns.
WHOLE_FRAME = ("columns", "schema", "dtypes", "get_columns", "__getitem__", "get_column", "select")
FEW, MANY = 20, 60


def table(path, columns, *, text=""):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(rng.integers(10, 99, size=(8, columns)), schema=[f"c{i}" for i in range(columns)])
    frame = frame.with_columns(pl.Series("y", ["a", "b"] * 4))
    if text:
        frame = frame.with_columns(pl.col(pl.Int64).map_elements(text.format, return_dtype=pl.String))
    if path.suffix == ".parquet":
        frame.write_parquet(path)
    else:
        frame.write_csv(path, separator=";" if path.stem == "commas" else ",")
    return path


@pytest.fixture
def looks(monkeypatch):
    """How often the frame was asked for all its columns; the calls are made as before."""
    counts = {"looks": 0}
    width = pl.DataFrame.width.fget

    def counted(name):
        original = getattr(pl.DataFrame, name)

        def get(self):
            counts["looks"] += width(self) > 2  # polars makes a frame of a single column for its own work
            return original.fget(self)

        def call(self, *arguments, **options):
            counts["looks"] += width(self) > 2
            return original(self, *arguments, **options)

        monkeypatch.setattr(pl.DataFrame, name, property(get) if isinstance(original, property) else call)

    for name in WHOLE_FRAME:
        counted(name)
    return counts


@pytest.mark.parametrize("name", ["plain.csv", "formatted.csv", "commas.csv", "table.parquet"])
@pytest.mark.parametrize("again", [False, True], ids=["training", "new data"])
def test_looks_at_the_whole_frame_do_not_grow_with_the_columns(name, again, looks, tmp_path):
    text = {"formatted.csv": "${}", "commas.csv": "{},5"}.get(name, "")
    found = []
    for columns in (FEW, MANY):
        folder = tmp_path / str(columns)
        folder.mkdir()
        path = table(folder / name, columns, text=text)
        encoding = load(path).encoding if again else None
        looks["looks"] = 0
        source = load(path, encoding=encoding)
        split(source, validation=0.25)
        describe(source)
        assert source.train.input_shape == (columns,)
        found.append(looks["looks"])
    assert found[0] == found[1]


@pytest.mark.parametrize("text", ["", "${}"])
def test_what_is_said_of_a_wide_table_stays_short(text, tmp_path, capsys):
    source = str(table(tmp_path / "wide.csv", MANY, text=text))
    data(Data(source=source, columns=Columns()), SILENT)
    assert len(capsys.readouterr().out.splitlines()) < SHOWN + 4 * NAMED_IN_MESSAGES


def test_notes_name_the_first_columns_only(tmp_path):
    path = tmp_path / "wide.csv"
    pl.DataFrame({f"c{i}": [1.0, float("inf")] for i in range(MANY)} | {"y": ["a", "b"]}).write_csv(path)
    notes = load(path).notes
    assert len(notes) <= NAMED_IN_MESSAGES + 2
    assert notes[-1].endswith("more columns likewise")
