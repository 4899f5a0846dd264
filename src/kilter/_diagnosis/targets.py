"""Facts about targets: class numbers, one-hot rows, or quantities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from kilter._models.layers import OutputFacts

# More distinct whole numbers than this are counts or quantities, not classes.
_MOST_CLASSES: Final = 100
_FEW_CLASSES: Final = 10
_ROWS_A_CLASS: Final = 5


@dataclass(frozen=True)
class TargetFacts:
    """Facts about finite targets, rows first.

    Attributes:
        width: numbers per row; 1 for shape (n,) and (n, 1).
        low, high: the range.
        whole: whether all are whole numbers.
        one_hot: whether each row has a single 1 and otherwise 0, in two or more columns.
        shares: whether rows are non-negative and sum to 1, in two or more columns, as one-hot rows are.
        classes: the number of classes, for whole numbers from 0 without gaps and one-hot rows; otherwise 0.
    """

    width: int
    low: float
    high: float
    whole: bool
    one_hot: bool
    shares: bool
    classes: int

    @property
    def kind(self) -> str:
        """The targets as text, for messages."""
        if self.one_hot:
            return f"one-hot rows of {self.width} columns"
        if self.shares:
            return f"probabilities of {self.width} classes"
        numbers = "whole numbers" if self.whole else "numbers"
        rows = "" if self.width == 1 else f"rows of {self.width} "
        return f"{rows}{numbers} from {self.low:g} to {self.high:g}"


def target_facts(targets: np.ndarray | None) -> TargetFacts | None:
    """The facts of ``targets``; None without targets, for text, and if a number is not finite."""
    if targets is None or targets.dtype.kind not in "fiub" or targets.size == 0:
        return None
    rows = targets.reshape(len(targets), -1)
    if not np.all(np.isfinite(rows)):
        return None
    width, low, high = rows.shape[1], float(rows.min()), float(rows.max())
    whole = bool(np.all(rows == np.round(rows)))
    shares = width > 1 and low >= 0 and bool(np.allclose(rows.sum(axis=1, dtype=np.float64), 1, atol=1e-3))
    one_hot = shares and whole
    return TargetFacts(width, low, high, whole, one_hot, shares, _classes(rows, whole, one_hot))


def _classes(rows: np.ndarray, whole: bool, one_hot: bool) -> int:
    if one_hot:
        return rows.shape[1]
    if rows.shape[1] != 1 or not whole:
        return 0
    found = np.unique(rows)
    gapless = found[0] == 0 and found[-1] == len(found) - 1
    few = 2 <= len(found) <= _MOST_CLASSES and len(found) * _ROWS_A_CLASS <= max(len(rows), 10)
    return len(found) if gapless and few else 0


def labels(targets: np.ndarray | None) -> np.ndarray | None:
    """The class number of each row, int [n]; None if the targets are not classes."""
    facts = target_facts(targets)
    if facts is None or targets is None:
        return None
    rows = targets.reshape(len(targets), -1)
    if facts.one_hot:
        return rows.argmax(axis=1)
    return rows[:, 0].astype(np.int64) if facts.classes else None


def ordered_classes(output: OutputFacts) -> int:
    """How many classes one unit gives an order, although their accuracy is compiled; 0 for no such output."""
    facts = target_facts(output.targets) if output.accuracy and output.units == 1 else None
    return facts.classes if facts is not None and 2 < facts.classes <= _FEW_CLASSES else 0


def are_shares(targets: np.ndarray) -> bool:
    """Whether numbers sum to 1 along the last axis, as one-hot rows do: several labels a row do not."""
    wide = targets.ndim > 1 and targets.shape[-1] > 1
    return wide and bool(np.allclose(targets.sum(axis=-1, dtype=np.float64), 1, atol=1e-3))


def are_inputs(inputs: Sequence[np.ndarray], targets: np.ndarray) -> bool:
    """Whether targets are the inputs, or these with noise, as an autoencoder's are.

    Simple learners copy them, which says nothing about what a network with a bottleneck can reach: the inputs
    explain at least half of the targets' variance.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(50, 4))
        >>> are_inputs([x + 0.1], x), are_inputs([x], x[:, ::-1]), are_inputs([x], x[:, :1])
        (True, False, False)
    """
    if len(inputs) != 1 or inputs[0].shape != targets.shape or inputs[0][:1].size < 2:
        return False
    if inputs[0].dtype.kind not in "fiub" or targets.dtype.kind not in "fiub":
        return False
    given, wanted = inputs[0].astype(np.float64), targets.astype(np.float64)
    return bool(np.square(given - wanted).mean() <= 0.5 * wanted.var(axis=0).mean())
