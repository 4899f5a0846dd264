"""kilter: deep networks that train, and the proof of why.

Names load on first use (PEP 562), so that ``kilter --help`` does not import JAX.
"""

import importlib
import os
from typing import Any

# Keras fixes its backend at import, so importing kilter first selects the right one.
os.environ.setdefault("KERAS_BACKEND", "jax")

__version__ = "0.1.0"

_NAMES = {
    "fit": "kilter._fit",
    "evaluate": "kilter._engine.inference",
    "predict": "kilter._engine.inference",
    "search": "kilter._compare.search",
    "accelerate": "kilter._accelerate",
    "restore": "kilter._accelerate",
    "engine": "kilter._accelerate",
    "KilterClassifier": "kilter._estimators",
    "KilterRegressor": "kilter._estimators",
    "compare": "kilter._compare.compare",
    "sweep": "kilter._compare.compare",
    "diagnose": "kilter._diagnosis.diagnose",
    "Thresholds": "kilter._diagnosis.thresholds",
    "probe": "kilter._engine.measuring",
    "measured_steps": "kilter._engine.measuring",
    "treat": "kilter._treatment.treat",
    "Policy": "kilter._treatment.policy",
    "Doctor": "kilter._diagnosis.callback",
    "find_lr": "kilter._tuning.find_lr",
    "clip_threshold": "kilter._tuning.clip_threshold",
    "gradient_noise_scale": "kilter._tuning.noise_scale",
    "largest_curvature": "kilter._tuning.curvature",
    "reuse": "kilter._transfer.reusing",
    "cuts": "kilter._transfer.cutting",
    "fine_tune": "kilter._transfer.fine_tuning",
    "Stage": "kilter._transfer.stages",
    "load_source": "kilter._transfer.sources",
    "search_reuse": "kilter._studies.search_reuse",
    "reuse_study": "kilter._studies.reuse_study",
    "Way": "kilter._studies.encoders",
    "Pretraining": "kilter._studies.encoders",
    "predict_mc": "kilter._infer.monte_carlo",
    "calibration": "kilter._infer.calibration",
    "fold_batch_norm": "kilter._infer.folding",
    "refresh_batch_norm": "kilter._engine.batch_statistics",
    "zero_small_weights": "kilter._infer.sparsity",
    "to_half": "kilter._infer.half_precision",
    "largest_difference": "kilter._infer.folding",
    "OptaxOptimizer": "kilter._engine.optax_optimizer",
    "ExponentialMovingAverage": "kilter._engine.averaging",
    "StochasticWeightAverage": "kilter._engine.averaging",
}
_PACKAGES = ("data", "errors", "nn", "pretrain", "recipe", "runs", "report", "schedules")

__all__ = ["__version__", *_NAMES, *_PACKAGES]


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
