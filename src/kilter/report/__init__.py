"""The report of a run: one HTML file that needs nothing beside it."""

from kilter.report.page import write_report

__all__ = ["write_report"]
