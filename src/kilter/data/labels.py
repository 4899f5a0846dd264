"""Targets: classification or regression, the classes, and the class index of each row.

The rule of ``task="auto"``, in order:

1. text and true/false are classes;
2. numbers with fractions, and several target columns that are not one-hot, are regression;
3. whole numbers for images are classes, unless there are more than MAX_CLASSES_AUTO and most occur once;
4. whole numbers for a table are classes if there are at most MAX_CLASSES_AUTO different ones and each occurs
   twice on average; more than _RATINGS must also count from 0 or 1, each of them twice. Otherwise it is
   regression. task_note() says which.
"""

from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
import polars as pl

from kilter.data.dataset import LoadOptions, TableTask, Task
from kilter.data.paths import first_named, name_rows, nearest_name, quote
from kilter.data.words import separator_of
from kilter.errors import DataError

# Codes of classes are few; counts and prices are more. Otherwise pass task=.
MAX_CLASSES_AUTO = 20
_RATINGS = 10  # steps of a rating; more of them, such as 0 to 20 or 80 to 100 points, are a quantity
_FEWEST_ROWS = 20  # of fewer, a class may well have only one
Read = TypeVar("Read")


def decide_task(targets: np.ndarray, wanted: Literal["auto", Task], *, images: bool) -> TableTask:
    """The task for raw targets (``[n]`` or ``[n, k]``, no missing values) by the rule of this module."""
    text = targets.dtype.kind in "USOb"
    whole = not text and bool(np.all(targets == np.floor(targets)))
    if wanted == "regression" and targets.dtype.kind in "USO":
        raise DataError(
            expected="numbers as targets, because task=regression",
            received=f"text such as {quote(str(targets.flat[0]))}",
            remedy="name a numeric target column, or leave task=auto",
        )
    if wanted == "classification" and not text and not whole:
        fractions = np.flatnonzero((targets != np.floor(targets)).reshape(len(targets), -1).any(axis=1))
        raise DataError(
            expected="text or whole numbers as targets, because task=classification",
            received=f"fractions {name_rows(fractions)}",
            remedy="use task=regression, or bin the target into classes first",
        )
    if wanted == "segmentation":
        raise DataError(
            expected="a folder of pictures and a folder of masks, because task=segmentation",
            received="a target for each row",
            remedy="leave task=auto, or give the folder that holds both",
        )
    if wanted != "auto":
        return wanted
    if text:
        return "classification"
    if targets.ndim == 2:
        return "classification" if is_one_hot(targets) else "regression"
    if not whole:
        return "regression"
    if images and len(np.unique(targets)) <= max(MAX_CLASSES_AUTO, len(targets) // 2):
        return "classification"
    return "classification" if _are_few(targets) else "regression"


def task_note(targets: np.ndarray, task: Task) -> tuple[str, ...]:
    """A sentence on the task chosen for whole numbers; none for other targets or obvious quantities."""
    if targets.dtype.kind not in "iuf" or targets.ndim == 2 or not np.all(targets == np.floor(targets)):
        return ()
    different = len(np.unique(targets))
    if task == "regression" and different > MAX_CLASSES_AUTO and different * 2 > len(targets):
        return ()  # such as prices: nobody would take them for classes
    found = f"{different:,} different whole numbers in {len(targets):,} rows"
    if task == "classification":
        return (
            f"the task is classification: the targets are {found}; otherwise: "
            "--set data.task=regression (in Python task=)",
        )
    return (
        f"the task is regression: the targets are {found}, more like quantities than classes; otherwise: "
        "--set data.task=classification (in Python task=)",
    )


def _are_few(targets: np.ndarray) -> bool:
    """Whether whole numbers have few enough different values to be classes."""
    values, counts = np.unique(targets, return_counts=True)
    if len(values) > _RATINGS and (values[0] not in (0, 1) or counts.min() == 1):
        return False
    return len(values) <= MAX_CLASSES_AUTO and len(values) * 2 <= len(targets)


def if_usable(read: Callable[[], Read], options: LoadOptions) -> Read | None:
    """The labels that ``read`` returns; None if it raises DataError and labels are optional."""
    try:
        return read()
    except DataError:
        if options.unlabelled:
            return None
        raise


def lost_labels(targets: np.ndarray, kept: np.ndarray) -> tuple[str, ...]:
    """Names of the labels, among raw targets without missing ones, that no row of the mask ``kept`` has.

    Example:
        >>> lost_labels(np.array(["cat", "dog", "cat"]), np.array([True, False, True]))
        ('dog',)
    """
    if kept.all():
        return ()
    if is_one_hot(targets):
        targets = targets.argmax(axis=1)
    return () if targets.ndim != 1 else class_names(np.setdiff1d(targets[~kept], targets[kept]))


def combined_labels_note(classes: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence if the classes are combinations of labels, such as "music;news".

    Example:
        >>> len(combined_labels_note(("music", "music;news", "news", "news;sport", "sport")))
        1
    """
    separator = separator_of(pl.Series(classes, dtype=pl.String))
    if not separator:
        return ()
    example = next(one for one in classes if separator in one)
    return (
        f"the targets are lists of labels, such as {quote(example)}, and each combination is a class of its "
        "own; for an answer for each label, make a column of yes and no for each, and train once for each",
    )


def is_one_hot(targets: np.ndarray) -> bool:
    """Whether every row of ``[n, k]`` with k of 2 or more is one 1 among zeros."""
    if targets.ndim != 2 or targets.shape[1] < 2 or targets.dtype.kind not in "biuf":
        return False
    return bool(np.all((targets == 0) | (targets == 1)) and np.all(targets.sum(axis=1) == 1))


def one_hot_names(series: pl.Series) -> tuple[str, ...] | None:
    """The names of the classes of a joint target column, such as "cat,dog", if its rows are one-hot."""
    joint = isinstance(series.dtype, pl.Array) and is_one_hot(series.to_numpy())
    return tuple(name.strip() for name in series.name.split(",")) if joint else None


def class_names(targets: np.ndarray) -> tuple[str, ...]:
    """Names of the classes in raw labels ``[n]``: numbers in numeric order, text in order of code points.

    Example:
        >>> class_names(np.array([10, 2, 2]))
        ('2', '10')
    """
    return tuple(dict.fromkeys(label_name(value) for value in np.unique(targets)))


def label_name(value: object) -> str:
    """The name of one label: stripped text, a whole number without a point, true or false."""
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def require_repeated(targets: np.ndarray, classes: tuple[str, ...], target: str) -> None:
    """Raise DataError for a target of texts of which most occur once: names, dates or free text."""
    if targets.dtype.kind not in "US" or len(targets) < _FEWEST_ROWS or 2 * len(classes) <= len(targets):
        return
    raise DataError(
        expected=f"classes that repeat in the target column {quote(target)}",
        received=f"{len(classes)} different texts in {len(targets)} rows, such as {quote(classes[0])}",
        remedy="name another column as the target, or turn these texts into numbers or a few classes",
    )


def class_indexes(targets: np.ndarray, classes: tuple[str, ...], part: str) -> np.ndarray:
    """The index in ``classes`` of each raw label, int32 ``[n]``.

    Labels are matched by name. Whole numbers are indexes if no class is named by a number, as in files that
    number the classes "cat" and "dog" 0 and 1; one-hot rows ``[n, k]`` are the places of their ones. Raises
    DataError that counts unknown labels and names the first rows.
    """
    if targets.ndim == 2:
        targets = targets.argmax(axis=1)
        if len(classes) > targets.max(initial=0):
            return targets.astype(np.int32)
    values, inverse = np.unique(targets, return_inverse=True)
    by_name = {name: index for index, name in enumerate(classes)}
    numbered = values.dtype.kind in "iu" and not any(name.lstrip("-").isdigit() for name in classes)
    known = {str(index): index for index in range(len(classes))} if numbered else by_name
    names = [label_name(value) for value in values]
    codes = np.array([known.get(name, -1) for name in names], dtype=np.int32)
    labels = codes[inverse.reshape(-1)] if len(codes) else np.zeros(0, np.int32)
    unknown = np.flatnonzero(labels < 0)
    if len(unknown):
        strangers = [quote(name) for name, code in zip(names, codes, strict=True) if code < 0]
        near = nearest_name(strangers[0].strip('"'), known)
        raise DataError(
            expected=f"labels in the {part} among the {len(classes)} of training ({first_named(known)})",
            received=f"{len(unknown)} others: {first_named(strangers)}, {name_rows(unknown)}",
            remedy=f"correct these rows, or add rows of these classes to the training data{near}",
        )
    return labels
