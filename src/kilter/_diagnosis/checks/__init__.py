"""All checks. A new one is a function in one of these modules, listed in that module's ``CHECKS``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from kilter._diagnosis.checks import (
    alignment,
    architecture,
    attention,
    coverage,
    curves,
    data,
    distinct,
    dynamics,
    endings,
    generative,
    ids,
    initializers,
    losses,
    mixing,
    modes,
    normalization,
    optimizer,
    output,
    padding,
    pairs,
    pictures,
    probe,
    recurrent,
    scales,
    singular,
    speed,
    splits,
    steps,
    training,
    updates,
)
from kilter._diagnosis.context import Check

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "data": (
        *data.CHECKS,
        *distinct.CHECKS,
        *ids.CHECKS,
        *scales.CHECKS,
        *splits.CHECKS,
        *pairs.DATA,
        *alignment.DATA,
    ),
    "model": (
        *output.CHECKS,
        *initializers.CHECKS,
        *architecture.CHECKS,
        *normalization.CHECKS,
        *modes.CHECKS,
        *optimizer.CHECKS,
        *endings.MODEL,
        *updates.MODEL,
        *pictures.CHECKS,
        *alignment.MODEL,
        *generative.MODEL,
        *recurrent.CHECKS,
        *attention.MODEL_CHECKS,
        *coverage.CHECKS,
    ),
    "probe": (
        *probe.CHECKS,
        *endings.PROBE,
        *singular.PROBE,
        *losses.CHECKS,
        *mixing.CHECKS,
        *pairs.CHECKS,
        *generative.PROBE,
        *updates.PROBE,
        *steps.CHECKS,
        *padding.CHECKS,
        *attention.CHECKS,
    ),
    "training": (
        *singular.CHECKS,
        *training.CHECKS,
        *dynamics.CHECKS,
        *curves.CHECKS,
        *generative.TRAINING,
        *speed.CHECKS,
    ),
}
"""The checks by what they look at, in the order in which they run."""
