"""The tables: the same rows as aligned text for a terminal and as Markdown to keep."""

from __future__ import annotations

from collections.abc import Sequence

from bench.summary import Row, Spread

HEADINGS = (
    "peer",
    "s/epoch",
    "min–max",
    "n",
    "ratio",
    "min–max",
    "s/call",
    "compile s",
    "peak MiB",
    "GFLOP/s",
    "of limit",
    "loss",
)


def cells(row: Row) -> tuple[str, ...]:
    """A row's figures as text, a cell for each of :data:`HEADINGS`; a dash for a missing ratio."""
    return (
        f"{row.peer} ({row.note})" if row.note else row.peer,
        f"{row.seconds.median:.2f}",
        _between(row.seconds, 2),
        str(row.seconds.n),
        f"{row.ratio.median:.2f}×" if row.ratio else "–",
        _between(row.ratio, 2) if row.ratio else "–",
        f"{row.call_seconds:.2f}",
        f"{row.compile_seconds:.1f}",
        f"{row.peak_bytes / 2**20:.0f}",
        f"{row.flops_per_second / 1e9:.1f}",
        f"{row.share_of_peak:.0%}",
        f"{row.loss:.3f}",
    )


def text_table(rows: Sequence[Row]) -> str:
    """Columns aligned with spaces: the first to the left, figures to the right."""
    table = [HEADINGS, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADINGS))]
    lines = []
    for line in table:
        first, *rest = (
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        lines.append("  ".join((first, *rest)).rstrip())
    lines.insert(1, "─" * len(lines[0]))
    return "\n".join(lines)


def markdown_table(rows: Sequence[Row]) -> str:
    """A Markdown table with figures aligned to the right."""
    rule = ("---", *["---:"] * (len(HEADINGS) - 1))
    table = [HEADINGS, rule, *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in table)


def _between(values: Spread, digits: int) -> str:
    return f"{values.low:.{digits}f}–{values.high:.{digits}f}"
