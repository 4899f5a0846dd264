"""The score of a run: by which measure, and what it was."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from kilter._compare.comparison import PairedRun
from kilter.errors import OptionError
from kilter.runs.best_epoch import direction_of
from kilter.runs.reading import RunRecords

# What the parts of the data are called in the names of measures.
PREFIXES: Final = {"validation": "val_", "test": "test_"}


def measures(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of all measures, of what is measured on each part of the data.

    Example:
        >>> measures({"validation": ["loss", "accuracy"], "test": ["loss"]})
        ['val_loss', 'val_accuracy', 'test_loss']
    """
    return [PREFIXES[part] + name for part, names in parts.items() for name in names]


def measures_of(records: RunRecords) -> list[str]:
    """The measures that a finished run can be scored by."""
    evaluations = records.result.evaluations if records.result else {}
    if evaluations:
        return measures({part: one.metrics for part, one in evaluations.items()})
    return [name for name in (records.history[0].logs if records.history else ()) if name.startswith("val_")]


def choose_metric(asked: str | None, known: Sequence[str]) -> str:
    """The metric that was `asked` for, if it is one of those `known`, or the usual one where nobody asked.

    The usual one is the first on validation data of which more is better, such as the accuracy, else
    val_rmse, else val_loss. Raises :class:`OptionError` for one that is not measured.

    Example:
        >>> choose_metric(None, ["val_loss", "val_accuracy"]), choose_metric(None, ["val_loss", "val_mae"])
        ('val_accuracy', 'val_loss')
    """
    if asked is None:
        usual = [name for name in known if name.startswith("val_") and direction_of(name) == "max"]
        return next((name for name in [*usual, "val_rmse"] if name in known), "val_loss")
    if asked in known:
        return asked
    near = difflib.get_close_matches(asked, known, n=1)
    raise OptionError(
        expected=f"a metric of those that are measured: {', '.join(known)}",
        received=f"metric={asked!r}",
        remedy=f"did you mean {near[0]!r}?" if near else "take one of them",
    )


def paired_run(records: RunRecords, seed: int, metric: str) -> PairedRun:
    """A finished run with its score: the metric of its best weights, NaN where no epoch was finite."""
    result = records.result
    assert result is not None, "only finished runs are scored"
    return PairedRun(
        seed=seed,
        score=_score(records, metric),
        best_epoch=result.best_epoch,
        seconds=result.seconds,
        history=tuple(line.logs for line in records.history),
        path=str(records.path),
    )


def _score(records: RunRecords, metric: str) -> float:
    result = records.result
    if result is None or result.best_epoch is None:
        return math.nan
    for part, prefix in PREFIXES.items():
        if metric.startswith(prefix) and part in result.evaluations:
            return result.evaluations[part].metrics[metric.removeprefix(prefix)]
    best = next(line for line in records.history if line.epoch == result.best_epoch)
    return best.logs[metric]
