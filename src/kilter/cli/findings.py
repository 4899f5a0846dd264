"""Findings as the terminal shows them: a table of what was seen, then what each one means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from kilter.cli.words import number, printable
from kilter.records import SEVERITIES, Diagnosis, Evidence, Finding

_STYLES: Final = {"severe": "bold red", "warning": "yellow", "note": "dim"}
_MOST_PLACES: Final = 4  # of a finding in forty layers the first tell where to look


def findings_table(findings: Sequence[Finding]) -> Table:
    """A row for each finding: severity, code, where, evidence, and the remedies in the order to try them."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in ("severity", "code", "where", "evidence", "what to do"):
        # Codes are searched for and copied: they stay whole, however narrow the terminal is.
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("where", "evidence"))
    for one in findings:
        table.add_row(
            Text(one.severity, style=_STYLES[one.severity]),
            Text(one.code),
            Text(_places(one.where)),
            Text("\n".join(_seen(evidence) for evidence in one.evidence) or "-"),
            Text("\n".join(one.remedies) or "-"),
        )
    return table


def explained(findings: Sequence[Finding]) -> Iterator[str]:
    """A paragraph for each finding: what it means, and who says so."""
    for one in findings:
        yield printable(f"{one.code}: {one.explanation} ({one.reference})")


def verdict(diagnosis: Diagnosis) -> str:
    """How many findings there are of each severity, in a line.

    Example:
        >>> verdict(Diagnosis(()))
        'Nothing was found.'
    """
    if not diagnosis.findings:
        return "Nothing was found."
    counts = {severity: len(diagnosis.codes(severity)) for severity in SEVERITIES}
    return "found: " + ", ".join(f"{count} {severity}" for severity, count in counts.items() if count)


def _places(where: Sequence[str]) -> str:
    more = len(where) - _MOST_PLACES
    return printable(", ".join(where[:_MOST_PLACES]) + (f" and {more} more" if more > 0 else ""))


def _seen(evidence: Evidence) -> str:
    """What was seen, and in brackets the limit that it was held to."""
    value, limit = (
        number(one) if isinstance(one, int | float) else one for one in (evidence.value, evidence.threshold)
    )
    return printable(f"{evidence.name}: {value}" + ("" if limit is None else f" (limit {limit})"))
