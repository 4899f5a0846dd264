"""Ids that no row of an Embedding's table has: too large, negative, or real numbers."""

from __future__ import annotations

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._engine.arrays import collect
from kilter._engine.embedding_ids import IdCheck, WrongIds
from kilter._models.copying import FOREIGN_ERRORS
from kilter._records import Evidence, Finding
from kilter.errors import KilterError


def check_ids(context: Context) -> list[Finding]:
    """Every row is looked up as the model does it; certain, because such ids read NaN or another row."""
    check = IdCheck(context.model, "predict")
    if not check.needed:
        return []
    try:
        data = collect(context.x).data
        wrong = check.found(data, min(context.batch_size, context.rows), context.rows)
    except (KilterError, *FOREIGN_ERRORS):  # the probe reports what does not fit
        return []
    return [_finding(context, one) for one in wrong]


def _finding(context: Context, wrong: WrongIds) -> Finding:
    fractions = wrong.ids != np.floor(wrong.ids)
    kind, remedies = "whole numbers outside", ("fit-embedding",)
    if fractions.mean() > 0.5:
        kind, remedies = "real numbers, not ids", ("project-numbers",)
    elif (wrong.ids < 0).all():
        kind = "negative"
    elif (wrong.ids >= wrong.size).all():
        kind = "too large"
    examples = ", ".join(f"{one:g}" for one in list(dict.fromkeys(wrong.ids.tolist()))[:4])
    share = len(wrong.rows) / context.rows
    detail = f"{len(wrong.rows)} of {context.rows} rows have ids that are {kind} ({examples}), "
    detail += f"for the {wrong.size} rows (0 to {wrong.size - 1}) of {wrong.path}"
    evidence = [
        Evidence("share of rows with an id outside", share, 0.0, "ids are from 0 to input_dim - 1"),
        Evidence("smallest of the first wrong ids of the rows", float(wrong.ids.min())),
        Evidence("largest of them", float(wrong.ids.max()), wrong.size - 1),
    ]
    return finding("ids-outside-table", "severe", [wrong.path], evidence, remedies, detail=detail)


CHECKS = (check_ids,)
