"""The columns of a wide table together: one by one, 20,000 calls take longer than the numbers."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np
import polars as pl

from kilter.data.columns import find_column, names_a_moment
from kilter.data.encoding import Column
from kilter.data.precision import need_nothing

# Fewer columns gain nothing; of more rows, find_column looks at a sample.
_FEWEST, _MOST_ROWS = 64, 2048
_BLOCK: Final = 1024


def find_columns(
    features: Sequence[pl.Series],
    *,
    precise: bool,
    kinds: Mapping[str, str],
    text: Literal["hash", "bag"],
) -> tuple[Column, ...]:
    """What ``find_column`` finds for each of the features: columns that become numbers, dates, categories."""
    plain = _plain_columns([one for one in features if one.name not in kinds])
    return tuple(
        plain.get(one.name) or find_column(one, precise=precise, kind=kinds.get(one.name), text=text)
        for one in features
    )


def _plain_columns(features: Sequence[pl.Series]) -> dict[str, Column]:
    """Columns of finite fractions that are stored as they are, by name; none of a narrow or long table."""
    fractions = [
        one
        for one in features
        if one.dtype == pl.Float64 and not one.null_count() and not names_a_moment(one.name)
    ]
    if len(fractions) < _FEWEST or not 0 < len(fractions[0]) <= _MOST_ROWS:
        return {}
    found: dict[str, Column] = {}
    for start in range(0, len(fractions), _BLOCK):
        block = fractions[start : start + _BLOCK]
        values = np.stack([one.to_numpy() for one in block])
        low, high = values.min(axis=1), values.max(axis=1)
        half = values.shape[1] // 2
        ordered = np.partition(values, half, axis=1)
        middle = ordered[:, half]
        if values.shape[1] % 2 == 0:
            with np.errstate(over="ignore"):  # of columns that find_column judges
                middle = (middle + ordered[:, :half].max(axis=1)) / 2
        for i in np.flatnonzero(need_nothing(values, low, high)).tolist():
            name = block[i].name
            found[name] = Column(
                name, "number", fill=float(middle[i]), low=float(low[i]), high=float(high[i])
            )
    return found
