"""Templates filled in: one self-contained page, everything that comes from the user escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs


def fill(template: str, *, drawn: bool, **content: Any) -> str:
    """The page of a template of this package; `drawn` is whether it has pictures, which need a script."""
    # Autoescaping is on for every template, whatever its name.
    environment = Environment(
        loader=PackageLoader("kilter.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # get_plotlyjs is the one text that is not escaped: it comes with the package, not with the run.
    return environment.get_template(template).render(plotly=get_plotlyjs(), drawn=drawn, **content)
