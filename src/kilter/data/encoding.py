"""How a table's columns become features: the record of a training run, as JSON."""

import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from kilter._validation import errors_as
from kilter.data.precision import Shift, shift_from
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
            return _from_mapping(json.loads(text))


def _from_mapping(content: dict[str, Any]) -> TableEncoding:
    if content["version"] not in _READABLE:
        raise ValueError(f"version={content['version']}, this kilter reads version {FORMAT_VERSION}")
    columns = tuple(map(_column, content["columns"]))
    task = _one_of(content["task"], "classification", "regression")
    classes = _texts(content["classes"])
    more = (_texts(content.get(key, [])) for key in ("ids", "signs", "unused"))
    return TableEncoding(columns, _text(content["target"]), task, classes, *more)


def _column(entry: dict[str, Any]) -> Column:
    shift = shift_from(entry)
    more: dict[str, Any] = {key: _finite(entry.get(key)) for key in ("fill", "low", "high")}
    more |= {key: bool(entry.get(key, False)) for key in ("indicator", "has_time", "compressed")}
    more |= {key: _text(entry.get(key, "")) for key in ("pattern", "mark", "unit", "separator")}
    more |= {key: _texts(entry.get(key, [])) for key in ("rare", "signs")}
    return Column(
        _text(entry["name"]),
        _one_of(entry["kind"], "number", "category", "date", "text"),
        _texts(entry["categories"]),
        shift.center,
        shift.scale,
        buckets=int(entry.get("buckets", 0)),
        **more,
    )


def _finite(value: Any) -> float | None:
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError(f"{value!r} is not a finite number")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _texts(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise TypeError(f"{values!r} is not a list")
    return tuple(_text(value) for value in values)


def _one_of(value: Any, *allowed: str) -> Any:
    if value not in allowed:
        raise ValueError(f"{value!r} is none of {', '.join(allowed)}")
    return value
