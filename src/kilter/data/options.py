"""The options of load(), as the record that readers take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kilter._validation import is_whole
from kilter.data.encoding import Column, TableEncoding
from kilter.data.precision import Shift
from kilter.errors import OptionError

KINDS = ("number", "category", "date", "ignore")


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
    ignore: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)

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
        wrong = {name: kind for name, kind in self.kinds.items() if kind not in KINDS}
        if wrong:
            raise OptionError(
                expected=f"kinds of columns among {', '.join(KINDS)}",
                received=", ".join(f"{name}={kind!r}" for name, kind in wrong.items()),
                remedy="write for instance kinds={'zip': 'category'}",
            )
        size = self.image_size
        if size is not None and not (
            isinstance(size, tuple) and len(size) == 2 and all(is_whole(side, 1) for side in size)
        ):
            raise OptionError(
                expected="image_size=(height, width), two whole numbers from 1",
                received=f"image_size={self.image_size!r}",
                remedy="write for instance image_size=(64, 64)",
            )

    @property
    def known_columns(self) -> tuple[Column, ...]:
        """The feature columns of an earlier training; () if the file's own are used."""
        return self.columns if self.encoding is None else self.encoding.columns

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
