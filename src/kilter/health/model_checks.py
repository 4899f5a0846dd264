"""All that can be said of a model and its compilation before training, one family of checks."""

from __future__ import annotations

from collections.abc import Callable

from kilter.health import (
    initializer_checks,
    norm_checks,
    optimizer_checks,
    output_checks,
    restraint_checks,
    stack_checks,
)
from kilter.health.context import Context
from kilter.records import Finding

CHECKS: tuple[Callable[[Context], list[Finding]], ...] = (
    *output_checks.CHECKS,
    *initializer_checks.CHECKS,
    *stack_checks.CHECKS,
    *restraint_checks.CHECKS,
    *norm_checks.CHECKS,
    *optimizer_checks.CHECKS,
)
