"""Checks of regularisation so strong that it prevents learning: dropout rates and kernel penalties."""

from __future__ import annotations

from typing import Any

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._diagnosis.thresholds import Thresholds, seen
from kilter._models.layers import DROPOUTS
from kilter._records import Finding, Severity


def check_dropout(context: Context) -> list[Finding]:
    """Layers that drop most of their inputs."""
    rates = {one.path: float(one.layer.rate) for one in context.layers if isinstance(one.layer, DROPOUTS)}
    return _above(context.thresholds, rates, "dropout", "excessive-dropout", "dropout rate", "rate")


def check_penalty(context: Context) -> list[Finding]:
    """Kernels with large L1 or L2 penalties; custom regularisers are skipped."""
    factors = {one.path: penalty_factor(one.layer) for one in context.weighted}
    return _above(context.thresholds, factors, "penalty", "excessive-penalty", "penalty factor", "factor")


def penalty_factor(layer: Any) -> float:
    """The largest factor of a kernel's penalty; 0 without a penalty, and for custom regularisers."""
    penalty = getattr(layer, "kernel_regularizer", None)
    known = penalty is not None and type(penalty).__module__.startswith("keras.")
    factors = [getattr(penalty, name, 0.0) for name in ("l1", "l2")] if known else []
    return max((float(np.max(np.asarray(one))) for one in factors), default=0.0)


def _above(
    limits: Thresholds, values: dict[str, float], limit: str, code: str, name: str, word: str
) -> list[Finding]:
    """A finding about the layers above the limit, severe or a warning; none if all are below."""
    largest = max(values.values(), default=0.0)
    bands: tuple[tuple[str, Severity], ...] = ((limit, "severe"), (f"{limit}_warning", "warning"))
    for band, severity in bands:
        if largest > getattr(limits, band):
            where = [path for path, value in values.items() if value > getattr(limits, band)]
            words: dict[str, Any] = {word: largest}
            return [finding(code, severity, where, [seen(limits, band, name, largest)], **words)]
    return []


CHECKS = (check_dropout, check_penalty)
