"""The ``[model]`` section: a builder, a saved file or a function; each with its own keys and no others."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from kilter._validation import is_whole
from kilter.nn import hidden as nn_hidden
from kilter.nn import options as nn_options
from kilter.nn import pairing as nn_pairing
from kilter.recipe.base import LISTED, UNSET, Number, Section, Text, described, key, refuse, unset

MAX_LAYERS: Final = 1000
MAX_UNITS: Final = 1_000_000
WIDTHS: Final = f"up to {MAX_LAYERS} widths, each from 1 to {MAX_UNITS}, or {{ layers = 20, units = 100 }}"


class VarianceScaling(Section):
    """An initialiser by its formula, for those without a name (such as He with the mean of the fans)."""

    scale: float = key(1.0, "a number above 0: the variance is scale / fan", gt=0)
    mode: Literal["fan_in", "fan_out", "fan_avg"] = key("fan_in", '"fan_in", "fan_out" or "fan_avg"')
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = key(
        "truncated_normal", '"truncated_normal", "untruncated_normal" or "uniform"'
    )


def _widths(value: Any) -> Any:
    """A list of widths from either form; absurd sizes raise before they are expanded."""
    if isinstance(value, dict):
        layers, units = value.get("layers"), value.get("units")
        if set(value) != {"layers", "units"} or not (is_whole(layers, 0) and is_whole(units)):
            raise refuse(WIDTHS)
        value = [units] * min(layers, MAX_LAYERS + 1)
    if not isinstance(value, list | tuple):
        raise refuse(WIDTHS)
    if len(value) > MAX_LAYERS or not all(is_whole(width, 1, MAX_UNITS) for width in value):
        raise refuse(WIDTHS)
    return tuple(value)


Widths = Annotated[tuple[int, ...], BeforeValidator(_widths)]
BUILDER: Final = '"mlp", "cnn" or "unet"'
BY_ROWS: Final = Discriminator(lambda value: "auto" if value == "auto" else "widths")


def _name_or_formula(value: Any) -> str:
    if isinstance(value, tuple):
        return "each"
    return "formula" if isinstance(value, dict | VarianceScaling) else "name"


EACH: Final = ", or a list with one for each hidden layer"
Activation = Literal[nn_options.ACTIVATIONS]  # pyright: ignore[reportInvalidTypeForm]
Name = Annotated[Literal[nn_options.INITIALIZERS], Tag("name")]  # pyright: ignore[reportInvalidTypeForm]
Formula = Annotated[VarianceScaling, Tag("formula")]
Each = Annotated[tuple[Annotated[Name | Formula, Discriminator(_name_or_formula)], ...], Tag("each")]
Initializer = Annotated[Name | Formula | Each, Discriminator(_name_or_formula), LISTED]
LSUV: Final = Field(
    default=False,
    description="true or false: scale the initial kernels until every layer's output has variance 1 on "
    "training rows",
)
Rate = Annotated[float, Field(ge=0, lt=1)]


def _default_activation(earlier: dict[str, Any]) -> str:
    return nn_options.default_activation(earlier["preset"])


def _default_slope(earlier: dict[str, Any]) -> float | None:
    return nn_options.LEAKY_SLOPE if "leaky_relu" in _each(earlier["activation"]) else None


def _default_initializer(earlier: dict[str, Any]) -> str | tuple[str, ...]:
    fitting = tuple(nn_options.default_initializer(name) for name in _each(earlier["activation"]))
    return fitting[0] if len(set(fitting)) == 1 else fitting


def _each(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


class BuilderSection(Section):
    """The keys of both builders, for every hidden layer."""

    preset: nn_options.Preset = key("standard", '"standard" or "self-normalizing"')
    activation: Annotated[Activation | tuple[Activation, ...], LISTED] = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=_default_activation, description="one of " + ", ".join(nn_options.ACTIVATIONS) + EACH
    )
    negative_slope: Annotated[float | None, UNSET] = Field(
        default_factory=_default_slope, description="a number from 0 to below 1, for leaky_relu only"
    )
    elu_alpha: Number = unset("a number above 0, for elu only; 1 if none", gt=0)
    prelu_slopes: Annotated[nn_options.PreluSlopes | None, UNSET] = unset(
        '"channel", "element" or "layer", for prelu only: one learned slope for each; "channel" if none'
    )
    initializer: Initializer = Field(  # pyright: ignore[reportInvalidTypeForm]
        default_factory=_default_initializer,
        description="one of " + ", ".join(nn_options.INITIALIZERS) + ", or a table such as "
        '{ scale = 2.0, mode = "fan_avg", distribution = "uniform" }' + EACH + "; the default fits the "
        "activation",
    )
    batch_norm: nn_options.BatchNorm = key(
        False, 'false, "before" or "after" each activation, or "input" for one layer before all others'
    )
    batch_norm_momentum: Number = unset(
        "a number above 0 and below 1, with batch_norm only: the decay of the moving averages "
        "per step; 0.99 if none, more nines for larger data and smaller batches",
        gt=0,
        lt=1,
    )
    batch_norm_epsilon: Number = unset(
        "a number above 0, with batch_norm only: added to the variance; 0.001 if none", gt=0
    )
    dropout: Annotated[Rate | tuple[Rate, ...], LISTED] = key(
        0.0, "the share of outputs dropped in training, after the activation: 0 to below 1" + EACH
    )
    lsuv: bool = LSUV
    unchecked: bool = key(False, "true or false: allow settings that contradict the theory, for experiments")

    @model_validator(mode="after")
    def _theory(self) -> Self:
        self.check()
        return self

    @property
    def hidden_layers(self) -> int:
        """The number of hidden layers, including convolutions."""
        raise NotImplementedError

    def check(self, *, l1: float = 0.0, l2: float = 0.0, max_norm: float | None = None) -> None:
        """Raise :class:`kilter.errors.OptionError` if keys and penalties contradict the theory."""
        nn_hidden.network_options(self.hidden_layers, **self._shared(), l1=l1, l2=l2, max_norm=max_norm)

    def _shared(self) -> dict[str, Any]:
        shared = {key: getattr(self, key) for key in BuilderSection.model_fields if key != "lsuv"}
        each = tuple(_formula(one) for one in _each(self.initializer))
        return shared | {"initializer": each if isinstance(self.initializer, tuple) else each[0]}


def _formula(initializer: str | VarianceScaling) -> str | nn_pairing.VarianceScaling:
    if isinstance(initializer, VarianceScaling):
        return nn_pairing.VarianceScaling(**initializer.model_dump())
    return initializer


class MlpSection(BuilderSection):
    """``builder = "mlp"``: dense layers."""

    builder: Literal["mlp"] = Field(description=BUILDER)
    hidden: Annotated[Annotated[Widths, Tag("widths")] | Annotated[Literal["auto"], Tag("auto")], BY_ROWS] = (
        key(
            (100, 100),
            WIDTHS
            + ', or "auto": two layers of the power of two nearest to the square root of the training rows, '
            "from 32 to 256, below 2,000 rows with a dropout of 0.15 if none is given",
        )
    )

    @property
    def hidden_layers(self) -> int:
        """The number of hidden layers."""
        return 2 if self.hidden == "auto" else len(self.hidden)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of :func:`kilter.nn.mlp`."""
        return self._shared() | {"hidden": self.hidden}


class CnnSection(BuilderSection):
    """``builder = "cnn"``: convolutions, then dense layers."""

    builder: Literal["cnn"] = Field(description=BUILDER)
    filters: Widths = key((32, 64), "as hidden: the filters of each convolution")
    kernel_size: int = key(3, "the side of the convolutions' windows: 1 to 31", ge=1, le=31)
    hidden: Widths = key((128,), WIDTHS)

    @property
    def hidden_layers(self) -> int:
        """The number of hidden layers: convolutions and dense layers."""
        return len(self.filters) + len(self.hidden)

    def arguments(self) -> dict[str, Any]:
        """The keyword arguments of :func:`kilter.nn.cnn`."""
        return self._shared() | {
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "hidden": self.hidden,
        }


class UnetSection(Section):
    """``builder = "unet"``: a U-Net, which gives each pixel a class."""

    builder: Literal["unet"] = Field(description=BUILDER)
    filters: Widths = key((16, 32, 64), "as hidden: the filters of each level, at half the size of the last")

    @field_validator("filters")
    @classmethod
    def _has_a_level(cls, filters: tuple[int, ...]) -> tuple[int, ...]:
        if not 1 <= len(filters) <= 8:
            raise refuse("from 1 to 8 levels in model.filters")
        return filters


def _without_allow_code(given: Any) -> Any:
    """Drop the key ``allow_code`` of kilter 0.1.0: a recipe cannot grant permission to run its own code."""
    if isinstance(given, dict):
        return {key: value for key, value in given.items() if key != "allow_code"}
    return given


class FileSection(Section):
    """``file = "model.keras"``: a model saved by Keras."""

    file: str = Field(min_length=1, description="the path of a .keras file")
    _old_key = model_validator(mode="before")(_without_allow_code)


class FactorySection(Section):
    """``factory = "module:function"``: your function that returns a model; it needs --allow-code."""

    factory: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description='"module:function", called with input_shape and outputs',
    )
    lsuv: bool = LSUV


class ReuseSection(Section):
    """``reuse = "model.keras"``: the lower layers of a trained model, under a new head (docs/transfer.md)."""

    reuse: str = Field(
        min_length=1,
        description="a .keras file, or a network of keras.applications such as MobileNetV2",
    )
    weights: Text = unset("the file with the weights of a network of keras.applications", min_length=1)
    sha256: Text = unset(
        "the SHA-256 of the file with the weights, or at least its first 8 digits: any other "
        "file is an error",
        pattern=r"^[0-9a-f]{8,64}$",
    )
    keep: int | str = key(
        -1,
        "the number of layers with weights to keep, -1 for all but the output; or the name of "
        'the last one; or "all"',
    )
    hidden: Widths = key((), "of the new head: " + WIDTHS)
    _old_key = model_validator(mode="before")(_without_allow_code)

    @field_validator("keep", mode="before")
    @classmethod
    def _names_a_place(cls, keep: Any) -> Any:
        if not (is_whole(keep) and keep != 0) and not (isinstance(keep, str) and keep):
            raise refuse(described(cls, "keep"))
        return keep


KINDS: Final = ("builder", "file", "factory", "reuse")
BUILDERS: Final = ("mlp", "cnn", "unet")


def model_kind(value: Any) -> str | None:
    """The kind of section that ``value`` defines; None if it defines none or several."""
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
    | Annotated[UnetSection, Tag("unet")]
    | Annotated[FileSection, Tag("file")]
    | Annotated[FactorySection, Tag("factory")]
    | Annotated[ReuseSection, Tag("reuse")],
    Discriminator(model_kind),
]
MODEL_CLASSES: Final[dict[str, type[Section]]] = {
    "mlp": MlpSection,
    "cnn": CnnSection,
    "unet": UnetSection,
    "file": FileSection,
    "factory": FactorySection,
    "reuse": ReuseSection,
}
