"""Reports of runs, comparisons and treatments: one self-contained HTML file each.

Names load on first use, so that a figure of one record does not load the pages of all others.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilter.report.comparison import write_comparison
    from kilter.report.page import write_report
    from kilter.report.treatment import write_treatment

__all__ = ["write_comparison", "write_report", "write_treatment"]

_WHERE = {"write_comparison": "comparison", "write_report": "page", "write_treatment": "treatment"}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'kilter.report' has no attribute {name!r}")
    return getattr(importlib.import_module(f"kilter.report.{_WHERE[name]}"), name)
