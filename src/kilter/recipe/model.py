"""The ``[model]`` section: a builder, a saved file or a function; each with its own keys and no others."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from kilter.nn import options as nn_options
from kilter.recipe.base import UNSET, Section, refuse, whole_number

MAX_LAYERS: Final = 1000
MAX_UNITS: Final = 1_000_000
WIDTHS: Final = f"up to {MAX_LAYERS} widths, each from 1 to {MAX_UNITS}, or {{ layers = 20, units = 100 }}"


class VarianceScaling(Section):
    """An initialiser by its formula, for what the names do not cover (such as He on the mean of the fans)."""

    scale: float = Field(default=1.0, gt=0, description="a number above 0: the variance is scale / fan")
    mode: Literal["fan_in", "fan_out", "fan_avg"] = Field(
        default="fan_in", description='"fan_in", "fan_out" or "fan_avg"'
    )
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = Field(
        default="truncated_normal", description='"truncated_normal", "untruncated_normal" or "uniform"'
    )


def _widths(value: Any) -> Any:
    """A list of widths from either way of writing it; refuses sizes nobody means before they are unrolled."""
    if isinstance(value, dict):
        layers, units = value.get("layers"), value.get("units")
        if set(value) != {"layers", "units"} or not (whole_number(layers) and whole_number(units)):
            raise refuse(WIDTHS)
        assert isinstance(layers, int)
        value = [units] * min(max(layers, 0), MAX_LAYERS + 1)
    if not isinstance(value, list | tuple):
        raise refuse(WIDTHS)
    if len(value) > MAX_LAYERS or not all(whole_number(width) and 1 <= width <= MAX_UNITS for width in value):
        raise refuse(WIDTHS)
    return tuple(value)


Widths = Annotated[tuple[int, ...], BeforeValidator(_widths)]


def _name_or_formula(value: Any) -> str:
    return "formula" if isinstance(value, dict | VarianceScaling) else "name"


Initializer = Annotated[
    Annotated[Literal[nn_options.INITIALIZERS], Tag("name")]  # pyright: ignore[reportInvalidTypeForm]
    | Annotated[VarianceScaling, Tag("formula")],
    Discriminator(_name_or_formula),
]


def _default_activation(earlier: dict[str, Any]) -> str:
    return nn_options.default_activation(earlier["preset"])


def _default_slope(earlier: dict[str, Any]) -> float | None:
    return nn_options.LEAKY_SLOPE if earlier["activation"] == "leaky_relu" else None


def _default_initializer(earlier: dict[str, Any]) -> str:
    return nn_options.default_initializer(earlier["activation"])


class BuilderSection(Section):
    """The keys that both builders share: how every hidden layer is made. Resolved like the builders' own."""

    preset: nn_options.Preset = Field(default="standard", description='"standard" or "self-normalizing"')
    activation: Literal[nn_options.ACTIVATIONS] = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=_default_activation, description="one of " + ", ".join(nn_options.ACTIVATIONS)
    )
    negative_slope: Annotated[float | None, UNSET] = Field(
        default_factory=_default_slope,
        ge=0,
        lt=1,
        description="a number from 0 to below 1, for leaky_relu only",
    )
    initializer: Initializer = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=_default_initializer,
        description="one of " + ", ".join(nn_options.INITIALIZERS) + ", or a table such as "
        '{ scale = 2.0, mode = "fan_avg", distribution = "uniform" }; the default fits the activation',
    )
    batch_norm: nn_options.BatchNorm = Field(
        default=False,
        description='false, "before" or "after" each activation, or "input" for one layer in front of all',
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="the share of outputs dropped in training: 0 to below 1"
    )

    @model_validator(mode="after")
    def _theory(self) -> Self:
        self.check()
        return self

    def check(self, *, l1: float = 0.0, l2: float = 0.0, max_norm: float | None = None) -> None:
        """Raise :class:`kilter.errors.OptionError` where keys and penalties contradict the theory."""
        nn_options.hidden_options(**self._shared(), l1=l1, l2=l2, max_norm=max_norm)

    def _shared(self) -> dict[str, Any]:
        initializer = self.initializer
        if isinstance(initializer, VarianceScaling):
            initializer = nn_options.VarianceScaling(**initializer.model_dump())
        return {
            "preset": self.preset,
            "activation": self.activation,
            "negative_slope": self.negative_slope,
            "initializer": initializer,
            "batch_norm": self.batch_norm,
            "dropout": self.dropout,
        }


class MlpSection(BuilderSection):
    """``builder = "mlp"``: dense layers."""

    builder: Literal["mlp"] = Field(description='"mlp" or "cnn"')
    hidden: Widths = Field(default=(100, 100), description=WIDTHS)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of :func:`kilter.nn.mlp` that this section states."""
        return self._shared() | {"hidden": self.hidden}


class CnnSection(BuilderSection):
    """``builder = "cnn"``: convolutions, then dense layers."""

    builder: Literal["cnn"] = Field(description='"mlp" or "cnn"')
    filters: Widths = Field(default=(32, 64), description="as hidden: the filters of each convolution")
    kernel_size: int = Field(
        default=3, ge=1, le=31, description="the side of the convolutions' windows: 1 to 31"
    )
    hidden: Widths = Field(default=(128,), description=WIDTHS)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of :func:`kilter.nn.cnn` that this section states."""
        return self._shared() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "hidden": self.hidden,
        }


class FileSection(Section):
    """``file = "model.keras"``: a model saved by Keras."""

    file: str = Field(min_length=1, description="the path of a .keras file")
    allow_code: bool = Field(
        default=False,
        description="true or false: run code stored in the file (Lambda layers); only for files you trust",
    )


class FactorySection(Section):
    """``factory = "module:function"``: a function of yours that returns a model; naming it is trusting it."""

    factory: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description='"module:function", called with input_shape and outputs',
    )


KINDS: Final = ("builder", "file", "factory")
BUILDERS: Final = ("mlp", "cnn")


def model_kind(value: Any) -> str | None:
    """Which of the sections ``value`` is meant for; None where it names none of them, or more than one."""
    if isinstance(value, Section):
        value = {key: getattr(value, key) for key in KINDS if hasattr(value, key)}
    if not isinstance(value, dict):
        return None
    named = [key for key in KINDS if key in value]
    if len(named) != 1:
        return None
    if named[0] != "builder":
        return named[0]
    return value["builder"] if value["builder"] in BUILDERS else None


ModelSection = Annotated[
    Annotated[MlpSection, Tag("mlp")]
    | Annotated[CnnSection, Tag("cnn")]
    | Annotated[FileSection, Tag("file")]
    | Annotated[FactorySection, Tag("factory")],
    Discriminator(model_kind),
]
MODEL_CLASSES: Final[dict[str, type[Section]]] = {
    "mlp": MlpSection,
    "cnn": CnnSection,
    "file": FileSection,
    "factory": FactorySection,
}
