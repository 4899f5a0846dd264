"""The ``[optimizer]`` section: any Keras optimiser by name, with its arguments."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from kilter.recipe.base import UNSET, Number, Section, Whole, described, key, refuse, unset

# The rates are the papers' or Keras's defaults. A rate that is off by a factor of ten is the most frequent
# reason for a network that does not learn. Adadelta: Zeiler 2012 has no rate, which means 1.0; Keras's 0.001
# hardly moves. Lion: Chen et al. 2023 use a third to a tenth of Adam's rate.
DEFAULT_RATES: Final[dict[str, float]] = {
    "adadelta": 1.0,
    "adafactor": 0.001,
    "adagrad": 0.01,
    "adam": 0.001,
    "adamax": 0.001,
    "adamw": 0.001,
    "ftrl": 0.001,
    "lamb": 0.001,
    "lion": 0.0001,
    "muon": 0.001,
    "nadam": 0.001,
    "rmsprop": 0.001,
    "sgd": 0.01,
}
MOMENTUM: Final = ("sgd", "rmsprop")
CLIPPING: Final = ("clipnorm", "clipvalue", "global_clipnorm", "clip")
AUTO: Final = "auto"


def _default_rate(earlier: dict[str, Any]) -> float:
    return DEFAULT_RATES[earlier["name"]]


class OptimizerSection(Section):
    """Which optimiser, and how it steps."""

    name: str = key("nadam", "one of " + ", ".join(DEFAULT_RATES))
    learning_rate: Annotated[float, Field(gt=0, le=1000)] | Literal["auto"] = Field(
        default_factory=_default_rate,
        description='a number above 0, at most 1000, or "auto": found before training; the default depends '
        "on the optimizer",
    )
    clipnorm: Number = unset("a number above 0: each gradient's norm is clipped to it", gt=0)
    clipvalue: Number = unset("a number above 0: each element of a gradient is clipped to ± it", gt=0)
    global_clipnorm: Number = unset(
        "a number above 0: the norm of all gradients together is clipped to it", gt=0
    )
    clip: Annotated[Literal["auto"] | None, UNSET] = unset(
        '"auto": global_clipnorm is measured before training'
    )
    weight_decay: Number = unset(
        "a number from 0 to below 1: the share of a weight subtracted per unit of learning rate", ge=0, lt=1
    )
    momentum: Number = unset("a number from 0 to below 1, for sgd and rmsprop only", ge=0, lt=1)
    nesterov: bool = key(False, "true or false, for sgd with momentum only")
    gradient_accumulation_steps: Whole = unset(
        "a whole number from 2 to 100000: batches accumulated before an update", ge=2, le=100_000
    )
    options: dict[str, bool | int | float | str] = Field(
        default_factory=dict,
        description="a table of further arguments of the Keras class, such as { beta_1 = 0.95 }",
    )

    @property
    def rate(self) -> float:
        """The learning rate as a number: the optimiser's default for "auto"."""
        return DEFAULT_RATES[self.name] if isinstance(self.learning_rate, str) else self.learning_rate

    @field_validator("name", mode="before")
    @classmethod
    def _known(cls, name: Any) -> Any:
        lowered = name.lower() if isinstance(name, str) else name
        if isinstance(lowered, str) and lowered not in DEFAULT_RATES:
            raise refuse(described(cls, "name"))
        return lowered

    @field_validator("options")
    @classmethod
    def _further_only(cls, options: dict[str, Any]) -> dict[str, Any]:
        doubled = sorted(set(options) & set(cls.model_fields))
        if doubled:
            raise refuse("arguments that have no key in [optimizer]", f"{', '.join(doubled)} in options")
        return options

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        clipped = [key for key in CLIPPING if getattr(self, key) is not None]
        if len(clipped) > 1:
            given = " and ".join(f"{key}={getattr(self, key)}" for key in clipped)
            raise refuse(f"at most one of {', '.join(CLIPPING)}", given)
        if self.momentum is not None and self.name not in MOMENTUM:
            raise refuse(
                f"momentum only with {' or '.join(MOMENTUM)}", f"momentum={self.momentum} with {self.name}"
            )
        if self.nesterov and (self.name != "sgd" or not self.momentum):
            raise refuse(
                "nesterov only with sgd and a momentum above 0", f"{self.name} with momentum={self.momentum}"
            )
        return self
