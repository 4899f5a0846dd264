"""describe(): what a source contains, and what may be wrong with it, as a record to print."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kilter.data.dataset import Dataset, Source
from kilter.data.paths import first_named, quote
from kilter.data.precision import NO_SHIFT

# A class this many times rarer than the commonest is worth a word: plain accuracy hides what happens to it.
IMBALANCE = 10.0
# Rows read at once for the ranges.
_ROWS = 8192


@dataclass(frozen=True)
class PartSummary:
    """One part of a source: name, rows, shape of a row, type of the values, lines on what was skipped."""

    name: str
    rows: int
    shape: tuple[int, ...]
    dtype: str
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class ClassCount:
    """How many rows of a class the training and the test part hold (None: no test part)."""

    name: str
    train: int
    test: int | None


@dataclass(frozen=True)
class ColumnSummary:
    """Range and mean of one feature or target in the training part."""

    name: str
    minimum: float
    maximum: float
    mean: float


@dataclass(frozen=True)
class SourceSummary:
    """What a source contains.

    Attributes:
        name, kind, origin, task: of the source.
        parts: training part and, where there is one, test part.
        classes: rows of each class; () for regression and unlabelled data.
        columns: a table's features one by one; other data as one entry "values".
        targets: regression targets; () for classification.
        notes: what was decided by default.
        problems: what may spoil the training, a sentence each; () where nothing was found.
    """

    name: str
    kind: str
    origin: str
    task: str
    parts: tuple[PartSummary, ...]
    classes: tuple[ClassCount, ...]
    columns: tuple[ColumnSummary, ...]
    targets: tuple[ColumnSummary, ...]
    notes: tuple[str, ...]
    problems: tuple[str, ...]


def describe(source: Source) -> SourceSummary:
    """Summarise a source: rows, shapes, classes with counts, ranges of the columns, notes and likely
    problems.

    Reads every value once. A source from load() holds no NaN; in one made by hand they show as NaN ranges.
    """
    train, test = source.train, source.test
    parts = [_part("train", train)] + ([] if test is None else [_part("test", test)])
    columns = _ranges(train.x, train.features)
    targets = ()
    if train.task == "regression" and train.y is not None:
        several = train.y.ndim == 2
        names = tuple(f"target {i}" for i in range(train.outputs)) if several else (_target_name(source),)
        targets = _ranges(train.y.reshape(len(train), -1), names)
    classes = _class_counts(train, test)
    problems = [
        *source.losses,
        *_class_problems(classes),
        *_column_problems(train, columns),
        *_leaks(train, test),
    ]
    return SourceSummary(
        train.name,
        source.kind,
        source.origin,
        train.task,
        tuple(parts),
        classes,
        _in_own_units(columns, source),
        targets,
        source.notes,
        tuple(problems),
    )


def _part(name: str, dataset: Dataset) -> PartSummary:
    return PartSummary(name, len(dataset), dataset.input_shape, str(dataset.x.dtype), dataset.skipped)


def _target_name(source: Source) -> str:
    return "target" if source.encoding is None else source.encoding.target


def _ranges(x: np.ndarray, names: tuple[str, ...]) -> tuple[ColumnSummary, ...]:
    """Ranges of the columns of ``x`` by name, or of all values together where the columns have no names."""
    if x.size == 0:
        return ()
    flat = x.reshape(len(x), -1)
    together = len(names) != flat.shape[1]
    axis = None if together else 0
    chunks = [flat[start : start + _ROWS] for start in range(0, len(flat), _ROWS)]
    minimum = np.atleast_1d(np.min([chunk.min(axis=axis) for chunk in chunks], axis=0))
    maximum = np.atleast_1d(np.max([chunk.max(axis=axis) for chunk in chunks], axis=0))
    sums = np.sum([chunk.sum(axis=axis, dtype=np.float64) for chunk in chunks], axis=0)
    mean = np.atleast_1d(sums / (flat.size if together else len(flat)))
    labels = ("values",) if together else names
    return tuple(
        ColumnSummary(name, float(low), float(high), float(middle))
        for name, low, high, middle in zip(labels, minimum, maximum, mean, strict=True)
    )


def _in_own_units(columns: tuple[ColumnSummary, ...], source: Source) -> tuple[ColumnSummary, ...]:
    """The ranges of a table's columns as they are in the file, where they are stored centred or scaled."""
    encoding = source.encoding
    shifts = (
        {} if encoding is None else {one.name: one.shift for one in encoding.columns if one.kind == "number"}
    )

    def restored(column: ColumnSummary) -> ColumnSummary:
        shift = shifts.get(column.name, NO_SHIFT)
        return ColumnSummary(column.name, *map(shift.undo, (column.minimum, column.maximum, column.mean)))

    return tuple(map(restored, columns))


def _class_counts(train: Dataset, test: Dataset | None) -> tuple[ClassCount, ...]:
    if train.task != "classification" or train.y is None:
        return ()
    counts = np.bincount(train.y, minlength=len(train.classes))
    held = None if test is None or test.y is None else np.bincount(test.y, minlength=len(train.classes))
    return tuple(
        ClassCount(name, int(counts[i]), None if held is None else int(held[i]))
        for i, name in enumerate(train.classes)
    )


def _class_problems(classes: tuple[ClassCount, ...]) -> list[str]:
    if not classes:
        return []
    problems = []
    absent = [quote(found.name) for found in classes if found.train == 0]
    single = [quote(found.name) for found in classes if found.train == 1]
    if absent:
        problems.append(f"no training row of class {first_named(absent)}")
    if single:
        problems.append(f"one row only of class {first_named(single)}: none can be held out for validation")
    present = [found for found in classes if found.train]
    rarest = min(present, key=lambda found: found.train)
    commonest = max(present, key=lambda found: found.train)
    if commonest.train > IMBALANCE * rarest.train:
        problems.append(
            f"classes are unbalanced: {commonest.train} rows of {quote(commonest.name)}, {rarest.train} of "
            f"{quote(rarest.name)}; class weights help, and accuracy alone misleads"
        )
    return problems


def _column_problems(train: Dataset, columns: tuple[ColumnSummary, ...]) -> list[str]:
    if not train.features:
        return []
    constant = [quote(column.name) for column in columns if column.minimum == column.maximum]
    problems = [f"constant, so of no use: column {first_named(constant)}"] if constant else []
    steps = np.arange(len(train), dtype=np.float32)
    numbering = [
        quote(name)
        for i, name in enumerate(train.features)
        if len(train) > 2 and np.array_equal(train.x[:, i] - train.x[0, i], steps)
    ]
    if numbering:
        problems.append(f"only numbers the rows, leave it out: column {first_named(numbering)}")
    return problems


def _leaks(train: Dataset, test: Dataset | None) -> list[str]:
    """Test rows that are training rows too: the test figure is then too good."""
    if test is None:
        return []
    # Hashes, not the rows themselves: 60,000 of them are half a megabyte.
    known = {hash(row.tobytes()) for row in train.x}
    repeated = sum(hash(row.tobytes()) in known for row in test.x)
    return [f"{repeated} of {len(test)} test rows are training rows too"] if repeated else []
