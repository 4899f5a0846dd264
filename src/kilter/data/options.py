"""What the caller of load() asked for, as one record that every reader gets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kilter.data.columns import Column, TableEncoding
from kilter.data.precision import Shift
from kilter.errors import OptionError


@dataclass(frozen=True)
class LoadOptions:
    """The options of :func:`kilter.data.load`; see there for what each means."""

    target: str | None = None
    task: Literal["auto", "classification", "regression"] = "auto"
    skip_bad: bool = False
    encoding: TableEncoding | None = None
    classes: tuple[str, ...] | None = None
    image_size: tuple[int, int] | None = None
    unlabelled: bool = False
    center: bool = True
    shifts: tuple[Shift, ...] = ()
    columns: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        if self.task not in ("auto", "classification", "regression"):
            raise OptionError(
                expected="task auto, classification or regression",
                received=f"task={self.task!r}",
                remedy="leave it out (auto) or write one of the three",
            )
        if self.encoding is not None and self.classes is not None:
            raise OptionError(
                expected="encoding (of a table) or classes (of other data), not both",
                received=f"encoding with {len(self.encoding.classes)} classes and classes={self.classes!r}",
                remedy="give the encoding alone: it holds the classes",
            )
        if self.image_size is not None and not _is_size(self.image_size):
            raise OptionError(
                expected="image_size=(height, width), two whole numbers from 1",
                received=f"image_size={self.image_size!r}",
                remedy="write for instance image_size=(64, 64)",
            )

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """The feature columns that a training before fixed; () where the file's own are taken."""
        return self.columns if self.encoding is None else self.encoding.columns

    @property
    def labels_required(self) -> bool:
        """Whether a file without labels is an error: it is not where the data are read to predict."""
        return not self.unlabelled and self.encoding is None

    @property
    def rows(self) -> str:
        """What messages call the rows that are not the source's own test part."""
        return "training data" if self.for_training else "data"

    @property
    def for_training(self) -> bool:
        """Whether the data define the classes themselves, so that at least two must be there."""
        return not self.unlabelled and self.encoding is None and self.classes is None


def _is_size(value: object) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) and side >= 1 for side in value)
    )
