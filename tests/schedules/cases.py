"""Every schedule with its closed form in NumPy, in float64, and the value it ends with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kilter import schedules

STEPS = 120


@dataclass(frozen=True)
class Case:
    """``ends`` is the exact value from step ``last`` on; None for a rate that tends to 0 and never ends."""

    make: Callable[[], schedules.Schedule]
    rate: Callable[[np.ndarray], np.ndarray]
    ends: float | None
    last: int = STEPS


def cycle(peak: float, last: int, first: float = 0.1, end: float = 1e-4, tail: float = 0.1):
    """Three straight lines, told piece by piece."""

    def rate(step: np.ndarray) -> np.ndarray:
        half = (1 - tail) * last / 2
        up = peak * (first + (1 - first) * step / half)
        down = peak * (first + (1 - first) * (2 * half - step) / half)
        out = peak * (first + (end - first) * (step - 2 * half) / (last - 2 * half))
        return np.where(step <= half, up, np.where(step <= 2 * half, down, np.maximum(out, peak * end)))

    return rate


def swing(last: int, high: float, low: float, tail: float = 0.1):
    """The momentum of a cycle: down, up, and then level."""

    def momentum(step: np.ndarray) -> np.ndarray:
        half = (1 - tail) * last / 2
        return high - (high - low) * np.clip(1 - np.abs(step - half) / half, 0, 1)

    return momentum


def wave(peak: float, length: float, warmup: float = 0.0, end: float = 0.0, hold: int = 1):
    """A straight way up and half a cosine down."""

    def rate(step: np.ndarray) -> np.ndarray:
        time = step // hold * hold
        done = np.minimum((time - warmup) / (length - warmup), 1.0)
        falling = peak * (end + (1 - end) * 0.5 * (1 + np.cos(np.pi * done)))
        return np.where(time < warmup, peak * (time + hold) / (warmup + hold), falling)

    return rate


CASES = {
    "power": Case(lambda: schedules.power(0.1, period=20), lambda t: 0.1 / (1 + t / 20), None),
    "power, exponent": Case(
        lambda: schedules.power(0.1, period=7.5, exponent=0.5), lambda t: 0.1 / np.sqrt(1 + t / 7.5), None
    ),
    "power, by epoch": Case(
        lambda: schedules.power(0.1, period=2, steps_per_epoch=7, staircase=True),
        lambda t: 0.1 / (1 + (t // 7) / 2),
        None,
    ),
    "exponential": Case(lambda: schedules.exponential(0.1, period=20), lambda t: 0.1 * 0.1 ** (t / 20), None),
    "exponential, in epochs": Case(
        lambda: schedules.exponential(0.1, period=2, factor=0.5, steps_per_epoch=7),
        lambda t: 0.1 * 0.5 ** (t / 14),
        None,
    ),
    "exponential, by epoch": Case(
        lambda: schedules.exponential(0.1, period=2, factor=0.5, steps_per_epoch=7, staircase=True),
        lambda t: 0.1 * 0.5 ** ((t // 7) / 2),
        None,
    ),
    "piecewise": Case(
        lambda: schedules.piecewise([0.1, 0.05, 0.2], boundaries=[10, 33]),
        lambda t: np.select([t < 10, t < 33], [0.1, 0.05], 0.2),
        0.2,
        33,
    ),
    "piecewise, in epochs": Case(
        lambda: schedules.piecewise([0.1, 0.01], boundaries=[2.5], steps_per_epoch=10),
        lambda t: np.where(t < 25, 0.1, 0.01),
        0.01,
        25,
    ),
    "one cycle": Case(lambda: schedules.one_cycle(0.1, length=101), cycle(0.1, 100), 1e-5, 100),
    "one cycle, in epochs": Case(
        lambda: schedules.one_cycle(
            0.2, length=9, start=0.04, end=0.01, tail=0.25, momentum=(0.9, 0.5), steps_per_epoch=11
        ),
        cycle(0.2, 98, 0.04, 0.01, 0.25),
        0.002,
        98,
    ),
    "one cycle of three steps": Case(
        lambda: schedules.one_cycle(0.1, length=3, momentum=None), cycle(0.1, 2), 1e-5, 2
    ),
    "cosine": Case(lambda: schedules.cosine(0.1, length=100), wave(0.1, 100), 0.0, 100),
    "cosine, warmed up": Case(
        lambda: schedules.cosine(0.1, length=100, warmup=12, end=0.1), wave(0.1, 100, 12, 0.1), 0.01, 100
    ),
    "cosine, by epoch": Case(
        lambda: schedules.cosine(0.1, length=12, warmup=3, end=0.1, steps_per_epoch=8, staircase=True),
        wave(0.1, 96, 24, 0.1, 8),
        0.01,
        96,
    ),
}
MOMENTA = {
    "one cycle": swing(100, 0.95, 0.85),
    "one cycle, in epochs": swing(98, 0.9, 0.5, 0.25),
}
