"""The records that data travel in: Dataset, Source and Splits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kilter.data.columns import TableEncoding
from kilter.data.precision import Shift

Task = Literal["classification", "regression"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from, or to predict for.

    Attributes:
        x: rows first, in the compact type the source has: uint8 images ``[n, h, w, c]`` (grey: c = 1),
            float32 tables ``[n, f]``. Nothing is standardised here: see :func:`kilter.data.moments`. Only
            columns whose differences float32 would lose are centred (:mod:`kilter.data.precision`).
        y: classification: int32 ``[n]``, indexes into ``classes``; regression: float32 ``[n]`` or ``[n, k]``;
            None: unlabelled.
        task: "classification" or "regression".
        classes: class names by index; () for regression.
        features: names of a table's features, in the order of x's columns; () for images and bare arrays.
        name: what messages call the data.
        skipped: a line for each bad row or file that was left out because of ``skip_bad=True``.
    """

    x: np.ndarray
    y: np.ndarray | None
    task: Task
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    name: str = "data"
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row, without the batch axis."""
        return tuple(self.x.shape[1:])

    @property
    def outputs(self) -> int:
        """Outputs a model needs: the classes, or the columns of the target (1 for a vector or no target)."""
        if self.task == "classification":
            return len(self.classes)
        return 1 if self.y is None or self.y.ndim == 1 else int(self.y.shape[1])

    def take(self, indices: np.ndarray) -> Dataset:
        """The rows at ``indices`` (int ``[m]``, 0-based), in that order.

        Consecutive ascending indices give a view on the same memory, anything else a copy.
        """
        indices = np.asarray(indices, dtype=np.int64)
        chosen: np.ndarray | slice = indices
        if len(indices) and indices[0] >= 0 and np.all(np.diff(indices) == 1):
            # A cut from the front of 50,000 images should not double the memory they take.
            chosen = slice(int(indices[0]), int(indices[-1]) + 1)
        return replace(self, x=self.x[chosen], y=None if self.y is None else self.y[chosen])


@dataclass(frozen=True, eq=False)
class Source:
    """What :func:`kilter.data.load` found: the training rows and, where the source brings one, a test part.

    Attributes:
        train: all rows that are not the source's own test part; :func:`kilter.data.split` divides them
        further.
        test: the source's own test part, or None.
        encoding: how a table's columns became numbers, or None where the source is no table.
        kind: the format, as in "csv table" or "idx".
        origin: the path or the library it came from.
        notes: what was decided by default, a sentence each, such as which column is the target.
        image_size: (height, width) that images were resized to on request, or None.
        shifts: how arrays are stored where float32 would lose differences, one for each entry of the last
            axis; () where they are as they were, and for tables, whose encoding says it.
        losses: columns of which float32 makes different values equal, a sentence each.
    """

    train: Dataset
    test: Dataset | None
    encoding: TableEncoding | None
    kind: str
    origin: str
    notes: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    shifts: tuple[Shift, ...] = ()
    losses: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Splits:
    """The parts a training run needs; validation and test are None where none was asked for or brought."""

    train: Dataset
    validation: Dataset | None
    test: Dataset | None

    @property
    def evaluated(self) -> dict[str, Dataset]:
        """The parts that a model is judged on, by name."""
        named = {"validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}
