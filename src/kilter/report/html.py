"""Fills in the templates: self-contained pages, with everything from the user escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs


def fill(template: str, *, drawn: bool, **content: Any) -> str:
    """The page from a template of this package; `drawn` says whether it has plots, which need a script."""
    # Autoescaping is on for every template, whatever its name.
    environment = Environment(
        loader=PackageLoader("kilter.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # Only plotly's script is not escaped: it comes from the package, not from the run.
    return environment.get_template(template).render(plotly=get_plotlyjs(), drawn=drawn, **content)
