"""How a model's measures on a part of the data are printed."""

from __future__ import annotations

import math
from typing import Final

from kilter._cli.output import say, say_table
from kilter._text import measures, number
from kilter.runs.records import Evaluation

_FURTHER: Final = "    "  # before the further lines of a long one
CLASSES: Final = 10  # of more, those with the lowest recall are shown


def say_evaluation(name: str, found: Evaluation) -> None:
    """Print loss and measures, remarks, a constant prediction's measures, and the results of each class."""
    say(f"{name}: {found.rows} row{'s' * (found.rows != 1)}  {measures(found.metrics)}", indent=_FURTHER)
    for remark in found.remarks:
        say(f"{name}: {remark}", indent=_FURTHER)
    if found.constant:
        answer = "most frequent class" if found.per_class else "median"
        say(f"  always the {answer}: {measures(found.constant)}", indent=_FURTHER)
    shown = found.per_class
    if len(shown) > CLASSES:
        shown = sorted(shown, key=lambda one: (math.isnan(one.recall), one.recall))[:CLASSES]
    rows = [
        ("  " + one.name, str(one.rows), str(one.found), _share(one.precision), _share(one.recall))
        for one in shown
    ]
    if rows:
        say_table(("  class", "rows", "correct", "precision", "recall"), rows, right=(1, 2, 3, 4))
    if len(shown) < len(found.per_class):
        say(f"  and {len(found.per_class) - len(shown)} more classes, with higher recall")


def _share(value: float) -> str:
    return "-" if math.isnan(value) else number(value)
