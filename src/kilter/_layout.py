"""Text layout for a width: lines broken between words, and tables that fit or stack."""

import os
import re
import shutil
from collections.abc import Sequence
from typing import Final, TextIO

from kilter._text import printable

Cell = str | Sequence[str]
"""A table cell: a text, or several, each on a new line."""

_GAP: Final = "  "
_UNITS: Final = "%|s|ms|min|h|bytes|[kKMGT]i?B"
_BEFORE_UNIT: Final = re.compile(rf"(?<=\d) (?=(?:{_UNITS})(?!\w))")
_NO_BREAK: Final = "\N{NO-BREAK SPACE}"


def columns(stream: TextIO) -> int | None:
    """The width of ``stream``: ``$COLUMNS``, or that of its terminal; None for any width."""
    asked = os.environ.get("COLUMNS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return shutil.get_terminal_size().columns if stream.isatty() else None


def unbroken(text: str) -> str:
    """``text`` with a no-break space between each number and its unit.

    Example:
        >>> unbroken("18.3 % in 2 min 5 s, 3 shares").replace("\N{NO-BREAK SPACE}", "~")
        '18.3~% in 2~min 5~s, 3 shares'
    """
    return _BEFORE_UNIT.sub(_NO_BREAK, text)


def wrapped(text: str, width: int | None, *, indent: str = "") -> list[str]:
    """``text`` in lines of at most ``width``, later ones indented by ``indent``; None keeps a single line.

    Lines break at double spaces if there are any, which keeps a name next to its value; otherwise they break
    between words, but not between a number and its unit. A word wider than a line gets its own line.

    Example:
        >>> wrapped("epoch 1/2  loss 0.2500  val_loss 0.5000", 24, indent="    ")
        ['epoch 1/2  loss 0.2500', '    val_loss 0.5000']
    """
    if width is None or len(text) <= width:
        return [text]
    lines: list[str] = []
    line = ""
    for gap, unit in _units(text, width - len(indent)):
        start = line if line else (indent if lines else "")
        if line and len(start + gap + unit) > width:
            lines.append(line)
            start, gap = indent, ""
        line = start + (gap if line else "") + unit
    return [one.replace(_NO_BREAK, " ") for one in (*lines, line)]


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    right: Sequence[int] = (),
    width: int | None = None,
) -> list[str]:
    """Rows in aligned columns, those in ``right`` right-aligned, without control characters.

    In a table wider than ``width`` cells are broken between words. If that is not enough, each row becomes a
    paragraph, with a line for each column after its heading.

    Example:
        >>> table(["name", "rows"], [["train", "1617"], ["test", "90"]], right=[1])
        ['name   rows', 'train  1617', 'test     90']
        >>> table(["name", "what it is"], [["train", "rows to learn from"]], width=20)
        ['name   what it is', 'train  rows to learn', '       from']
        >>> table(["name", "what it is"], [["train", "rows to learn from"]], width=11)
        ['name: train', '  what it', '    is:', '    rows to', '    learn', '    from']
    """
    cells = [[_texts(cell) for cell in row] for row in (headings, *rows)]
    widths = _widths(cells, width)
    if widths is None:
        assert width is not None
        return _stacked(cells, width)
    return [line for row in cells for line in _row(row, widths, right)]


def _row(row: Sequence[list[str]], widths: Sequence[int], right: Sequence[int]) -> list[str]:
    """One row of a table, in as many lines as its tallest cell."""
    broken = [
        [line for text in cell for line in wrapped(text, width)]
        for cell, width in zip(row, widths, strict=True)
    ]
    lines: list[str] = []
    for number in range(max(map(len, broken))):
        parts = [cell[number] if number < len(cell) else "" for cell in broken]
        padded = [
            part.rjust(width) if place in right else part.ljust(width)
            for place, (part, width) in enumerate(zip(parts, widths, strict=True))
        ]
        lines.append(_GAP.join(padded).rstrip())
    return lines


def _widths(cells: Sequence[Sequence[list[str]]], width: int | None) -> list[int] | None:
    """The width of each column; None if the longest words do not fit side by side."""
    every = list(zip(*cells, strict=True))
    wanted = [max(len(text) for cell in column for text in cell) for column in every]
    least = [max(_longest_word(text) for cell in column for text in cell) for column in every]
    room = sum(wanted) if width is None else width - len(_GAP) * (len(wanted) - 1)
    if sum(wanted) <= room:
        return wanted
    if sum(least) > room:
        return None
    widths, left = least, room - sum(least)
    # The rest goes first to the columns that need least of it, which then need no breaks.
    waiting = sorted(range(len(widths)), key=lambda place: wanted[place] - widths[place])
    for number, place in enumerate(waiting):
        more = min(wanted[place] - widths[place], left // (len(waiting) - number))
        widths[place] += more
        left -= more
    return widths


def _stacked(cells: Sequence[Sequence[list[str]]], width: int) -> list[str]:
    """Each row as a paragraph: a line for each column, all but the first indented."""
    headings = [" ".join(heading) for heading in cells[0]]
    lines: list[str] = []
    for row in cells[1:]:
        for place, (heading, cell) in enumerate(zip(headings, row, strict=True)):
            if not any(cell):
                continue
            indent, name = _GAP if place else "", f"{heading}: " if heading else ""
            text = f"{indent}{name}{', '.join(cell)}".rstrip()
            if len(text) <= width or len(cell) == 1:
                lines += wrapped(text, width, indent=indent + _GAP)
                continue
            lines += wrapped(f"{indent}{name}".rstrip(), width)
            for one in cell:
                lines += wrapped(indent + _GAP + one, width, indent=indent + 2 * _GAP)
    return [line for line in lines if line.strip()]


def _texts(cell: Cell) -> list[str]:
    """The lines of a cell, at least one."""
    return [printable(text) for text in ([cell] if isinstance(cell, str) else cell)] or [""]


def _longest_word(text: str) -> int:
    return max(map(len, unbroken(text).split(" ")))


def _units(text: str, width: int) -> list[tuple[str, str]]:
    """Unbreakable units, each with the spaces before it: groups between double spaces, or words."""
    pieces = re.split(r"(  +)", unbroken(text))
    units: list[tuple[str, str]] = []
    for gap, group in zip(["", *pieces[1::2]], pieces[::2], strict=True):
        words = [group] if len(group) <= width and len(pieces) > 1 else group.split(" ")
        for number, word in enumerate(words):
            units.append((gap if number == 0 else " ", word))
    # Leading spaces are an indentation: they stay with the first word.
    if len(units) > 1 and not units[0][1]:
        units[:2] = [("", units[1][0] + units[1][1])]
    return units
