"""What Keras lacks: builders with good defaults, initialisation, activations, signal propagation.

Names load on first use (PEP 562), so that recipes check their options without Keras.
"""

import importlib
from typing import TYPE_CHECKING, Any

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

if TYPE_CHECKING:
    from kilter.nn import pairing
    from kilter.nn.builders import cnn, mlp
    from kilter.nn.depth import DepthRecord, LayerSignal, variance_through_depth
    from kilter.nn.gain import Gain, Moments, activation_moments, variance_gain
    from kilter.nn.losses import (
        Contrastive,
        ScaledHuber,
        SmoothedSparseCategoricalCrossentropy,
        SparseCategoricalFocalCrossentropy,
        SparseDice,
    )
    from kilter.nn.pairing import PAIRINGS, Pairing, VarianceScaling, is_paired, pairing_of
    from kilter.nn.positions import PositionEmbedding
    from kilter.nn.rrelu import RReLU
    from kilter.nn.unit_variance import LayerScaling, LsuvRecord, lsuv
    from kilter.nn.zeros import PenalizedWeights, l1_zeros

_NAMES = {
    "kilter.nn.builders": ("cnn", "mlp"),
    "kilter.nn.depth": ("DepthRecord", "LayerSignal", "variance_through_depth"),
    "kilter.nn.gain": ("Gain", "Moments", "activation_moments", "variance_gain"),
    "kilter.nn.losses": (
        "Contrastive",
        "ScaledHuber",
        "SmoothedSparseCategoricalCrossentropy",
        "SparseCategoricalFocalCrossentropy",
        "SparseDice",
    ),
    "kilter.nn.pairing": ("PAIRINGS", "Pairing", "VarianceScaling", "is_paired", "pairing_of"),
    "kilter.nn.positions": ("PositionEmbedding",),
    "kilter.nn.rrelu": ("RReLU",),
    "kilter.nn.unit_variance": ("LayerScaling", "LsuvRecord", "lsuv"),
    "kilter.nn.zeros": ("PenalizedWeights", "l1_zeros"),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "PAIRINGS",
    "Contrastive",
    "DepthRecord",
    "Gain",
    "LayerScaling",
    "LayerSignal",
    "LsuvRecord",
    "Moments",
    "Pairing",
    "PenalizedWeights",
    "PositionEmbedding",
    "RReLU",
    "ScaledHuber",
    "SmoothedSparseCategoricalCrossentropy",
    "SparseCategoricalFocalCrossentropy",
    "SparseDice",
    "VarianceScaling",
    "activation_moments",
    "cnn",
    "is_paired",
    "l1_zeros",
    "lsuv",
    "mlp",
    "pairing",
    "pairing_of",
    "variance_gain",
    "variance_through_depth",
]


def __getattr__(name: str) -> Any:
    if name == "pairing":
        return importlib.import_module("kilter.nn.pairing")
    if name not in _HOMES:
        raise AttributeError(f"module 'kilter.nn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
