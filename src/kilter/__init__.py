"""kilter: deep networks that train, and the proof of why.

Names load on first use (PEP 562), so that ``kilter --help`` does not import JAX.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

# Keras fixes its backend at import; whoever imports kilter first gets the right one.
os.environ.setdefault("KERAS_BACKEND", "jax")

__version__ = "0.1.0"

_FUNCTIONS = {
    "fit": "kilter.runs.fit",
    "evaluate": "kilter.engine.inference",
    "predict": "kilter.engine.inference",
    "compare": "kilter.treatment.compare",
    "diagnose": "kilter.health.diagnosing",
    "treat": "kilter.treatment.treating",
    "Doctor": "kilter.health.doctor",
    "find_lr": "kilter.engine.find_lr",
    "clip_threshold": "kilter.engine.clip_threshold",
    "gradient_noise_scale": "kilter.engine.noise_scale",
    "largest_curvature": "kilter.engine.curvature",
    "reuse": "kilter.transfer.reusing",
    "fine_tune": "kilter.transfer.fine_tuning",
    "Stage": "kilter.transfer.stages",
    "load_source": "kilter.transfer.sources",
    "search_reuse": "kilter.studies.searching",
    "reuse_study": "kilter.studies.reuse_study",
    "predict_mc": "kilter.infer.monte_carlo",
    "calibration": "kilter.infer.calibration",
    "fold_batch_norm": "kilter.infer.folding",
    "refresh_batch_norm": "kilter.engine.batch_statistics",
    "zero_small_weights": "kilter.infer.sparsity",
    "to_half": "kilter.infer.half_precision",
    "OptaxOptimizer": "kilter.engine.optax_optimizer",
    "ExponentialMovingAverage": "kilter.engine.averaging",
    "StochasticWeightAverage": "kilter.engine.averaging",
}
_MODULES = ("data", "errors", "nn", "pretrain", "recipe", "runs", "report", "schedules")

__all__ = ["__version__", *_FUNCTIONS, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        value = getattr(importlib.import_module(_FUNCTIONS[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"kilter.{name}")
    else:
        raise AttributeError(f"module 'kilter' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
