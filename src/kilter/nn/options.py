"""What a hidden layer of a built network may be, and which combinations contradict the theory behind them.

Imports neither Keras nor JAX, so that recipes are checked before anything heavy is loaded.
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass
from typing import Final, Literal, TypedDict

from kilter.errors import OptionError
from kilter.nn.pairing import PAIRINGS, pairing_of

Preset = Literal["standard", "self-normalizing"]
BatchNorm = Literal[False, "before", "after", "input"]

PRESETS: Final[dict[str, str]] = {"standard": "elu", "self-normalizing": "selu"}
BATCH_NORM: Final = (False, "before", "after", "input")
# Keras's LeakyReLU has 0.3, PyTorch's 0.01; 0.2 lies between and is what Keras's function of that name has.
LEAKY_SLOPE: Final = 0.2
# Softmax couples the units of a layer and belongs to an output; RReLU draws its slope, so it is a layer.
ACTIVATIONS: Final = tuple(name for name in PAIRINGS if name not in ("softmax", "rrelu"))
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


@dataclass(frozen=True)
class VarianceScaling:
    """An initialiser by its formula: variance ``scale / fan``, as Keras's class of the same name.

    Attributes:
        scale: above 0.
        mode: the fan: ``"fan_in"``, ``"fan_out"`` or their mean ``"fan_avg"``.
        distribution: ``"truncated_normal"``, ``"untruncated_normal"`` or ``"uniform"``.
    """

    scale: float = 1.0
    mode: Literal["fan_in", "fan_out", "fan_avg"] = "fan_in"
    distribution: Literal["truncated_normal", "untruncated_normal", "uniform"] = "truncated_normal"


class LayerKeywords(TypedDict, total=False):
    """The keywords of :func:`hidden_options`, which the builders take and pass on."""

    preset: Preset
    activation: str | None
    negative_slope: float | None
    initializer: str | VarianceScaling | None
    batch_norm: BatchNorm
    dropout: float
    l1: float
    l2: float
    max_norm: float | None


def default_activation(preset: str) -> str:
    """The activation of a preset: ELU for ``"standard"``, SELU for ``"self-normalizing"``."""
    _one_of("preset", preset, tuple(PRESETS))
    return PRESETS[preset]


def default_initializer(activation: str) -> str:
    """The initialiser paired with ``activation``."""
    return pairing_of(activation).default


@dataclass(frozen=True)
class HiddenOptions:
    """How every hidden layer is made. Made by :func:`hidden_options`, which fills in and checks.

    Attributes:
        preset: ``"standard"`` or ``"self-normalizing"``.
        activation: one of :data:`ACTIVATIONS`.
        negative_slope: the slope of ``leaky_relu`` below zero; None for every other activation.
        initializer: one of :data:`INITIALIZERS`, or a :class:`VarianceScaling`.
        batch_norm: ``"before"`` or ``"after"`` each activation, ``"input"`` for one layer in front, or False.
        dropout: the share of a hidden layer's outputs that is dropped in training.
        l1, l2: factors of the penalties on every kernel.
        max_norm: the largest norm of a unit's incoming weights, or None.
    """

    preset: str
    activation: str
    negative_slope: float | None
    initializer: str | VarianceScaling
    batch_norm: BatchNorm
    dropout: float
    l1: float
    l2: float
    max_norm: float | None

    @property
    def self_normalizing(self) -> bool:
        """Whether the network keeps mean 0 and variance 1 by itself (Klambauer et al. 2017)."""
        return self.preset == "self-normalizing"


def hidden_options(
    *,
    preset: str = "standard",
    activation: str | None = None,
    negative_slope: float | None = None,
    initializer: str | VarianceScaling | None = None,
    batch_norm: BatchNorm = False,
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    max_norm: float | None = None,
) -> HiddenOptions:
    """How every layer is made: fill in what is None from the preset, and check that the whole makes sense.

    Args:
        preset: ``"standard"`` (ELU, He) or ``"self-normalizing"`` (SELU, LeCun normal, alpha dropout).
        activation: one of :data:`ACTIVATIONS`; the preset's if None.
        negative_slope: of ``leaky_relu``, 0 to below 1; 0.2 if None.
        initializer: of the hidden kernels; the one paired with the activation if None.
        batch_norm: ``"before"`` or ``"after"`` each activation, ``"input"`` for one in front, or False.
            Before the activation the layer has no bias: beta takes its place.
        dropout: the share of each hidden layer's outputs dropped in training; alpha dropout if
            self-normalizing.
        l1, l2, max_norm: penalties and limit on every kernel, the output's included.

    Raises :class:`OptionError` for an unknown name, a value out of range, and for combinations that
    contradict the theory: self-normalisation holds only with SELU, LeCun normal, no batch normalisation and
    no penalty or limit on the weights (Klambauer et al. 2017).
    """
    activation = default_activation(preset) if activation is None else activation
    _one_of("activation", activation, ACTIVATIONS)
    if activation == "leaky_relu" and negative_slope is None:
        negative_slope = LEAKY_SLOPE
    options = HiddenOptions(
        preset=preset,
        activation=activation,
        negative_slope=negative_slope,
        initializer=default_initializer(activation) if initializer is None else initializer,
        batch_norm=batch_norm,
        dropout=dropout,
        l1=l1,
        l2=l2,
        max_norm=max_norm,
    )
    _check_ranges(options)
    _check_slope(options)
    _check_self_normalization(options)
    return options


def _one_of(name: str, value: object, allowed: tuple[object, ...]) -> None:
    if any(value is one or (isinstance(one, str) and value == one) for one in allowed):
        return
    near = difflib.get_close_matches(str(value), [str(one) for one in allowed], n=1)
    raise OptionError(
        expected=f"{name} out of " + ", ".join(str(one) for one in allowed),
        received=f"{name}={value!r}",
        remedy=f"did you mean {near[0]!r}?" if near else "take one of these",
    )


def _check_ranges(options: HiddenOptions) -> None:
    _one_of("batch_norm", options.batch_norm, BATCH_NORM)
    if not isinstance(options.initializer, VarianceScaling):
        _one_of("initializer", options.initializer, INITIALIZERS)
    elif not (math.isfinite(options.initializer.scale) and options.initializer.scale > 0):
        raise OptionError(
            expected="an initializer with a scale above 0",
            received=f"scale={options.initializer.scale}",
            remedy="take 1 for LeCun and Glorot, 2 for He",
        )
    if not 0 <= options.dropout < 1:
        raise OptionError(
            expected="a dropout from 0 to below 1",
            received=f"dropout={options.dropout}",
            remedy="give the share of outputs to drop; 0.1 to 0.5 is usual",
        )
    for name in ("l1", "l2"):
        factor = getattr(options, name)
        if not (math.isfinite(factor) and factor >= 0):
            raise OptionError(
                expected=f"{name} of 0 or more",
                received=f"{name}={factor}",
                remedy="take 0 for none, 1e-4 for some",
            )
    if options.max_norm is not None and not options.max_norm > 0:
        raise OptionError(
            expected="a max_norm above 0", received=f"max_norm={options.max_norm}", remedy="1 to 4 is usual"
        )


def _check_slope(options: HiddenOptions) -> None:
    slope = options.negative_slope
    if slope is None:
        return
    if options.activation != "leaky_relu":
        raise OptionError(
            expected="a negative_slope with leaky_relu only",
            received=f"negative_slope={slope} with activation={options.activation!r}",
            remedy="leave negative_slope out, or take activation='leaky_relu'",
        )
    if not 0 <= slope < 1:
        raise OptionError(
            expected="a negative_slope from 0 to below 1: at 1 the layer is linear, above it the negative "
            "side is the steeper one, below 0 it is folded over",
            received=f"negative_slope={slope}",
            remedy="0.01 to 0.3 is usual",
        )


def _check_self_normalization(options: HiddenOptions) -> None:
    if options.activation == "selu" and not options.self_normalizing:
        raise OptionError(
            expected="SELU in a self-normalizing network: with plain dropout or batch normalisation around "
            "it, it has no advantage over ELU",
            received=f"activation='selu' with preset={options.preset!r}",
            remedy="take preset='self-normalizing', or activation='elu'",
        )
    if not options.self_normalizing:
        return
    broken = [
        (options.activation != "selu", f"activation={options.activation!r}", "only SELU has the fixed point"),
        (
            options.initializer != "lecun_normal",
            f"initializer={options.initializer!r}",
            "the fixed point is that of weights with variance 1/fan_in",
        ),
        (
            options.batch_norm is not False,
            f"batch_norm={options.batch_norm!r}",
            "it replaces the very statistics the network keeps by itself",
        ),
        (
            options.l1 > 0 or options.l2 > 0 or options.max_norm is not None,
            f"l1={options.l1}, l2={options.l2}, max_norm={options.max_norm}",
            "penalties and limits pull the weights away from variance 1/fan_in",
        ),
    ]
    faults = [(given, why) for is_broken, given, why in broken if is_broken]
    if faults:
        raise OptionError(
            expected="what self-normalisation needs (SELU, LeCun normal, no batch normalisation, no penalty "
            "or limit on the weights): " + "; ".join(why for _, why in faults),
            received=", ".join(given for given, _ in faults),
            remedy="leave these out (alpha dropout is the regulariser that fits), or take preset='standard'",
        )
