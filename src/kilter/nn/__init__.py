"""What Keras lacks: builders with sound defaults, and the pairing of initialisers with activations.

Names load on first use (PEP 562): recipes check their options with :mod:`kilter.nn.options`, without Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilter.nn.builders import cnn, mlp
    from kilter.nn.losses import SmoothedSparseCategoricalCrossentropy
    from kilter.nn.options import VarianceScaling
    from kilter.nn.pairing import Pairing, is_paired, pairing_of

_HOMES = {
    "cnn": "kilter.nn.builders",
    "mlp": "kilter.nn.builders",
    "pairing_of": "kilter.nn.pairing",
    "is_paired": "kilter.nn.pairing",
    "Pairing": "kilter.nn.pairing",
    "SmoothedSparseCategoricalCrossentropy": "kilter.nn.losses",
    "VarianceScaling": "kilter.nn.options",
}

__all__ = [
    "Pairing",
    "SmoothedSparseCategoricalCrossentropy",
    "VarianceScaling",
    "cnn",
    "is_paired",
    "mlp",
    "pairing_of",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'kilter.nn' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
