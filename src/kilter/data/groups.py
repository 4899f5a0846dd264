"""Groups of rows that belong together, such as the visits of a patient: never in two parts."""

from fractions import Fraction

import numpy as np
import polars as pl

from kilter.data.dataset import Dataset
from kilter.data.paths import nearest_name, quote
from kilter.errors import DataError


def groups_of(whole: Dataset, group: str | None) -> np.ndarray | None:
    """The group of each row, int64 ``[n]``, by the entries of a column; None without one.

    Missing entries are a group each. Raises DataError unless there are several groups.
    """
    if group is None:
        return None
    if whole.inputs is None or group not in whole.inputs.columns:
        near = nearest_name(group, [] if whole.inputs is None else whole.inputs.columns)
        raise DataError(
            expected=f"a table with the column {quote(group)} of the groups, loaded with keep_inputs=True",
            received="data without it",
            remedy=f"correct the name of the column{near}",
        )
    entries = whole.inputs[group].cast(pl.String).to_list()
    codes: dict[str, int] = {}
    found = np.array([codes.setdefault(one or f"missing {i}", len(codes)) for i, one in enumerate(entries)])
    if len(codes) < 2:
        raise DataError(
            expected=f"at least two groups in column {quote(group)}",
            received=f"{len(codes)} in {len(whole)} rows",
            remedy="name another column",
        )
    return found


def draw_groups(groups: np.ndarray, keys: np.ndarray, share: Fraction) -> np.ndarray:
    """Positions (ascending) of whole groups with about a share of the rows: at least one group, never all.

    Example:
        >>> draw_groups(np.array([0, 0, 1, 1, 2]), np.array([5, 6, 1, 9, 3], np.uint64), Fraction(1, 2))
        array([2, 3])
    """
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(keys[first], kind="stable")
    totals = np.cumsum(sizes[order])[:-1]
    count = int(np.argmin(np.abs(totals - float(share) * len(groups)))) + 1 if len(totals) else 0
    return np.flatnonzero(np.isin(inverse, order[:count]))
