"""Which initialiser preserves the variance of signals under which activation.

Sources: Glorot & Bengio 2010 (tanh, sigmoid), He et al. 2015 (the ReLU family, which cuts half of the signal,
hence twice the variance), LeCun et al. 1998 with Klambauer et al. 2017 (SELU).
"""

from dataclasses import dataclass
from typing import Final, Literal

from kilter._validation import one_of


@dataclass(frozen=True)
class VarianceScaling:
    """An initialiser with variance ``scale / fan``, like Keras's class of the same name.

    Attributes:
        scale: above 0.
        mode: the fan: ``"fan_in"``, ``"fan_out"`` or their mean ``"fan_avg"``.
        distribution: ``"truncated_normal"``, ``"untruncated_normal"`` or ``"uniform"`` (on ±√(3·scale/fan)).
    """

    scale: float = 1.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"


FORMULAS: Final = {
    "he_normal": VarianceScaling(2.0, "fan_in", "truncated_normal"),
    "he_uniform": VarianceScaling(2.0, "fan_in", "uniform"),
    "glorot_normal": VarianceScaling(1.0, "fan_avg", "truncated_normal"),
    "glorot_uniform": VarianceScaling(1.0, "fan_avg", "uniform"),
    "lecun_normal": VarianceScaling(1.0, "fan_in", "truncated_normal"),
    "lecun_uniform": VarianceScaling(1.0, "fan_in", "uniform"),
}
"""Keras's named initialisers by their formula."""


@dataclass(frozen=True)
class Pairing:
    """The initialisers that fit an activation; the first is the default.

    Attributes:
        family: the name in the literature, such as ``"He"``.
        initializers: Keras's names.
        formulas: further ones without a name.
    """

    family: str
    initializers: tuple[str, ...]
    formulas: tuple[VarianceScaling, ...] = ()

    @property
    def default(self) -> str:
        """The default initialiser."""
        return self.initializers[0]


# fan_avg: a compromise between the variance of signals and of gradients if widths change.
HE: Final = Pairing(
    "He",
    ("he_normal", "he_uniform"),
    (VarianceScaling(2.0, "fan_avg", "uniform"), VarianceScaling(2.0, "fan_avg", "truncated_normal")),
)
GLOROT: Final = Pairing("Glorot", ("glorot_uniform", "glorot_normal"))
LECUN: Final = Pairing("LeCun", ("lecun_normal",))

# Softplus is nearly linear for a unit normal (second moment 0.92), so it goes with Glorot, not with He like
# ReLU.
PAIRINGS: Final[dict[str, Pairing]] = {
    "relu": HE,
    "leaky_relu": HE,
    "prelu": HE,
    "rrelu": HE,
    "elu": HE,
    "gelu": HE,
    "swish": HE,
    "silu": HE,
    "mish": HE,
    "selu": LECUN,
    "tanh": GLOROT,
    "sigmoid": GLOROT,
    "softmax": GLOROT,
    "softplus": GLOROT,
    "linear": GLOROT,
}


def pairing_of(activation: str) -> Pairing:
    """The initialisers that fit ``activation``, given by its name in Keras.

    Raises:
        OptionError: for an unknown activation, with the nearest name.

    Example:
        >>> pairing_of("selu").default
        'lecun_normal'
    """
    one_of("activation", activation, tuple(PAIRINGS))
    return PAIRINGS[activation]


def is_paired(activation: str, initializer: str | VarianceScaling) -> bool:
    """Whether ``initializer``, a name or formula, preserves the variance under ``activation``.

    Example:
        >>> is_paired("relu", VarianceScaling(2.0, "fan_avg", "uniform"))
        True
    """
    pairing = pairing_of(activation)
    return _law(initializer) in [_law(one) for one in (*pairing.initializers, *pairing.formulas)]


def _law(initializer: str | VarianceScaling) -> object:
    """The formula of a name that has one; both normal distributions count as equal."""
    known = FORMULAS.get(initializer, initializer) if isinstance(initializer, str) else initializer
    if isinstance(known, str):
        return known
    return known.scale, known.mode, known.distribution == "uniform"
