"""kilter: deep networks that train, and the proof of why.

Names load on first use (PEP 562), so that ``kilter --help`` does not import JAX.
"""

import importlib
import os
from typing import Any

# Keras fixes its backend at import, so importing kilter first selects the right one.
os.environ.setdefault("KERAS_BACKEND", "jax")

__version__ = "0.1.0"

# By the module below kilter, the names that it defines.
_MODULES = {
    "_fit": "fit",
    "_engine.inference": "evaluate predict",
    "_compare.search": "search",
    "_accelerate": "accelerate restore engine",
    "_estimators": "KilterClassifier KilterRegressor",
    "_compare.compare": "compare sweep",
    "_diagnosis.diagnose": "diagnose",
    "_diagnosis.thresholds": "Thresholds",
    "_engine.measuring": "probe measured_steps",
    "_treatment.treat": "treat",
    "_treatment.policy": "Policy",
    "_diagnosis.callback": "Doctor",
    "_tuning.find_lr": "find_lr",
    "_tuning.clip_threshold": "clip_threshold",
    "_tuning.noise_scale": "gradient_noise_scale",
    "_tuning.curvature": "largest_curvature",
    "_transfer.reusing": "reuse",
    "_transfer.cutting": "cuts",
    "_transfer.fine_tuning": "fine_tune",
    "_transfer.stages": "Stage",
    "_transfer.sources": "load_source",
    "_studies.search_reuse": "search_reuse",
    "_studies.reuse_study": "reuse_study",
    "_studies.encoders": "Way Pretraining",
    "_infer.monte_carlo": "predict_mc",
    "_infer.calibration": "calibration",
    "_infer.folding": "fold_batch_norm largest_difference",
    "_engine.batch_statistics": "refresh_batch_norm",
    "_infer.sparsity": "zero_small_weights",
    "_infer.half_precision": "to_half",
    "_engine.optax_optimizer": "OptaxOptimizer",
    "_engine.averaging": "ExponentialMovingAverage StochasticWeightAverage",
}
_NAMES = {name: f"kilter.{module}" for module, names in _MODULES.items() for name in names.split()}
_PACKAGES = ("data", "errors", "nn", "pretrain", "recipe", "runs", "report", "schedules")

__all__ = ["__version__", *_NAMES, *_PACKAGES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        value = getattr(importlib.import_module(_NAMES[name]), name)
    elif name in _PACKAGES:
        value = importlib.import_module(f"kilter.{name}")
    else:
        raise AttributeError(f"module 'kilter' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
