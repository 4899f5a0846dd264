"""All that can be said of a model and its compilation before training, one family of checks."""

from __future__ import annotations

from collections.abc import Callable

from kilter._diagnosis.checks import (
    architecture,
    initializers,
    normalization,
    optimizer,
    output,
    regularization,
)
from kilter._diagnosis.context import Context
from kilter._records import Finding

CHECKS: tuple[Callable[[Context], list[Finding]], ...] = (
    *output.CHECKS,
    *initializers.CHECKS,
    *architecture.CHECKS,
    *regularization.CHECKS,
    *normalization.CHECKS,
    *optimizer.CHECKS,
)
