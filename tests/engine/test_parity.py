"""Every Keras optimiser with every feature that changes an update, against ``model.fit(shuffle=False)``."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from .cases import BATCH, ROWS, assert_parity, classifier, rows

optimizers = keras.optimizers

OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "sgd": lambda **clip: optimizers.SGD(0.1, **clip),
    "momentum": lambda **clip: optimizers.SGD(0.05, momentum=0.9, **clip),
    "nesterov": lambda **clip: optimizers.SGD(0.05, momentum=0.9, nesterov=True, **clip),
    "rmsprop": lambda **clip: optimizers.RMSprop(0.01, **clip),
    "rmsprop-centered": lambda **clip: optimizers.RMSprop(0.01, momentum=0.9, centered=True, **clip),
    "adam": lambda **clip: optimizers.Adam(0.01, **clip),
    "amsgrad": lambda **clip: optimizers.Adam(0.01, amsgrad=True, **clip),
    "adamw": lambda **clip: optimizers.AdamW(0.01, weight_decay=0.01, **clip),
    "adadelta": lambda **clip: optimizers.Adadelta(1.0, **clip),
    "adagrad": lambda **clip: optimizers.Adagrad(0.05, **clip),
    "adamax": lambda **clip: optimizers.Adamax(0.01, **clip),
    "adafactor": lambda **clip: optimizers.Adafactor(0.01, **clip),
    "nadam": lambda **clip: optimizers.Nadam(0.01, **clip),
    "ftrl": lambda **clip: optimizers.Ftrl(0.1, **clip),
    "lion": lambda **clip: optimizers.Lion(0.005, **clip),
    "lamb": lambda **clip: optimizers.Lamb(0.01, **clip),
    "muon": lambda **clip: optimizers.Muon(0.01, **clip),
    "schedule-free-adamw": lambda **clip: optimizers.ScheduleFreeAdamW(0.01, **clip),
    "loss-scale": lambda **clip: optimizers.LossScaleOptimizer(optimizers.Adam(0.01, **clip)),
    "multi": lambda **clip: optimizers.MultiOptimizer(_by_layer(**clip)),
}


def _by_layer(**clip: Any) -> optimizers.OptimizerMap:
    given = optimizers.OptimizerMap(optimizers.Adam(0.01, **clip))
    given[".*/bias"] = optimizers.SGD(0.05, **clip)
    return given


def _regularized(**options: Any) -> dict[str, Any]:
    return {"kernel_regularizer": keras.regularizers.L1L2(1e-3, 1e-2), **options}


# Each feature: options of the optimiser and of the model, and whether rows are weighted. The clipping
# thresholds lie below this problem's gradients, the norm below its initial kernels': each of them binds.
FEATURES: dict[str, tuple[dict[str, Any], Callable[[], dict[str, Any]], bool]] = {
    "plain": ({}, dict, False),
    "l1l2": ({}, _regularized, False),
    "max-norm": ({}, lambda: {"kernel_constraint": keras.constraints.MaxNorm(0.7)}, False),
    "clipvalue": ({"clipvalue": 0.02}, dict, False),
    "clipnorm": ({"clipnorm": 0.05}, dict, False),
    "global-clipnorm": ({"global_clipnorm": 0.1}, dict, False),
    # A bias before batch normalisation has a zero gradient plus rounding, which adaptive optimisers blow up.
    "batch-normalization": (
        {},
        lambda: {"hidden": lambda: [keras.layers.BatchNormalization(momentum=0.8)], "use_bias": False},
        False,
    ),
    "sample-weights": ({}, dict, True),
}


def test_every_public_optimizer_of_keras_is_in_the_table():
    public = {
        name
        for name, value in vars(keras.optimizers).items()
        if isinstance(value, type) and issubclass(value, optimizers.Optimizer) and name != "Optimizer"
    }
    assert {type(make()).__name__ for make in OPTIMIZERS.values()} == public


def _rows(name: str, feature: str) -> int:
    """A partial last batch (2 rows of 16) for a third of each optimiser's and of each feature's cases.

    It takes a second compilation on both sides, which is most of a case's time.
    """
    partial = (list(OPTIMIZERS).index(name) + list(FEATURES).index(feature)) % 3 == 0
    return ROWS if partial else ROWS - ROWS % BATCH


@pytest.mark.sampled(18)
@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_agree_with_keras(name: str, feature: str):
    clip, options, weighted = FEATURES[feature]
    x, y = rows(_rows(name, feature))

    def make() -> keras.Model:
        return classifier(OPTIMIZERS[name](**clip), **options())

    weights = {"sample_weight": np.linspace(0.0, 2.0, len(x), dtype="float32")} if weighted else {}
    assert_parity(make, x, y, epochs=3, **weights)
