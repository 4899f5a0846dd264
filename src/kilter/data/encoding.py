"""How a table's columns become features: the record of a training, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from kilter._validation import errors_as
from kilter.data.precision import Shift, shift_from
from kilter.errors import DataError

FORMAT_VERSION = 2
# Version 1 had no center and no scale.
_READABLE = (1, 2)


@dataclass(frozen=True)
class Column:
    """One column of a table: a number, or a category that becomes one-hot.

    A number is stored as ``(value - center) / scale``: unchanged unless float32 would lose differences.
    """

    name: str
    kind: Literal["number", "category"]
    categories: tuple[str, ...] = ()
    center: int | float = 0
    scale: float = 1.0

    @property
    def shift(self) -> Shift:
        """How the column's numbers are stored."""
        return Shift(self.center, self.scale)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the column's features: its own, or ``name=category`` for each category."""
        if self.kind == "number":
            return (self.name,)
        return tuple(f"{self.name}={category}" for category in self.categories)


@dataclass(frozen=True)
class TableEncoding:
    """Column order, categories, target, classes and task of a table, as found in training.

    A new file read with it has the same features in the same order: extra columns are ignored, a missing
    column is an error, and an unknown category has only zeros in the one-hot columns.
    """

    columns: tuple[Column, ...]
    target: str
    task: Literal["classification", "regression"]
    classes: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """Feature names in the order of the columns of x."""
        return tuple(feature for column in self.columns for feature in column.features)

    def to_json(self) -> str:
        """The encoding as JSON text that :meth:`from_json` reads back to an equal record."""
        return json.dumps({"version": FORMAT_VERSION, **asdict(self)}, ensure_ascii=False, indent=2)

    @classmethod
    def from_json(cls, text: str) -> TableEncoding:
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
    return TableEncoding(columns, _text(content["target"]), task, _texts(content["classes"]))


def _column(entry: dict[str, Any]) -> Column:
    kind, shift = _one_of(entry["kind"], "number", "category"), shift_from(entry)
    return Column(_text(entry["name"]), kind, _texts(entry["categories"]), shift.center, shift.scale)


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
