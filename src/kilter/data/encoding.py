"""How a table's columns become features: the record of a training run, as JSON."""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from kilter._validation import STRICT, errors_as, record_from_json
from kilter.data.precision import Shift, require_usable
from kilter.errors import DataError

if TYPE_CHECKING:
    from kilter._array_types import Numbers

FORMAT_VERSION = 6
# Version 1 had no center and no scale; version 2 no dates, and missing values were errors; version 3 no
# compressed numbers, groups, texts and ranges; version 4 no mark and unit;
# version 5 no separator.
_READABLE = (1, 2, 3, 4, 5, 6)
Kind = Literal["number", "category", "date", "text"]


@dataclass(frozen=True)
class Column:
    """One column of a table: a number, a category that becomes one-hot, a date or a text of several numbers.

    Attributes:
        categories: of a category; of a text the words that are counted, () if words are hashed.
        center, scale: a number is stored as ``(value - center) / scale``: unchanged unless float32 would lose
            differences. A date counts days from the day ``center``, itself counted from 1970-01-01.
        fill: what replaces a missing number: the median of training; days for a date. None: an error.
        indicator: whether a further feature is 1 where the value is missing, as some were in training.
        pattern: of a date written as text, in strftime's terms; "" for a column of dates or times.
        has_time: whether a date has a time of day.
        compressed: whether a number is stored as the inverse hyperbolic sine of the above, like a logarithm.
        rare: categories that share one feature, as do those that training did not have.
        low, high: the range of a number or date (days) in training. None: not known.
        signs: entries that the user declared to mean "missing".
        buckets: the number of features that the words of a text are hashed into; 0: they are counted.
        mark, unit: of numbers written as text, the decimal mark and the unit after them.
        separator: between the categories of one entry, each of which has a feature; "": an entry is one.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    center: int | float = 0
    scale: float = 1.0
    fill: float | None = None
    indicator: bool = False
    pattern: str = ""
    has_time: bool = False
    compressed: bool = False
    rare: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    signs: tuple[str, ...] = ()
    buckets: int = 0
    mark: str = ""
    unit: str = ""
    separator: str = ""
    __pydantic_config__ = STRICT

    @property
    def shift(self) -> Shift:
        """How the column's numbers are stored, before they are compressed."""
        return Shift(self.center, self.scale)

    def stored(self, values: "Numbers") -> "Numbers":
        """The feature, float64, of a column's numbers; NaN stays NaN."""
        shifted = self.shift.apply(values)
        return np.arcsinh(shifted) if self.compressed else shifted

    def restored(self, stored: float) -> float:
        """The number that is stored as ``stored``."""
        return self.shift.undo(math.sinh(stored) if self.compressed else stored)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the column's features: its own, ``name=category`` for each, the parts of a date, words."""
        if self.kind == "number":
            names = (self.name,)
        elif self.kind == "date":
            names = tuple(f"{self.name} {part}" for part in date_parts(has_time=self.has_time))
        elif self.kind == "text":
            words = self.categories or range(1, self.buckets + 1)
            names = tuple(f"{self.name}: {word}" for word in words)
        else:
            names = tuple(f"{self.name}={category}" for category in self.categories)
            names += (f"{self.name} other",) if self.rare else ()
        return (*names, f"{self.name} missing") if self.indicator else names


def date_parts(*, has_time: bool) -> tuple[str, ...]:
    """The features of a date: elapsed days, the year, and what repeats, as sine and cosine."""
    repeating = ("month", "weekday", "hour") if has_time else ("month", "weekday")
    return ("days", "year", *(f"{part} {wave}" for part in repeating for wave in ("sin", "cos")))


@dataclass(frozen=True)
class TableEncoding:
    """Column order, categories, target, classes and task of a table, as found in training.

    A new file read with it has the same features in the same order: extra columns are ignored, an absent
    column counts as missing, missing values are filled as in training, and an unknown category is among the
    rare ones, or has only zeros in the one-hot columns. ``ids``: columns that name the rows, which are no
    features but stand beside the answers. ``signs``: entries of the target that mean "missing". ``unused``:
    all other columns of the training table, those of ``ids`` among them.
    """

    columns: tuple[Column, ...]
    target: str
    task: Literal["classification", "regression"]
    classes: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    __pydantic_config__ = STRICT

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names in the order of the columns of x."""
        return tuple(feature for column in self.columns for feature in column.features)

    def to_json(self) -> str:
        """The encoding as JSON text that :meth:`from_json` reads back to an equal record."""
        return json.dumps({"version": FORMAT_VERSION, **asdict(self)}, ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> "TableEncoding":
        """Read what :meth:`to_json` wrote. Raises DataError for anything else.

        Example:
            >>> encoding = TableEncoding((Column("age", "number"),), "paid", "classification", ("no", "yes"))
            >>> TableEncoding.from_json(encoding.to_json()) == encoding
            True
        """
        with errors_as(
            DataError,
            *(ValueError, TypeError, KeyError, AttributeError, RecursionError),
            expected="a table encoding as kilter wrote it in training",
            remedy="use the encoding file of the run directory, unchanged",
        ):
            version = json.loads(text)["version"]
            if version not in _READABLE:
                raise ValueError(f"version={version}, this kilter reads version {FORMAT_VERSION}")
            found = record_from_json(cls, text)
            for column in found.columns:
                require_usable(column.shift)
            return found
