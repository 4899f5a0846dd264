"""The report of a run, of a comparison or of a treatment: one HTML file that needs nothing beside it."""

from kilter.report.comparison import write_comparison
from kilter.report.page import write_report
from kilter.report.treatment import write_treatment

__all__ = ["write_comparison", "write_report", "write_treatment"]
