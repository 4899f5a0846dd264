"""Checks of what makes a training slow, each with the measured share. They change no result."""

import numpy as np

from kilter._diagnosis.catalogue import finding
from kilter._diagnosis.context import Context
from kilter._records import Evidence, Finding
from kilter._system import in_bytes

_ADVICE = "Load arrays into memory, prepare batches in more workers, or cache what is computed for each row."
_COMPILED = 0.05  # seconds in an epoch that count as a compilation


def check_waiting(context: Context) -> list[Finding]:
    """A training run that waits for its data."""
    timing, limits = context.timing, context.thresholds
    if timing is None or timing.total < limits.slow_seconds:
        return []
    share = float(sum(timing.waiting) / timing.total)
    if share <= limits.waiting:
        return []
    evidence = [context.seen("waiting", "share of the time that waits for data", share)]
    words = {"share": share, "what": "waiting for the next batches", "advice": _ADVICE}
    return [finding("input-bound", "warning", ("data",), evidence, **words)]


def check_compiling(context: Context) -> list[Finding]:
    """Compilation that takes most of the time, or continues after the first epoch."""
    timing, limits = context.timing, context.thresholds
    if timing is None or timing.total < limits.slow_seconds:
        return []
    later = np.asarray(timing.compiling[1:])
    again = float(later.sum() / timing.total)
    if again > limits.recompiling and (later > _COMPILED).sum() >= 3:
        evidence = [
            context.seen("recompiling", "share of the time that compiles after the first epoch", again),
            Evidence("epochs after the first that compiled", int((later > _COMPILED).sum())),
        ]
        return [finding("recompiling", "warning", ("training",), evidence, share=again, seconds=timing.total)]
    share = float(sum(timing.compiling) / timing.total)
    if share <= limits.compiling:
        return []
    evidence = [context.seen("compiling", "share of the time that compiles", share)]
    return [finding("compile-bound", "note", ("training",), evidence, share=share, seconds=timing.total)]


def check_precision(context: Context) -> list[Finding]:
    """Weights in float64."""
    kinds = [str(one.dtype) for one in context.model.trainable_variables] if context.layers else []
    count = kinds.count("float64")
    if not count:
        return []
    evidence = [Evidence("float64 weights", count, 0, "float32 is enough to train")]
    return [finding("double-precision", "warning", ("training",), evidence, count=count, all=len(kinds))]


def check_batches(context: Context) -> list[Finding]:
    """Steps so short that starting them takes most of their time."""
    timing, limits = context.timing, context.thresholds
    if timing is None or not timing.work or timing.total < limits.slow_seconds or not timing.steps:
        return []
    seconds = float(np.median(timing.computing))
    each = seconds / timing.steps
    share = timing.work / limits.device_speed / max(each, 1e-9)
    if share >= limits.computing or context.batch_size >= 256 or timing.steps < 64:
        return []
    evidence = [context.seen("computing", "share of a step that computes", share)]
    words = {"steps": timing.steps, "seconds": seconds, "each": 1e3 * each, "share": share}
    return [finding("small-batches", "note", ("training",), evidence, **words)]


def check_memory(context: Context) -> list[Finding]:
    """Memory that grows from epoch to epoch; the first two epochs, which compile, do not count."""
    memory, limits = () if context.timing is None else context.timing.memory, context.thresholds
    later = np.asarray(memory[1:], dtype=np.float64)
    if len(later) < limits.least_epochs or later.min() <= 0:
        return []
    growth, rises = float(later[-1] - later[0]), float(np.mean(np.diff(later) > 0))
    half = float(later[-1] - later[len(later) // 2])
    # Caches fill early and then stay: a leak continues.
    if growth < limits.memory_growth * later[0] or rises < 0.8 or half < 0.3 * growth:
        return []
    evidence = [
        context.seen("memory_growth", "growth over what was held after two epochs", growth / later[0]),
        Evidence("share of epochs in which it grew", rises, 0.8),
    ]
    words = {"before": in_bytes(int(later[0])), "after": in_bytes(int(later[-1])), "epochs": len(memory)}
    return [finding("memory-growth", "warning", ("training",), evidence, **words)]
