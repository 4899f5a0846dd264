"""Ids: those that no row of an Embedding's table has, and those that are read as quantities."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from scipy.stats import rankdata

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.learnable import are_repeated
from kilter._diagnosis.order import gain_of_ids
from kilter._diagnosis.targets import labels
from kilter._engine.arrays import collect
from kilter._engine.embedding_ids import IdCheck, WrongIds
from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.layers import LOOKUPS, LayerFacts, OutputFacts
from kilter._records import Evidence, Finding
from kilter.errors import KilterError

_SAMPLE: Final = 10_000  # rows
_MOST_COLUMNS: Final = 50
_LEAST_WORDS: Final = 6
_LEAST_SHARE: Final = 0.2  # of the rows: a few rows that agree by chance, as in a corner of pictures
_MORE: Final = 0.1  # of the variance of the targets: what ids must say beyond quantities
_ERRORS: Final = 2.0  # standard errors below the measured value, which is the largest of many columns


def check_ids(context: Context) -> list[Finding]:
    """Every row is looked up as the model does it; certain, because such ids read NaN or another row."""
    check = IdCheck(context.model, "predict")
    if not check.needed:
        return []
    try:
        data = collect(context.x).data
        wrong = check.found(data, min(context.batch_size, context.rows), context.rows)
    except (KilterError, *FOREIGN_ERRORS):  # the probe reports what does not fit
        return []
    return [_finding(context, one) for one in wrong]


def _finding(context: Context, wrong: WrongIds) -> Finding:
    fractions = wrong.ids != np.floor(wrong.ids)
    kind, remedies = "whole numbers outside", ("fit-embedding",)
    if fractions.mean() > 0.5:
        kind, remedies = "real numbers, not ids", ("project-numbers",)
    elif (wrong.ids < 0).all():
        kind = "negative"
    elif (wrong.ids >= wrong.size).all():
        kind = "too large"
    examples = ", ".join(f"{one:g}" for one in list(dict.fromkeys(wrong.ids.tolist()))[:4])
    share = len(wrong.rows) / context.rows
    detail = f"{len(wrong.rows)} of {context.rows} rows have ids that are {kind} ({examples}), "
    detail += f"for the {wrong.size} rows (0 to {wrong.size - 1}) of {wrong.path}"
    evidence = [
        Evidence("share of rows with an id outside", share, 0.0, "ids are from 0 to input_dim - 1"),
        Evidence("smallest of the first wrong ids of the rows", float(wrong.ids.min())),
        Evidence("largest of them", float(wrong.ids.max()), f"0 to {wrong.size - 1}"),
    ]
    return finding("ids-outside-table", "severe", [wrong.path], evidence, remedies, detail=detail)


def check_numbered(context: Context) -> list[Finding]:
    """Columns of whole numbers that say much as ids, and little as quantities, without an Embedding.

    Each row's target is predicted by the mean of other rows with the same number, and by that of rows with
    the numbers just below and above. Quantities predict nearly as well from their neighbours.
    """
    found = id_columns(context.layers, context.inputs, context.outputs)
    if not found:
        return _unread_words(context)
    several = len(context.inputs) > 1
    named = [f"{one.column} of input {one.place}" if several else str(one.column) for one in found]
    evidence = [Evidence("share of the targets' variance", max(one.gap for one in found), _MORE)]
    return [finding("ids-as-quantities", "severe", ["data"], evidence, columns=", ".join(named[:5]))]


def _unread_words(context: Context) -> list[Finding]:
    """Rows of ids of one vocabulary, such as words, that a layer reads as quantities."""
    looked_up = any(isinstance(one.layer, LOOKUPS) for one in context.layers)
    if looked_up or len(context.inputs) != 1 or not are_words(array := context.inputs[0]):
        return []
    gain = gain_of_ids(context)
    if not gain > _MORE:
        return []
    evidence = [Evidence("skill of trees that ids add to quantities", gain, _MORE)]
    columns = f"0 to {array.shape[1] - 1}"
    return [finding("ids-as-quantities", "severe", ["data"], evidence, columns=columns)]


def are_words(array: np.ndarray) -> bool:
    """Whether all columns hold whole numbers from one vocabulary; pixels and chars are at most 255."""
    rows = array[:_SAMPLE]
    if array.ndim != 2 or array.dtype.kind not in "fiu" or array.shape[1] < _LEAST_WORDS or rows.max() <= 255:
        return False
    if rows.min() < 0 or not (rows == np.round(rows)).all():
        return False
    words = np.where(rows > 0, rows, np.nan).astype(np.float64)  # 0 is padding
    filled = words[:, np.isfinite(words).mean(axis=0) > 0.5]
    return filled.shape[1] > 1 and float(np.nanmean(filled, axis=0).std()) < 0.2 * float(np.nanstd(filled))


class IdColumn(NamedTuple):
    """A column of ids: which input, which column, and its share of the variance beyond a quantity's."""

    place: int
    column: int
    gap: float


def id_columns(
    layers: Sequence[LayerFacts], inputs: Sequence[np.ndarray], outputs: Sequence[OutputFacts]
) -> list[IdColumn]:
    """The columns of tables that are ids without an Embedding; none for several outputs or numbers a row."""
    targets = outputs[0].targets if len(outputs) == 1 else None
    classes = labels(targets)
    if targets is None or (classes is None and (targets[:1].size != 1 or targets.dtype.kind not in "fiu")):
        return []
    # Several classes by the most common one, which is enough to see that an id matters.
    wanted = np.ravel(targets) if classes is None else classes == np.bincount(classes).argmax()
    ranks = rankdata(wanted)[:_SAMPLE]
    found = []
    for place, array in enumerate(inputs):
        readers = [one.layer for one in layers if place in one.enters]
        table = array.ndim == 2 and array.dtype.kind in "fiu"
        if not table or any(isinstance(one, LOOKUPS) for one in readers):
            continue
        for column, values in enumerate(array[:_SAMPLE, :_MOST_COLUMNS].T):
            gap = _beyond_quantity(values, ranks) if are_repeated(values) else 0.0
            if gap > _MORE:
                found.append(IdColumn(place, column, gap))
    return found


def _beyond_quantity(values: np.ndarray, wanted: np.ndarray) -> float:
    """R² of the other rows with the same number, less that of the numbers below and above: a lower bound.

    The smallest, the largest and the commonest number are left out: the background of pictures, clipped
    values or "none" are not one id of many. 0 where few rows are left.
    """
    kinds, counts = np.unique(values, return_counts=True)
    inner = ~np.isin(values, (kinds[0], kinds[-1], kinds[counts.argmax()]))
    values, wanted = values[inner], wanted[inner]
    kinds, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    sums = np.bincount(place, wanted)
    around = np.convolve(sums, [1, 1, 0, 1, 1], "same") / np.convolve(counts, [1, 1, 0, 1, 1], "same")
    repeated = counts[place] > 1
    own = ((sums[place] - wanted) / np.maximum(counts[place] - 1, 1))[repeated]
    true = wanted[repeated]
    if len(kinds) < 2 or len(own) < _LEAST_SHARE * len(inner):
        return 0.0
    variance = max(np.square(true - wanted.mean()).mean(), 1e-12)
    beside = min(np.square(true - around[place][repeated]).mean(), variance)
    gained = (beside - np.square(true - own)) / variance
    return float(gained.mean() - _ERRORS * gained.std() / len(gained) ** 0.5)
