"""split(): training, validation and test part of a source, by number of rows, by share or from a file.

**The same on every machine.** NumPy guarantees the raw 64-bit stream of a seeded bit generator (NEP 19), but
not what ``Generator.permutation`` makes of it. So each row gets one raw PCG64 number as its key, and a part
is the rows with the smallest keys (ties: the earlier row). Shares are exact fractions: no float is rounded.

**Rounding.** A share s of n rows is s·n rows, halves rounded up, at least 1 and at most n - 1. In
classification each class first gives the whole part of s times its rows; the rest comes from the classes with
the largest fractions left (ties: the lower index). Then every class of two or more rows is given at least one
row in both parts, which may change the total by a few; a class of one row stays in training.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from kilter._validation import is_whole, one_of
from kilter.data.checks import check
from kilter.data.dataset import Dataset, Source, Splits
from kilter.data.filling import filled_by
from kilter.data.loading import contents, load
from kilter.data.paths import first_named, nearest_name, quote
from kilter.errors import DataError, OptionError


def row_keys(rows: int, seed: int) -> np.ndarray:
    """A random key for each row, uint64 ``[rows]``: the raw stream of PCG64."""
    return np.random.PCG64(seed).random_raw(rows)


def draw_rows(rows: int, count: int, seed: int) -> np.ndarray:
    """Positions (ascending) of ``count`` of the rows, drawn with ``seed`` from all rows alike.

    Example:
        >>> draw_rows(6, 2, seed=0)
        array([2, 3])
    """
    return _smallest(row_keys(rows, seed), count)


def _smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Positions (ascending) of the smallest keys, of equal ones the first, without sorting them all."""
    if not 0 < count < len(keys):
        return np.arange(len(keys))[:count]
    limit = np.partition(keys, count - 1)[count - 1]
    chosen = keys < limit
    chosen[np.flatnonzero(keys == limit)[: count - int(chosen.sum())]] = True
    return np.flatnonzero(chosen)


def draw_share(labels: np.ndarray | None, keys: np.ndarray, share: Fraction) -> np.ndarray:
    """Positions (ascending) of a share of the rows, by the rules of this module.

    ``labels``: class indexes ``[n]``, or None to draw from all rows alike. ``keys``: uint64 ``[n]``.

    Example:
        >>> draw_share(None, np.array([5, 1, 9, 3], np.uint64), Fraction(1, 2))
        array([1, 3])
    """
    groups = (
        [np.arange(len(keys))] if labels is None else [np.flatnonzero(labels == c) for c in np.unique(labels)]
    )
    counts = share_counts([len(group) for group in groups], share, spare_single=labels is not None)
    taken = [group[_smallest(keys[group], count)] for group, count in zip(groups, counts, strict=True)]
    return np.sort(np.concatenate(taken)) if taken else np.zeros(0, np.int64)


def can_draw(whole: Dataset, part: "Part") -> bool:
    """Whether there are rows to hold out for a share, and to train on."""
    if not _is_share(part) or len(whole) < 2:
        return not _is_share(part)
    single = whole.task == "classification" and whole.y is not None
    return not single or bool((np.bincount(whole.y) > 1).any())  # type: ignore[arg-type]


def share_counts(sizes: list[int], share: Fraction, *, spare_single: bool = True) -> list[int]:
    """The rows that each class of the given size gives for a share, by the rules of this module.

    Example:
        >>> share_counts([50, 30, 1], Fraction(1, 10))
        [5, 3, 0]
    """
    total = min(max(_round_half_up(share * sum(sizes)), 1), sum(sizes) - 1)
    exact = [share * size for size in sizes]
    counts = [int(part) for part in exact]
    by_fraction = sorted(range(len(sizes)), key=lambda i: (counts[i] - exact[i], i))
    for i in by_fraction[: max(0, total - sum(counts))]:
        counts[i] += 1
    return [
        0 if size == 1 and spare_single else min(max(count, 1), size - 1)
        for size, count in zip(sizes, counts, strict=True)
    ]


def _round_half_up(value: Fraction) -> int:
    return int(value + Fraction(1, 2))


Part = int | float | str | Path | None


def split(
    source: Source | Dataset,
    *,
    validation: Part = 0.1,
    test: Part = None,
    seed: int = 0,
    by: Literal["random", "time"] = "random",
    group: str | None = None,
) -> Splits:
    """Divide the training rows of ``source`` into training, validation and test part.

    Args:
        source: the result of load(), or a dataset.
        validation: a whole number: that many rows from the front; a float between 0 and 1: that share, drawn
            with ``seed``, stratified by class in classification; a path or name: data loaded with the same
            encoding; None, 0 or 0.0: none.
        test: likewise, but a whole number takes rows from the end. None keeps the source's own test part.
        seed: a whole number from 0, for shares.
        by: "time" takes the latest rows, by the table's first column of dates, instead of drawing them or
            counting from the front: the very last ones for the test part, those before for validation.
        group: a column of a table that was loaded with ``keep_inputs=True``: shares are drawn by its entries,
            and all rows with the same one, such as the visits of a patient, are in the same part.

    A source with its own validation part keeps it instead of a share; for a number of rows, a file or None it
    is left out. Missing values of a table are filled with the medians of the training part. Both shares are
    shares of all the rows of ``source.train``. Rows keep their order in every part. A test part does not
    depend on the validation share.

    Raises:
        DataError: a part would have no rows; a class of validation or test is absent from training; a file
            does not fit the training data.
        OptionError: a value of the wrong type or range; ``test`` where the source has its own test part.
    """
    if isinstance(source, Dataset):
        source = Source(source, None, None, "dataset", source.name)
    whole, encoding = source.train, source.encoding
    validation, test, seed = map(_plain, (validation, test, seed))
    _require_options(validation, test, seed, source.test)
    one_of("by", by, ("random", "time"))
    own_validation = source.validation if _is_share(validation) else None
    if own_validation is not None:
        validation = None
    if by == "time":
        rows, taken = _latest(source, validation, test)
    else:
        rows, taken = _drawn(whole, validation, test, seed, groups_of(whole, group))
    parts = {
        "validation": _loaded(source, validation, "validation") or own_validation,
        "test": _loaded(source, test, "test") or source.test,
    }
    for name, positions in taken.items():
        if len(positions):
            parts[name] = whole.take(positions)
    train = whole.take(rows) if len(rows) < len(whole) else whole
    check(train, part="training data after the split")
    for name, part in parts.items():
        if part is not None:
            _require_known_classes(train, part, name)
    if encoding is not None and train is not whole:
        known = {name: part for name, part in parts.items() if part is not None}
        (train, *others), encoding = filled_by(train, (train, *known.values()), encoding)
        parts |= dict(zip(known, others, strict=True))
    return Splits(train, parts["validation"], parts["test"], encoding)


def _drawn(
    whole: Dataset, validation: Part, test: Part, seed: int, groups: np.ndarray | None
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(rows left, rows taken by name) for numbers of rows and shares."""
    rows = np.arange(len(whole))
    rows, front = _cut(rows, validation, "validation", front=True)
    rows, end = _cut(rows, test, "test", front=False)
    keys = row_keys(len(whole), seed)
    rows, drawn_test = _draw(rows, whole, keys, test, "test", groups)
    rows, drawn_validation = _draw(rows, whole, keys, validation, "validation", groups)
    return rows, {
        "validation": front if len(front) else drawn_validation,
        "test": end if len(end) else drawn_test,
    }


def _latest(source: Source, validation: Part, test: Part) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(rows left, rows taken by name): the latest by the first column of dates."""
    columns = source.encoding.columns if source.encoding else ()
    dates = [one.features[0] for one in columns if one.kind == "date"]
    if not dates:
        raise OptionError(
            expected="a table with a column of dates, to split it by time",
            received="data without one",
            remedy='leave split = "random", or name the column: as={"COLUMN": "date"}',
        )
    whole = source.train
    rows = np.argsort(whole.x[:, whole.features.index(dates[0])], kind="stable")
    taken: dict[str, np.ndarray] = {}
    for name, part in (("test", test), ("validation", validation)):
        count = part if isinstance(part, int) else 0
        if isinstance(part, float) and part > 0:
            count = max(1, _round_half_up(Fraction(repr(part)) * len(whole)))
        if count >= len(rows):
            raise DataError(
                expected=f"rows left to train on after {name}={part}",
                received=f"{len(rows)} rows",
                remedy="use smaller parts, or more data",
            )
        cut = len(rows) - count
        rows, taken[name] = rows[:cut], np.sort(rows[cut:])
    return np.sort(rows), taken


def _plain(value: Any) -> Any:
    """NumPy's numbers as Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _is_share(part: Part) -> bool:
    return isinstance(part, float) and part > 0


def _cut(rows: np.ndarray, part: Part, name: str, *, front: bool) -> tuple[np.ndarray, np.ndarray]:
    """(rows left, rows taken) for a part given as a number of rows."""
    if not isinstance(part, int) or part == 0:
        return rows, rows[:0]
    if part >= len(rows):
        raise DataError(
            expected=f"rows left to train on after {name}={part}",
            received=f"{len(rows)} rows in all",
            remedy=f"use a smaller {name} part, or a share such as 0.1",
        )
    return (rows[part:], rows[:part]) if front else (rows[:-part], rows[-part:])


def _draw(
    rows: np.ndarray, whole: Dataset, keys: np.ndarray, part: Part, name: str, groups: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """(rows left, rows taken) for a part given as a share of all rows of ``whole``."""
    if not _is_share(part):
        return rows, rows[:0]
    share = Fraction(repr(float(part))) * len(whole) / max(1, len(rows))  # type: ignore[arg-type]
    if share >= 1 or len(rows) < 2:
        raise DataError(
            expected=f"rows left to train on after {name}={part}",
            received=f"{len(whole)} rows in all, {len(rows)} of them not in the other part",
            remedy="use smaller shares, or more data",
        )
    if groups is not None:
        taken = rows[draw_groups(groups[rows], keys[rows], share)]
        return np.setdiff1d(rows, taken, assume_unique=True), taken
    stratified = whole.task == "classification" and whole.y is not None
    taken = draw_share(whole.y[rows] if stratified else None, keys[rows], share)  # type: ignore[index]
    if not len(taken):
        raise DataError(
            expected=f"rows in the {name} part ({name}={part})",
            received=f"{len(rows)} rows, one per class, which all stay in training",
            remedy=f"use more data, a part from a file, or no {name} part: {name}=None "
            f'(data.{name} = "none" in a recipe)',
        )
    return np.delete(rows, taken), rows[taken]


def _loaded(source: Source, part: Part, name: str) -> Dataset | None:
    """The part read from a path like the training data; None if it is not a path."""
    if not isinstance(part, (str, Path)):
        return None
    whole, encoding = source.train, source.encoding
    if whole.features and encoding is None:
        raise OptionError(
            expected=f"a Source from kilter.data.load, to read {name}={str(part)!r} as the training table",
            received="a Dataset, which has no encoding of its columns",
            remedy="pass the Source to split()",
        )
    of_images = {}
    if whole.x.ndim == 4 and contents(part) == "images":
        height, width, channels = whole.input_shape
        of_images = {"image_size": (height, width), "channels": channels}
    classes = whole.classes if whole.task == "classification" and encoding is None else None
    how: dict[str, Any] = {"encoding": encoding, "classes": classes, "shifts": source.shifts, **of_images}
    loaded = load(part, task=whole.task, **how).train
    if loaded.y is None or loaded.input_shape != whole.input_shape or loaded.outputs != whole.outputs:
        raise DataError(
            expected=f"{name} rows {whole.input_shape}, {whole.outputs} outputs, labelled, as in training",
            received=f"{part}: rows {loaded.input_shape}, {loaded.outputs} outputs, "
            f"{'no labels' if loaded.y is None else 'labelled'}",
            remedy="give data of the same form, with labels",
        )
    return loaded


def _require_known_classes(train: Dataset, part: Dataset, name: str) -> None:
    if part.task != "classification" or part.y is None or train.y is None:
        return
    absent = np.setdiff1d(part.y, train.y)
    if len(absent):
        raise DataError(
            expected=f"every class of the {name} data also in the training data",
            received=f"{len(absent)} classes that training never sees: "
            f"{first_named(quote(part.classes[int(label)]) for label in absent)}",
            remedy="shuffle the rows, use a share (stratified) such as 0.1, or add rows of these classes",
        )


def _require_options(validation: Part, test: Part, seed: int, own_test: Dataset | None) -> None:
    problems = [
        f"{name}={part!r}"
        for name, part in (("validation", validation), ("test", test))
        if not _is_part(part)
    ]
    if not is_whole(seed, 0):
        problems.append(f"seed={seed!r}")
    if problems:
        raise OptionError(
            expected="a number of rows from 0, a share between 0 and 1, a path or None; a seed from 0",
            received=", ".join(problems),
            remedy="write for instance validation=5000 or validation=0.1",
        )
    if own_test is not None and test not in (None, 0):
        raise OptionError(
            expected="one test part",
            received=f"test={test!r}, and the source has {len(own_test)} test rows of its own",
            remedy="leave test out",
        )


def _is_part(part: object) -> bool:
    if isinstance(part, float):
        return 0 <= part < 1
    return part is None or is_whole(part, 0) or isinstance(part, (str, Path))


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
