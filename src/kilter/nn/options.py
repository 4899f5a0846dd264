"""Names, defaults and records of the options of hidden layers.

Imports neither Keras nor JAX, so that recipes are checked quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from kilter._validation import one_of
from kilter.nn.pairing import PAIRINGS, VarianceScaling, pairing_of

Preset = Literal["standard", "self-normalizing"]
BatchNorm = Literal[False, "before", "after", "input"]
PreluSlopes = Literal["channel", "element", "layer"]

PRESETS: Final[dict[str, str]] = {"standard": "elu", "self-normalizing": "selu"}
BATCH_NORM: Final = (False, "before", "after", "input")
# Keras's LeakyReLU layer has 0.3, PyTorch's 0.01, Keras's function 0.2.
LEAKY_SLOPE: Final = 0.2
# The initial slope of PReLU in He et al. 2015.
PRELU_SLOPE: Final = 0.25
PRELU_SLOPES: Final = ("channel", "element", "layer")
# Keras's defaults, here so that they can be shown and recorded.
BATCH_NORM_DEFAULTS: Final = {"batch_norm_momentum": 0.99, "batch_norm_epsilon": 1e-3}
# Softmax couples the units of a layer: for outputs only.
ACTIVATIONS: Final = tuple(name for name in PAIRINGS if name != "softmax")
INITIALIZERS: Final = (
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "lecun_normal",
    "lecun_uniform",
    "orthogonal",
    "zeros",
    "ones",
)
# Options of a single activation, with its name.
OWN_OPTIONS: Final = {"negative_slope": "leaky_relu", "elu_alpha": "elu", "prelu_slopes": "prelu"}
DEFAULTS: Final = {"negative_slope": LEAKY_SLOPE, "elu_alpha": 1.0, "prelu_slopes": "channel"}
# Options that may differ from layer to layer.
EACH_LAYER: Final = ("activation", "initializer", "dropout")


class LayerKeywords(TypedDict, total=False):
    """The keywords of :func:`kilter.nn.hidden.network_options`, which the builders pass on."""

    preset: Preset
    activation: str | Sequence[str] | None
    negative_slope: float | None
    elu_alpha: float | None
    prelu_slopes: PreluSlopes | None
    initializer: str | VarianceScaling | Sequence[str | VarianceScaling] | None
    batch_norm: BatchNorm
    batch_norm_momentum: float | None
    batch_norm_epsilon: float | None
    dropout: float | Sequence[float]
    l1: float
    l2: float
    max_norm: float | None
    unchecked: bool


def default_activation(preset: str) -> str:
    """The activation of a preset: ELU for ``"standard"``, SELU for ``"self-normalizing"``."""
    one_of("preset", preset, tuple(PRESETS))
    return PRESETS[preset]


def default_initializer(activation: str) -> str:
    """The initialiser paired with ``activation``."""
    return pairing_of(activation).default


@dataclass(frozen=True)
class HiddenOptions:
    """The options of a hidden layer, made and checked by :func:`kilter.nn.hidden.hidden_options`.

    Attributes:
        preset: ``"standard"`` (ELU, He) or ``"self-normalizing"`` (SELU, LeCun normal, alpha dropout).
        activation: one of :data:`ACTIVATIONS`; by default the preset's.
        initializer: of the hidden kernels, one of :data:`INITIALIZERS` or a :class:`VarianceScaling`; by
            default the one paired with the activation.
        negative_slope: of ``leaky_relu``, 0 to below 1. elu_alpha: ``elu`` saturates at ``-elu_alpha``.
        prelu_slopes: ``prelu`` learns a slope for each ``"channel"`` (a unit of a dense layer), each
            ``"element"`` (each pixel of each channel), or one for the ``"layer"``, from 0.25.
        batch_norm: ``"before"`` or ``"after"`` each activation, ``"input"`` for one layer in front, or False.
            A layer normalised before the activation has no bias: beta replaces it.
        batch_norm_momentum: of the moving averages; larger for larger data and smaller batches.
        dropout: the rate after the activation (and after batch normalisation); the output layer has none.
        l1, l2, max_norm: penalties and maximum norm for every kernel, the output's included.
    """

    preset: str = "standard"
    activation: str = "elu"
    initializer: str | VarianceScaling = "he_normal"
    negative_slope: float | None = None
    elu_alpha: float | None = None
    prelu_slopes: PreluSlopes | None = None
    batch_norm: BatchNorm = False
    batch_norm_momentum: float | None = None
    batch_norm_epsilon: float | None = None
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None

    @property
    def self_normalizing(self) -> bool:
        """Whether the network preserves mean 0 and variance 1 by itself (Klambauer et al. 2017)."""
        return self.preset == "self-normalizing"


@dataclass(frozen=True)
class NetworkOptions:
    """The options of a network: ``hidden`` per layer, and ``common`` for input and output."""

    common: HiddenOptions
    hidden: tuple[HiddenOptions, ...]
