"""Data: files, folders and named sets as checked arrays, ready to split and train on.

>>> from kilter.data import load, split
>>> source = load("digits")
>>> parts = split(source, validation=0.1, seed=0)
>>> len(parts.train), len(parts.validation), parts.train.input_shape
(1617, 180, (8, 8, 1))

``load`` reads any of ``FORMATS`` or ``NAMED_SETS`` into a ``Source``; ``split`` divides it, the same way on
every machine, and ``fold`` for cross-validation; ``moments`` computes the statistics for standardisation;
``describe`` summarises a source; ``check`` raises for data that cannot be trained on. ``stream`` is for data
larger than memory. Bad data raise ``kilter.errors.DataError``, which counts and names them. Nothing here
imports Keras or JAX, unless a named set comes from Keras. ``augmentation``, which needs JAX, and the readers
of files load on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kilter.data.checks import check
from kilter.data.dataset import Dataset, Source, Splits, Task
from kilter.data.encoding import Column, TableEncoding
from kilter.data.scaling import Moments, moments

if TYPE_CHECKING:
    from kilter.data import augmentation
    from kilter.data.folds import fold
    from kilter.data.loading import FORMATS, Format, load
    from kilter.data.named import NAMED_SETS
    from kilter.data.splitting import split
    from kilter.data.streaming import stream
    from kilter.data.summary import ClassCount, ColumnSummary, PartSummary, SourceSummary, describe

_HOMES = {
    "FORMATS": "kilter.data.loading",
    "Format": "kilter.data.loading",
    "fold": "kilter.data.folds",
    "load": "kilter.data.loading",
    "NAMED_SETS": "kilter.data.named",
    "split": "kilter.data.splitting",
    "stream": "kilter.data.streaming",
    **dict.fromkeys(
        ("ClassCount", "ColumnSummary", "PartSummary", "SourceSummary", "describe"), "kilter.data.summary"
    ),
}

__all__ = [
    "FORMATS",
    "NAMED_SETS",
    "ClassCount",
    "Column",
    "ColumnSummary",
    "Dataset",
    "Format",
    "Moments",
    "PartSummary",
    "Source",
    "SourceSummary",
    "Splits",
    "TableEncoding",
    "Task",
    "augmentation",
    "check",
    "describe",
    "fold",
    "load",
    "moments",
    "split",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name == "augmentation":
        return importlib.import_module("kilter.data.augmentation")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'kilter.data' has no attribute {name!r}")
