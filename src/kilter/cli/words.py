"""Numbers and foreign text as the command line prints them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence


def printable(text: str) -> str:
    """``text`` with every control character written out, so that data cannot steer the terminal.

    Example:
        >>> printable("a\\x1b[31mred")
        'a\\\\x1b[31mred'
    """
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def number(value: float) -> str:
    """``value`` in four significant digits, or in words where it is not finite.

    Example:
        >>> number(0.123456), number(12345.6), number(float("nan"))
        ('0.1235', '12346', 'nan')
    """
    if not math.isfinite(value):
        return str(value)
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def measures(logs: Mapping[str, float]) -> str:
    """The measures of an epoch on a line: while training, of the training rows apart, of validation.

    The loss stands before the others.

    Example:
        >>> measures({"accuracy": 0.9, "loss": 0.5, "train_loss": 0.625, "val_loss": 0.75})
        'loss 0.5000  accuracy 0.9000  train_loss 0.6250  val_loss 0.7500'
    """
    groups = ("", "train_", "val_")
    ordered = sorted(
        logs,
        key=lambda name: (
            max(place for place, group in enumerate(groups) if name.startswith(group)),
            name not in [f"{group}loss" for group in groups],
        ),
    )
    return "  ".join(f"{printable(name)} {_fixed(logs[name])}" for name in ordered)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Rows in aligned columns, a line each, those in ``right`` flush right, without control characters.

    Example:
        >>> table(["name", "rows"], [["train", "1617"], ["test", "90"]], right=[1])
        ['name   rows', 'train  1617', 'test     90']
    """
    cells = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    return [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]


def _fixed(value: float) -> str:
    """Four decimals, so that epochs stand under each other; an exponent for the very small or large."""
    if not math.isfinite(value) or value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4f}"
    return f"{value:.3e}"
