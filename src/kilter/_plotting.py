"""Connects a record's ``plot()`` to its figure.

Figures are drawn in :mod:`kilter.report`, the only package that uses plotly. It is above the records, so it
loads only when a figure is requested: training loads no plotly.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
else:
    Figure = Any


def drawn(picture: str, *data: Any, **options: Any) -> Figure:
    """The figure that the function `picture` of ``kilter.report.figures`` draws from the data."""
    return getattr(importlib.import_module("kilter.report.figures"), picture)(*data, **options)
