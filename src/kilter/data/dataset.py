"""The records of data: Dataset, Source and Splits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kilter._validation import one_of, whole_sizes
from kilter.data.encoding import Column, TableEncoding
from kilter.data.precision import Shift
from kilter.errors import OptionError

if TYPE_CHECKING:
    from kilter._array_types import Chosen, HostRows

TableTask = Literal["classification", "regression"]
Task = Literal[TableTask, "segmentation"]
KINDS = ("number", "category", "date", "text", "ignore")
"""The kinds of columns that a user may set."""
TEXTS = ("ignore", "hash", "bag")
"""How free text may be used."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to train on or to predict for.

    Attributes:
        x: rows first, in a compact type: uint8 images ``[n, h, w, c]`` (grey: c = 1), float32 tables ``[n,
            f]``. Not standardised, see :func:`kilter.data.moments`; columns in which float32 would lose
            differences are centred.
        y: classification: int32 ``[n]``, indexes into ``classes``; regression: float32 ``[n]`` or ``[n, k]``;
            segmentation: uint8 ``[n, h, w]``, indexes into ``classes``; None: unlabelled.
        task: "classification", "regression" or "segmentation".
        classes: class names by index; () for regression.
        features: names of a table's features, in the order of x's columns; () for images and bare arrays.
        name: of the data, for messages.
        skipped: a line for each kind of bad row, and for each bad file, that was left out. left_out: the
            number of these rows and files.
        inputs: with ``keep_inputs=True``, the rows as they are in the source, a polars DataFrame: a table's
            columns; of images the column "file". None for arrays, whose rows have no names.
    """

    x: "HostRows"
    y: "HostRows | None"
    task: Task
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    name: str = "data"
    skipped: tuple[str, ...] = ()
    inputs: Any = None
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.x)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one row, without the batch axis."""
        return tuple(self.x.shape[1:])

    @property
    def outputs(self) -> int:
        """The number of model outputs: classes, or columns of the target (1 for a vector or no target)."""
        if self.task != "regression":
            return len(self.classes)
        return 1 if self.y is None or self.y.ndim == 1 else int(self.y.shape[1])

    def take(self, indices: "Chosen") -> "Dataset":
        """The rows at ``indices`` (int ``[m]``, 0-based), in that order.

        Consecutive ascending indices give a view, anything else a copy.
        """
        indices = np.asarray(indices, dtype=np.int64)
        chosen: np.ndarray | slice = indices
        if len(indices) and indices[0] >= 0 and np.all(np.diff(indices) == 1):
            # A cut from the front of 50,000 images should not double the memory they take.
            chosen = slice(int(indices[0]), int(indices[-1]) + 1)
        return replace(
            self,
            x=self.x[chosen],
            y=None if self.y is None else self.y[chosen],
            inputs=None if self.inputs is None else self.inputs[chosen],
        )


@dataclass(frozen=True, eq=False)
class Source:
    """The result of :func:`kilter.data.load`: the training rows and the source's own other parts, if any.

    Attributes:
        train: all rows outside the source's own other parts, for :func:`kilter.data.split` to divide.
        test: the source's own test part, or None.
        encoding: how a table's columns became numbers; None for other data.
        kind: the format, such as "csv table" or "idx".
        origin: the path or the library it came from.
        notes: what was decided by default, a sentence each, such as which column is the target.
        image_size: (height, width) that images were resized to, or None.
        shifts: of arrays for which float32 would lose differences, one per entry of the last axis; () if
            unchanged, and for tables, because their encoding has them.
        losses: a sentence for each column in which float32 makes different values equal.
        validation: the source's own validation part, or None.
        target: the column of the labels of images, or None; the encoding of a table has its target.
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
    validation: Dataset | None = None
    target: str | None = None

    @property
    def parts(self) -> dict[str, Dataset]:
        """The parts that the source has, by name; "data" if it is not divided."""
        held_out = {"validation": self.validation, "test": self.test}
        known = {name: part for name, part in held_out.items() if part is not None}
        return {"train": self.train, **known} if known else {"data": self.train}


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test part; the last two may be None.

    ``encoding``: of a table, as in the source, with the medians of the training part for missing values.
    """

    train: Dataset
    validation: Dataset | None
    test: Dataset | None
    encoding: TableEncoding | None = None

    @property
    def evaluated(self) -> dict[str, Dataset]:
        """Validation and test part, if present, by name."""
        named = {"validation": self.validation, "test": self.test}
        return {name: part for name, part in named.items() if part is not None}


@dataclass(frozen=True)
class LoadOptions:
    """The options of :func:`kilter.data.load`; see there for what each means."""

    target: str | None = None
    task: Literal["auto", Task] = "auto"
    skip_bad: bool = False
    encoding: TableEncoding | None = None
    classes: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    unlabelled: bool = False
    center: bool = True
    shifts: tuple[Shift, ...] = ()
    columns: tuple[Column, ...] = ()
    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict[str, str])
    text: Literal["ignore", "hash", "bag"] = "ignore"
    missing: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    keep_inputs: bool = False
    channels: int | None = None
    seen: Callable[[Any], None] | None = None  # called with a table's frame before anything is refused

    def __post_init__(self) -> None:
        one_of("task", self.task, ("auto", "classification", "regression", "segmentation"))
        if self.encoding is not None and self.classes is not None:
            raise OptionError(
                expected="encoding (of a table) or classes (of other data), not both",
                received=f"encoding with {len(self.encoding.classes)} classes and classes={self.classes!r}",
                remedy="give the encoding alone: it holds the classes",
            )
        one_of("text", self.text, TEXTS)
        for name, kind in self.kinds.items():
            one_of(f"kinds[{name!r}]", kind, KINDS)
        whole_sizes("image_size", self.image_size, ("height", "width"))
        if self.channels is not None:
            one_of("channels", self.channels, (1, 3))

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """The feature columns of an earlier training; () if the file's own are used."""
        return self.columns if self.encoding is None else self.encoding.columns

    @property
    def known_target(self) -> str | None:
        """The target column that the user names, or that of an earlier training."""
        return self.target or (self.encoding.target if self.encoding is not None else None)

    @property
    def labels_required(self) -> bool:
        """Whether a file without labels is an error; not in prediction."""
        return not self.unlabelled and self.encoding is None

    @property
    def rows(self) -> str:
        """The name in messages of the rows outside the source's own test part."""
        return "training data" if self.for_training else "data"

    @property
    def for_training(self) -> bool:
        """Whether the data define the classes, of which there must be at least two."""
        return not self.unlabelled and self.encoding is None and self.classes is None
