"""Tables in memory: frames of polars, pandas and pyarrow, dicts of columns, and rows with their targets."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from kilter._system import require_memory
from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.tables import table_source
from kilter.errors import DataError

ORIGIN = "memory"


def is_frame(source: object) -> bool:
    """Whether the source is a table with named columns."""
    return (
        isinstance(source, pl.DataFrame | pl.LazyFrame | Mapping)
        or hasattr(source, "columns")
        or hasattr(source, "__arrow_c_stream__")
    )


def read(source: Any, options: LoadOptions) -> Source:
    """Read a frame, a mapping of columns by name, or ``(x, y)`` or ``x`` of arrays or sparse matrices."""
    if is_frame(source):
        return table_source(frame_of(source), None, options, About("table", ORIGIN, "table"))
    x, y = source if isinstance(source, tuple) and len(source) == 2 else (source, None)
    part = Part(dense(x), None if y is None else np.asarray(y))
    return assemble(part, None, options, About("arrays", ORIGIN, "arrays"))


def frame_of(table: Any) -> pl.DataFrame:
    """Any frame as a polars one: of pandas column by column, with its missing values."""
    if isinstance(table, pl.LazyFrame):
        return table.collect()
    if isinstance(table, pl.DataFrame):
        return table
    with errors_as(
        DataError,
        Exception,  # each library has errors of its own
        expected="a frame of polars, pandas or pyarrow, or a mapping of columns by name",
        received=type(table).__name__,
        remedy="turn it into a polars.DataFrame first",
    ):
        if hasattr(table, "dtypes") and hasattr(table, "columns"):  # pandas
            return pl.DataFrame(
                [_column(str(name), table.iloc[:, i]) for i, name in enumerate(table.columns)]
            )
        if isinstance(table, Mapping):
            return pl.DataFrame({str(name): column for name, column in table.items()}, strict=False)
        return pl.DataFrame(table)


def _column(name: str, column: Any) -> pl.Series:
    """A column of pandas: numbers and dates by their arrays, others value by value."""
    values, missing = column.to_numpy(), np.asarray(column.isna(), dtype=bool)
    if values.dtype.kind in "biuf" and not missing.any():
        return pl.Series(name, values)
    if values.dtype.kind == "M":
        return pl.Series(name, values.astype("datetime64[us]"))
    plain = [None if hole else value for value, hole in zip(column.tolist(), missing.tolist(), strict=True)]
    return pl.Series(name, plain, strict=False)


def dense(x: Any) -> np.ndarray:
    """An array, also of a sparse matrix of scipy, as an array with all its zeros."""
    if not hasattr(x, "toarray"):
        return np.asarray(x)
    require_memory(
        math.prod(x.shape) * 4,
        DataError,
        expected="rows that fit into memory with all their zeros",
        received=f"a sparse matrix of shape {x.shape}",
        remedy="choose fewer columns, or reduce them, for example with scikit-learn's TruncatedSVD",
    )
    return x.astype(np.float32).toarray()
