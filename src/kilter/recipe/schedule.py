"""The ``[schedule]`` section: how the learning rate changes; each schedule with its own keys and no others.

Rates are shares of ``optimizer.learning_rate``, times are epochs. What the numbers do is told in
:mod:`kilter.schedules`, whose functions take them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field

from kilter.recipe.base import LISTED, UNSET, Section

SCHEDULES: Final = ("constant", "power", "exponential", "piecewise", "one_cycle", "cosine", "performance")
# Whose momentum or beta_1 one_cycle can cycle; sgd and rmsprop have one only if they were given one.
CYCLED: Final = ("sgd", "rmsprop", "adam", "adamw", "nadam", "adamax", "lion", "lamb")
_NAME: Final = "one of " + ", ".join(SCHEDULES)
_STAIRCASE: Final = "true or false: the rate changes once an epoch, not with every step"


class ConstantSection(Section):
    """``name = "constant"``: the rate stays as it is."""

    name: Literal["constant"] = Field(description=_NAME)


class PowerSection(Section):
    """``name = "power"``: rate / (1 + t / period) ** exponent."""

    name: Literal["power"] = Field(description=_NAME)
    period: float = Field(
        default=20.0, gt=0, description="epochs until the rate is divided by 2 ** exponent: above 0"
    )
    exponent: float = Field(default=1.0, gt=0, description="the power: a number above 0")
    staircase: bool = Field(default=False, description=_STAIRCASE)


class ExponentialSection(Section):
    """``name = "exponential"``: rate * factor ** (t / period)."""

    name: Literal["exponential"] = Field(description=_NAME)
    period: float = Field(
        default=20.0, gt=0, description="epochs in which the rate is multiplied by factor: above 0"
    )
    factor: float = Field(default=0.1, gt=0, lt=1, description="a number above 0 and below 1")
    staircase: bool = Field(default=False, description=_STAIRCASE)


class PiecewiseSection(Section):
    """``name = "piecewise"``: the rate times ``factors[i]`` from epoch ``boundaries[i]`` on."""

    name: Literal["piecewise"] = Field(description=_NAME)
    boundaries: Annotated[tuple[float, ...], LISTED] = Field(
        min_length=1, description="a list of epochs, each above 0, that rises: where the rate changes"
    )
    factors: Annotated[tuple[float, ...], LISTED] = Field(
        min_length=1,
        description="a list of numbers above 0, one for each boundary: the rate from there on, as a share of "
        "optimizer.learning_rate",
    )


class OneCycleSection(Section):
    """``name = "one_cycle"``: up to ``optimizer.learning_rate``, back, and almost out, over all epochs."""

    name: Literal["one_cycle"] = Field(description=_NAME)
    start: float = Field(
        default=0.1, gt=0, lt=1, description="the first rate, as a share of the peak: above 0 and below 1"
    )
    end: float = Field(
        default=1e-4, gt=0, lt=1, description="the last rate, as a share of the peak: above 0, up to start"
    )
    tail: float = Field(
        default=0.1, gt=0, lt=1, description="the share of the steps from start to end: above 0 and below 1"
    )
    momentum: Annotated[tuple[float, float] | None, LISTED, UNSET] = Field(
        default=(0.95, 0.85), description="[high, low], each from 0 to below 1: momentum or beta_1"
    )


class CosineSection(Section):
    """``name = "cosine"``: half a cosine down over all epochs, after a warm-up."""

    name: Literal["cosine"] = Field(description=_NAME)
    warmup: float = Field(
        default=0.0, ge=0, description="epochs of the way up, fewer than train.epochs: 0 or more"
    )
    end: float = Field(default=0.0, ge=0, lt=1, description="the share of the rate at the end: 0 to below 1")
    staircase: bool = Field(default=False, description=_STAIRCASE)


class PerformanceSection(Section):
    """``name = "performance"``: the rate times ``factor`` when the validation loss has not fallen."""

    name: Literal["performance"] = Field(description=_NAME)
    factor: float = Field(
        default=0.5, gt=0, lt=1, description="what the rate is multiplied by: above 0 and below 1"
    )
    patience: int = Field(
        default=5, ge=1, le=1_000_000, description="epochs without a lower validation loss: from 1"
    )
    min_delta: float = Field(
        default=1e-4, ge=0, description="the least fall of the validation loss that counts: 0 or more"
    )
    cooldown: int = Field(
        default=0, ge=0, le=1_000_000, description="epochs after a change before waiting begins: from 0"
    )
    min_rate: float = Field(default=0.0, ge=0, description="the lowest learning rate: 0 or more")


ScheduleSection = Annotated[
    ConstantSection
    | PowerSection
    | ExponentialSection
    | PiecewiseSection
    | OneCycleSection
    | CosineSection
    | PerformanceSection,
    Field(discriminator="name"),
]
SCHEDULE_CLASSES: Final[dict[str, type[Section]]] = {
    "constant": ConstantSection,
    "power": PowerSection,
    "exponential": ExponentialSection,
    "piecewise": PiecewiseSection,
    "one_cycle": OneCycleSection,
    "cosine": CosineSection,
    "performance": PerformanceSection,
}
