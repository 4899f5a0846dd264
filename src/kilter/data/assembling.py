"""From a reader's arrays and raw targets to a checked Source."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kilter._text import counted
from kilter.data.checks import check, find_nonfinite
from kilter.data.dataset import Dataset, LoadOptions, Source, Task
from kilter.data.encoding import TableEncoding
from kilter.data.labels import class_indexes, class_names, decide_task, if_usable, lost_labels, task_note
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote
from kilter.data.precision import (
    STANDARDIZE,
    Shift,
    apply_shifts,
    find_shifts,
    loss_note,
    lossy_columns,
    shift_note,
)
from kilter.errors import DataError


@dataclass(frozen=True, eq=False)
class Part:
    """Features and raw targets of one part of a source.

    Attributes:
        targets: text, numbers, or None (no labels).
        skipped: a line for each bad row, file or kind of row that was left out.
        left_out: the number of bad rows and files.
        lost: labels that occur only in the rows left out.
        notes: a sentence for each column with missing or unknown values.
        inputs: the rows as they are in the source, a polars DataFrame, if they are to be kept.
    """

    x: np.ndarray
    targets: np.ndarray | None
    skipped: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    inputs: Any = None
    left_out: int = 0


@dataclass(frozen=True)
class About:
    """What a reader knows about its source besides the arrays; ``classes`` if the source declares them."""

    kind: str
    origin: str
    name: str
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] | None = None
    encoding: TableEncoding | None = None
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    target: str | None = None


def assemble(
    train: Part, test: Part | None, options: LoadOptions, about: About, validation: Part | None = None
) -> Source:
    """Turn the parts into a checked Source: compact types, labels as indexes, the same classes in all."""
    shifts, notes, lost = _shifts(train.x, options, about)
    train = _usable(train, options, about, options.rows, shifts)
    task, classes = _task_and_classes(train, options, about)
    if options.for_training and task == "classification":
        _refuse_lost_classes(train.lost)

    def finish(part: Part, words: str, *, training: bool) -> Dataset:
        targets = part.targets
        y = None if targets is None else if_usable(lambda: _encode(targets, task, classes, words), options)
        dataset = Dataset(part.x, y, task, classes, about.features, about.name, part.skipped, part.inputs)
        dataset = replace(dataset, left_out=part.left_out)
        check(dataset, part=words, training=training)
        return dataset

    data = finish(train, options.rows, training=options.for_training)

    def held_out(part: Part | None, name: str) -> Dataset | None:
        if part is None:
            return None
        words = f"{name} data"
        found = finish(_usable(part, options, about, words, shifts), words, training=False)
        if found.input_shape != data.input_shape:
            raise DataError(
                expected=f"{name} rows of the same shape as the training rows, {data.input_shape}",
                received=f"{name} rows of shape {found.input_shape}",
                remedy="give both the same shape (images: image_size=(height, width))",
            )
        return found

    return Source(
        data,
        held_out(test, "test"),
        about.encoding,
        about.kind,
        about.origin,
        about.notes + notes + _task_notes(train, task, options, about) + train.notes,
        about.image_size or options.image_size,
        shifts,
        about.losses + lost + _lost_targets(train, task),
        held_out(validation, "validation"),
        about.target,
    )


def _shifts(
    x: np.ndarray, options: LoadOptions, about: About
) -> tuple[tuple[Shift, ...], tuple[str, ...], tuple[str, ...]]:
    """The shifts of training, or those that the numbers need; with notes and losses."""
    if options.shifts:
        if x.ndim < 2 or len(options.shifts) != x.shape[-1]:
            raise DataError(
                expected=f"rows of {len(options.shifts)} features, as in training ({about.origin})",
                received=f"shape {x.shape}",
                remedy="give data of the same form",
            )
        return options.shifts, (), ()
    if options.center:
        found = find_shifts(x)
        return found, shift_note([(str(i), shift) for i, shift in enumerate(found)]), ()
    return (), (), loss_note("column", lossy_columns(x), STANDARDIZE)


def _lost_targets(train: Part, task: Task) -> tuple[str, ...]:
    """A sentence if float32 makes different targets equal: targets are never centred."""
    if task != "regression" or train.targets is None or train.targets.ndim != 1:
        return ()
    remedy = "subtract a number near them from all targets, and add it to the predictions"
    return loss_note("the target", [("target", train.targets)], remedy)


def _task_notes(train: Part, task: Task, options: LoadOptions, about: About) -> tuple[str, ...]:
    """A note if the values of the targets decided the task."""
    given = about.encoding or options.classes or about.classes or options.task != "auto"
    arrays = train.x.ndim == 4 and about.target is None
    return () if given or train.targets is None or arrays else task_note(train.targets, task)


def _task_and_classes(train: Part, options: LoadOptions, about: About) -> tuple[Task, tuple[str, ...]]:
    """Task and classes: of an earlier training, declared by the source, or found in the labels."""
    if about.encoding is not None:
        return about.encoding.task, about.encoding.classes
    given = options.classes if options.classes is not None else about.classes
    if options.task == "segmentation":
        return options.task, given or ()
    if given is not None and options.task != "regression":
        return "classification", given
    if train.targets is None:
        return ("classification" if options.task == "auto" else options.task), ()
    task = decide_task(train.targets, options.task, images=train.x.ndim == 4)
    if task == "regression":
        return task, ()
    one_hot = train.targets.ndim == 2
    return task, tuple(map(str, range(train.targets.shape[1]))) if one_hot else class_names(train.targets)


def _encode(targets: np.ndarray, task: Task, classes: tuple[str, ...], part: str) -> np.ndarray:
    if task == "classification":
        return class_indexes(targets, classes, part)
    if targets.dtype.kind in "USO":
        raise DataError(
            expected=f"numbers as targets in the {part}, as in training",
            received=f"text such as {str(targets.flat[0])!r}",
            remedy="give the same target column as in training",
        )
    with np.errstate(over="ignore"):  # overflow becomes infinity, which check() reports
        return targets.astype(np.float32)


def _usable(part: Part, options: LoadOptions, about: About, words: str, shifts: tuple[Shift, ...]) -> Part:
    """The part with compact features and plain targets; non-finite rows raise or are left out."""
    x = compact_features(part.x, about.origin, shifts)
    raw = part.targets
    targets = None if raw is None else if_usable(lambda: _plain_targets(raw, about.origin), options)
    if targets is None and options.labels_required:
        raise DataError(
            expected=f"labels in the {words} ({about.origin})",
            received="features without labels",
            remedy="add labels to the source; to predict, load it with unlabelled=True",
        )
    if targets is not None and len(targets) != len(x):
        raise DataError(
            expected=f"one label for each of the {len(x)} rows of the {words} ({about.origin})",
            received=f"{len(targets)} labels",
            remedy="check that features and labels belong together and none is truncated",
        )
    if not len(x):
        raise DataError(
            expected=f"rows in the {words} ({about.origin})",
            received="0 rows",
            remedy="check that the source is complete and the right one",
        )
    return _without_nonfinite(replace(part, x=x, targets=targets), options, about, words)


def _without_nonfinite(part: Part, options: LoadOptions, about: About, words: str) -> Part:
    found = {"features": find_nonfinite(part.x)}
    found["targets"] = None if part.targets is None else find_nonfinite(part.targets)
    if options.unlabelled and found["targets"]:
        part, found["targets"] = replace(part, targets=None), None
    names = about.features if part.x.ndim == 2 else ()
    clauses = [bad.describe(what, names if what == "features" else ()) for what, bad in found.items() if bad]
    if not clauses:
        return part
    bad = np.zeros(len(part.x), bool)
    for values in found.values():
        bad[[] if values is None else values.rows] = True
    if not options.skip_bad or bad.all():
        raise DataError(
            expected=f"finite values in the {words} ({about.origin}; rows count from 0)",
            received="; ".join(clauses),
            remedy=f"correct or fill these values, or {LEAVE_ROWS_OUT}",
        )
    named = f"{counted(int(bad.sum()), 'row', 'rows')} left out, {name_rows(np.flatnonzero(bad))}"
    skipped = (*part.skipped, f"{words}: {named}: NaN or infinite values")
    inputs = None if part.inputs is None else part.inputs.filter(~bad)
    left_out = part.left_out + int(bad.sum())
    part = replace(part, x=part.x[~bad], skipped=skipped, inputs=inputs, left_out=left_out)
    if part.targets is None:
        return part
    labelled = np.isin(
        np.arange(len(bad)), [] if found["targets"] is None else found["targets"].rows, invert=True
    )
    lost = part.lost + lost_labels(part.targets[labelled], ~bad[labelled])
    return replace(part, targets=part.targets[~bad], lost=lost)


def _refuse_lost_classes(lost: tuple[str, ...]) -> None:
    """Raise DataError for classes of which all rows are left out."""
    if lost:
        raise DataError(
            expected="a good row of every class after leaving out bad rows",
            received=f"none of class {first_named(map(quote, lost))}",
            remedy="correct rows of these classes, or remove the classes from the data",
        )


def compact_features(x: np.ndarray, origin: str, shifts: tuple[Shift, ...] = ()) -> np.ndarray:
    """Features as uint8 or float32, shifted; grey images ``[n, h, w]`` of bytes get a channel axis."""
    if x.ndim < 2 or x.dtype.kind not in "biuf":
        raise DataError(
            expected=f"numeric features, [n, features] or [n, height, width, channels] ({origin})",
            received=f"shape {x.shape} of type {x.dtype}",
            remedy="store the features as numbers, one row for each label",
        )
    if x.dtype.kind == "b":
        x = x.astype(np.uint8)
    if shifts or x.dtype != np.uint8:
        return apply_shifts(x, shifts)
    return x[..., np.newaxis] if x.ndim == 3 else x


def _plain_targets(targets: np.ndarray, origin: str) -> np.ndarray:
    """Raw targets as ``[n]`` or ``[n, k]``, k of 2 or more. Raises DataError for other shapes and types."""
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.dtype.kind not in "biufUO" or targets.ndim not in (1, 2) or 0 in targets.shape[1:]:
        raise DataError(
            expected=f"labels [n], or target columns [n, k], as numbers or text ({origin})",
            received=f"shape {targets.shape} of type {targets.dtype}",
            remedy="store one label, or the same number of target values, for each row",
        )
    return targets
