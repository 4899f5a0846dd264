"""Faults of networks: how weights begin, what becomes of the signal with depth, what layers call for."""

from __future__ import annotations

from typing import Any, Final

from programs.families import ALL, CLASSES, MANY, SMALL, Family


def _normal(deviation: float, mean: float = 0.0) -> dict[str, Any]:
    return {"class_name": "RandomNormal", "config": {"mean": mean, "stddev": deviation}}


def _uniform(low: float, high: float) -> dict[str, Any]:
    return {"class_name": "RandomUniform", "config": {"minval": low, "maxval": high}}


SIGNAL: Final = ("variance-forward", "variance-backward", "vanishing-gradients", "exploding-gradients")


BEGINNING: Final = (
    Family(
        "zero-init",
        ("constant-initializer",),
        ALL,
        [{"initializer": "zeros"}, {"initializer": "zeros", "activation": "tanh", "depth": 3}],
        5,
    ),
    Family(
        "one-init",
        ("constant-initializer",),
        CLASSES,
        [
            {"initializer": "ones"},
            {"initializer": {"class_name": "Constant", "config": {"value": 0.1}}, "activation": "sigmoid"},
        ],
        4,
    ),
    Family(
        "wide-init",
        ("unpaired-initializer", *SIGNAL, "saturated-units"),
        ALL,
        [
            {"initializer": _normal(1.0), "depth": 8},
            {"initializer": _uniform(-1, 1), "depth": 15, "units": 24},
            {"initializer": _normal(1.0), "activation": "tanh", "depth": 10},
        ],
        7,
    ),
    Family(
        "positive-init",
        ("unpaired-initializer", *SIGNAL, "saturated-units"),
        CLASSES,
        [
            {"initializer": _uniform(0, 1), "depth": 6},
            {"initializer": _uniform(0, 1), "depth": 5, "activation": "tanh"},
            {"initializer": _uniform(0, 1), "activation": "sigmoid", "depth": 4, "units": 50},
        ],
        5,
    ),
    Family(
        "narrow-init",
        ("unpaired-initializer", *SIGNAL),
        ALL,
        [
            {"initializer": _normal(0.01), "depth": 6},
            {"initializer": _normal(0.05), "depth": 20, "units": 16},
            {"initializer": _uniform(-0.05, 0.05), "activation": "tanh", "depth": 12},
        ],
        7,
    ),
    Family(
        "negative-init",
        ("dead-units", "unpaired-initializer"),
        MANY,
        [{"initializer": _normal(0.1, -1.0), "depth": 3}],
        3,
    ),
    Family(
        "negative-bias",
        ("dead-units", "dying-units"),
        SMALL,
        [{"bias": -10.0, "depth": 3}, {"bias": -5.0, "depth": 4}],
        4,
    ),
    Family(
        "unpaired-deep",
        ("unpaired-initializer", *SIGNAL),
        CLASSES,
        [
            {"initializer": "glorot_uniform", "depth": 25, "units": 16, "optimizer": "sgd"},
            {"initializer": "glorot_normal", "depth": 40, "units": 12},
        ],
        4,
    ),
)


DEPTH: Final = (
    Family(
        "deep-sigmoid",
        ("saturating-deep", *SIGNAL),
        ALL,
        [
            {"activation": "sigmoid", "depth": 8},
            {"activation": "sigmoid", "depth": 20, "units": 20},
            {"activation": "sigmoid", "depth": 40, "units": 12},
            {"activation": "sigmoid", "depth": 12, "initializer": "he_normal"},
        ],
        10,
    ),
    Family(
        "deep-tanh",
        ("saturating-deep", "unpaired-initializer", *SIGNAL),
        CLASSES,
        [
            {"activation": "tanh", "depth": 40, "units": 16, "optimizer": "sgd"},
            {"activation": "tanh", "depth": 20, "initializer": _normal(0.05)},
            {"activation": "tanh", "depth": 30, "initializer": _uniform(-0.05, 0.05), "units": 10},
        ],
        5,
    ),
    Family(
        "deep-softmax",
        ("saturating-deep", "softmax-hidden", *SIGNAL),
        MANY,
        [{"activation": "softmax", "depth": 3}, {"activation": "softmax", "depth": 6}],
        4,
    ),
    Family(
        "exponential",
        ("exponential-hidden",),
        ALL,
        [{"activation": "exponential", "depth": 3}, {"activation": "exponential", "depth": 6, "units": 16}],
        6,
    ),
    Family(
        "no-activation",
        ("linear-hidden",),
        ("circles", "digits", "table"),
        [{"activation": "linear", "depth": 3}, {"activation": "linear", "depth": 6}],
        4,
        "warning",
    ),
    Family(
        "steep-leak",
        ("leaky-slope",),
        CLASSES,
        [{"activation": 1.5, "depth": 6}, {"activation": 1.0, "depth": 3}],
        4,
    ),
)


KINDS: Final = (
    Family(
        "selu-unpaired",
        ("self-normalization", "unpaired-initializer", *SIGNAL),
        MANY,
        [
            {"activation": "selu", "initializer": "he_normal", "depth": 20},
            {"activation": "selu", "initializer": "glorot_uniform", "depth": 10, "inputs": "raw"},
        ],
        3,
        "warning",
    ),
    Family(
        "selu-dropout",
        ("dropout-with-selu", "self-normalization"),
        MANY,
        [{"activation": "selu", "dropout": 0.2, "depth": 6}],
        2,
        "warning",
    ),
    Family(
        "norm-axis",
        ("batch-norm-axis",),
        ("digits", "fashion"),
        [{"norm": {"axis": 1}, "convolutions": 2, "depth": 1}],
        2,
        "warning",
    ),
    Family(
        "norm-batch",
        ("batch-norm-small-batch",),
        SMALL,
        [{"norm": {}, "batch_size": 2, "depth": 4, "epochs": 5}],
        2,
        "warning",
    ),
    Family(
        "norm-momentum",
        ("batch-norm-momentum",),
        SMALL,
        [{"norm": {"momentum": 0.9999}, "depth": 3}],
        2,
        "warning",
    ),
)
