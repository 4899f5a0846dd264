"""The report of a run or of a comparison: one HTML file that needs nothing beside it."""

from kilter.report.comparison import write_comparison
from kilter.report.page import write_report

__all__ = ["write_comparison", "write_report"]
