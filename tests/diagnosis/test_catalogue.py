"""The catalogue of findings, and its table in the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kilter._diagnosis.catalogue import CATALOGUE, finding

PAGE = Path(__file__).resolve().parents[2] / "docs" / "diagnosis.md"


def lines() -> list[str]:
    """The table of codes as docs/diagnosis.md has it."""
    rows = [
        f"| {one.family} | `{code}` | {one.title} | {', '.join(one.remedies) or 'none'} | {one.reference} |"
        for code, one in CATALOGUE.items()
    ]
    return ["| Found in | Code | What it is | Remedies | Reference |", "|---|---|---|---|---|", *rows]


def test_the_docs_list_every_code():
    page = PAGE.read_text(encoding="utf-8").splitlines()
    page = page[page.index("## The findings") :]
    assert [line for line in page if line.startswith("|")] == lines()


def test_a_finding_fills_the_gaps_of_its_explanation():
    found = finding("leaky-slope", "severe", ["relu_1"], slope=2.0)
    assert "A negative slope of 2 makes relu_1 linear" in found.explanation
    assert (found.remedies, found.where) == (("replace-activation",), ("relu_1",))
    with pytest.raises(KeyError):
        finding("leaky-slope", "severe", ["relu_1"])
    with pytest.raises(KeyError):
        finding("no-such-code", "note", [])
