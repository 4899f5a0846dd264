"""describe(): the content of a source and its likely problems, as a record to print."""

from dataclasses import dataclass

import numpy as np

from kilter._measures import rare_class
from kilter.data.dataset import Dataset, Source
from kilter.data.encoding import Column
from kilter.data.paths import first_named, quote

_ROWS = 8192  # read at once for the ranges
_AS_IT_IS = Column("", "number")


@dataclass(frozen=True)
class PartSummary:
    """One part of a source: its name, rows, row shape and dtype, with notes on bad rows and their count."""

    name: str
    rows: int
    shape: tuple[int, ...]
    dtype: str
    skipped: tuple[str, ...]
    left_out: int


@dataclass(frozen=True)
class ClassCount:
    """The rows of a class in the training, test and validation part (None: the source has no such part)."""

    name: str
    train: int
    test: int | None
    validation: int | None = None


@dataclass(frozen=True)
class ColumnSummary:
    """Range and mean of one feature or target in the training part."""

    name: str
    minimum: float
    maximum: float
    mean: float


@dataclass(frozen=True)
class SourceSummary:
    """The content of a source.

    Attributes:
        name, kind, origin, task: of the source.
        parts: training and, if any, test part.
        classes: rows of each class; () for regression and unlabelled data.
        columns: a table's features; other data as one entry "values".
        targets: regression targets; () for classification.
        notes: what was decided by default.
        problems: a sentence for each likely problem.
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
    """Summarise a source: rows, shapes, classes with counts, ranges of the columns, notes, likely problems.

    Reads every value once. NaN, which load() never returns, shows as a NaN range.
    """
    train, test = source.train, source.test
    parts = [_part("train" if name == "data" else name, part) for name, part in source.parts.items()]
    columns = _ranges(train.x, train.features)
    targets = ()
    if train.task == "regression" and train.y is not None:
        targets = _ranges(train.y.reshape(len(train), -1), _target_names(source))
    classes = _class_counts(train, test, source.validation)
    problems = [
        *source.losses,
        *_class_problems(classes),
        *rare_class_note(train),
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
    kind = str(dataset.x.dtype)
    return PartSummary(name, len(dataset), dataset.input_shape, kind, dataset.skipped, dataset.left_out)


def _target_names(source: Source) -> tuple[str, ...]:
    """The names of regression targets, which ``target`` of a table has in one text: "height,weight"."""
    name = "target" if source.encoding is None else source.encoding.target
    assert source.train.y is not None
    if source.train.y.ndim < 2:
        return (name,)
    count = source.train.outputs
    names = tuple(one.strip() for one in name.split(","))
    return names if len(names) == count else tuple(f"target {i}" for i in range(count))


def _ranges(x: np.ndarray, names: tuple[str, ...]) -> tuple[ColumnSummary, ...]:
    """Ranges of the columns of ``x`` by name, or of all values together if the columns have no names."""
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
    """The ranges of a table's columns in the units of the file."""
    known = () if source.encoding is None else source.encoding.columns
    numbers = {one.name: one for one in known if one.kind == "number"}

    def restored(column: ColumnSummary) -> ColumnSummary:
        how = numbers.get(column.name, _AS_IT_IS)
        return ColumnSummary(column.name, *map(how.restored, (column.minimum, column.maximum, column.mean)))

    return tuple(map(restored, columns))


def _class_counts(train: Dataset, test: Dataset | None, validation: Dataset | None) -> tuple[ClassCount, ...]:
    if train.task != "classification" or train.y is None:
        return ()

    def counted(part: Dataset | None) -> list[int] | list[None]:
        classes = len(train.classes)
        if part is None or part.y is None:
            return [None] * classes
        return np.bincount(part.y, minlength=classes).tolist()

    columns = (counted(train), counted(test), counted(validation))
    return tuple(map(ClassCount, train.classes, *columns))  # pyright: ignore[reportArgumentType]


def _class_problems(classes: tuple[ClassCount, ...]) -> list[str]:
    if not classes:
        return []
    problems: list[str] = []
    absent = [quote(found.name) for found in classes if found.train == 0]
    single = [quote(found.name) for found in classes if found.train == 1]
    if absent:
        problems.append(f"no training row of class {first_named(absent)}")
    if single:
        problems.append(f"only one row of class {first_named(single)}, which is not in the validation part")
    return problems


def rare_class_note(train: Dataset) -> tuple[str, ...]:
    """A sentence on the rarest class, if it is too rare for accuracy."""
    if train.task != "classification" or train.y is None:
        return ()
    counts = np.bincount(train.y, minlength=len(train.classes))
    rarest = rare_class(counts)
    if rarest is None:
        return ()
    commonest = int(np.argmax(counts))
    return (
        f"classes are unbalanced: {counts[commonest]} rows of {quote(train.classes[commonest])}, "
        f"{counts[rarest]} of {quote(train.classes[rarest])}; class weights help, and accuracy alone "
        "misleads",
    )


def _leaks(train: Dataset, test: Dataset | None) -> list[str]:
    """Test rows that are also training rows, which make the test result too good."""
    if test is None:
        return []
    # Hashes, not the rows themselves: 60,000 of them are half a megabyte.
    known = {hash(row.tobytes()) for row in train.x}
    repeated = sum(hash(row.tobytes()) in known for row in test.x)
    return [f"{repeated} of {len(test)} test rows are also training rows"] if repeated else []
