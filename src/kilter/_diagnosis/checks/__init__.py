"""All checks. A new one is a function in one of these modules, listed in that module's ``CHECKS``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kilter._diagnosis.checks import (
    architecture,
    attention,
    curves,
    data,
    dynamics,
    initializers,
    normalization,
    optimizer,
    output,
    probe,
    recurrent,
    speed,
    steps,
    training,
)
from kilter._diagnosis.context import Check

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "data": data.CHECKS,
    "model": (
        *output.CHECKS,
        *initializers.CHECKS,
        *architecture.CHECKS,
        *normalization.CHECKS,
        *optimizer.CHECKS,
        *recurrent.CHECKS,
        *attention.MODEL_CHECKS,
    ),
    "probe": (*probe.CHECKS, *steps.CHECKS, *attention.CHECKS),
    "training": (*training.CHECKS, *dynamics.CHECKS, *curves.CHECKS, *speed.CHECKS),
}
"""The checks by what they look at, in the order in which they run."""
