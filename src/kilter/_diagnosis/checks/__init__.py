"""All checks. A new one is a function ``check_...`` in one of these modules.

A module whose checks look at different things lists them by these.
"""

from collections.abc import Mapping
from typing import Final

from kilter._diagnosis.checks import (
    alignment,
    architecture,
    attention,
    both_sides,
    coverage,
    data,
    distinct,
    dynamics,
    endings,
    generative,
    ids,
    initializers,
    losses,
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
from kilter._diagnosis.context import Check, checks_in

CHECKS: Final[Mapping[str, tuple[Check, ...]]] = {
    "data": (
        *checks_in(data, distinct, ids, scales, splits, both_sides),
        *pairs.DATA,
        *alignment.DATA,
    ),
    "model": (
        *checks_in(output, initializers, architecture, normalization),
        *modes.MODEL,
        *checks_in(optimizer),
        *endings.MODEL,
        *updates.MODEL,
        *checks_in(pictures),
        *alignment.MODEL,
        *generative.MODEL,
        *checks_in(recurrent),
        *attention.MODEL,
        *checks_in(coverage),
    ),
    "probe": (
        *checks_in(probe),
        *endings.PROBE,
        *singular.PROBE,
        *checks_in(losses),
        *modes.PROBE,
        *pairs.PROBE,
        *generative.PROBE,
        *updates.PROBE,
        *checks_in(steps, padding),
        *attention.PROBE,
    ),
    "training": (
        *singular.TRAINING,
        *checks_in(training, dynamics),
        *generative.TRAINING,
        *checks_in(speed),
    ),
}
"""The checks by what they look at, in the order in which they run."""
