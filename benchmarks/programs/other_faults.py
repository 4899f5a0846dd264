"""Faults of outputs and losses, of data, and of optimisers."""

from __future__ import annotations

from typing import Final

from programs.families import ALL, MANY, SMALL, Family

_RATE_HIGH: Final = ("learning-rate-range", "rate-too-high")


_RATE_LOW: Final = ("learning-rate-range", "rate-too-low")


OUTPUT: Final = (
    Family(
        "softmax-of-one",
        ("output-activation-loss",),
        ("circles",),
        [
            {"output": "softmax", "units_out": 1},
            {"output": "softmax", "units_out": 1, "loss": "mse"},
            {"output": "softmax", "units_out": 1, "depth": 6},
        ],
        3,
    ),
    Family(
        "softmax-amounts",
        ("output-activation-loss", "targets-loss"),
        ("table",),
        [{"output": "softmax", "units_out": 1}],
        2,
    ),
    Family(
        "relu-output", ("output-activation-loss",), ("circles", "digits", "blobs"), [{"output": "relu"}], 4
    ),
    Family(
        "linear-output",
        ("output-activation-loss",),
        ("circles", "digits", "fashion"),
        [{"output": "linear"}],
        4,
    ),
    Family("tanh-output", ("output-activation-loss",), ("circles", "blobs"), [{"output": "tanh"}], 2),
    Family(
        "twice-softmax",
        ("output-activation-loss",),
        ("digits", "fashion", "circles"),
        [{"from_logits": True}],
        3,
    ),
    Family("sigmoids-for-classes", ("output-activation-loss",), MANY, [{"output": "sigmoid"}], 3),
    Family(
        "numbers-for-rows",
        ("targets-loss",),
        MANY,
        [{"loss": "categorical_crossentropy"}, {"loss": "mse"}],
        4,
    ),
    Family(
        "rows-for-numbers",
        ("targets-loss",),
        MANY,
        [{"targets": "one-hot", "loss": "sparse_categorical_crossentropy"}],
        3,
    ),
    Family(
        "one-unit-categorical",
        ("output-activation-loss", "targets-loss"),
        ("circles", "digits"),
        [
            {"loss": "categorical_crossentropy", "units_out": 1, "output": "sigmoid"},
            {"loss": "categorical_crossentropy", "units_out": 1, "output": "softmax"},
        ],
        3,
    ),
    Family("too-few-units", ("targets-loss",), ("blobs", "digits"), [{"units_out": 2}, {"units_out": 9}], 2),
    Family("classes-from-one", ("targets-loss",), MANY, [{"targets": "from-one"}], 3),
    Family(
        "signed-labels",
        ("targets-loss",),
        ("circles",),
        [{"targets": "signed"}, {"targets": "signed", "activation": "tanh", "depth": 3}],
        3,
    ),
    Family(
        "binary-for-classes",
        ("targets-loss", "output-activation-loss"),
        ("digits", "blobs"),
        [{"loss": "binary_crossentropy", "units_out": 1, "output": "sigmoid"}],
        2,
    ),
    Family(
        "bounded-amounts",
        ("targets-loss",),
        ("table",),
        [{"output": "sigmoid"}, {"output": "tanh"}, {"output": "relu"}],
        3,
    ),
    Family(
        "crossentropy-of-amounts",
        ("targets-loss", "output-activation-loss"),
        ("table",),
        [{"loss": "binary_crossentropy", "output": "sigmoid"}],
        2,
    ),
    Family(
        "large-amounts",
        ("unscaled-targets", "non-finite", "exploding-gradients"),
        ("table",),
        [
            {"targets": "large"},
            {"targets": "large", "depth": 4, "activation": "tanh"},
            {"targets": "large", "output": "sigmoid"},
        ],
        5,
    ),
)


DATA: Final = (
    Family(
        "raw-pixels",
        ("unscaled-inputs",),
        ("fashion", "cifar", "digits"),
        [
            {"inputs": "raw", "activation": "sigmoid", "optimizer": "sgd"},
            {"inputs": "raw", "activation": "tanh", "depth": 4},
            {"inputs": "raw", "optimizer": "momentum"},
            {"inputs": "bytes", "convolutions": 2, "depth": 1, "optimizer": "sgd"},
        ],
        8,
    ),
    Family(
        "raw-columns",
        ("unscaled-inputs",),
        ("blobs", "circles", "table"),
        [{"inputs": "raw", "activation": "tanh"}, {"inputs": "wild", "depth": 3}, {"inputs": "shifted"}],
        8,
    ),
    Family("tiny-inputs", ("unscaled-inputs",), SMALL, [{"inputs": "tiny"}], 3),
    Family("missing-values", ("data-not-finite",), ALL, [{"inputs": "nan"}, {"inputs": "infinite"}], 5),
    Family("sorted", ("not-shuffled",), MANY, [{"shuffle": False}], 3),
    Family(
        "shuffled-labels", ("shuffled-labels",), MANY, [{"targets": "shuffled"}], 3, "warning", curable=False
    ),
    Family("one-class", ("one-class",), ("circles", "digits"), [{"targets": "one-class"}], 2, curable=False),
)


OPTIMIZER: Final = (
    Family(
        "huge-rate",
        _RATE_HIGH,
        ALL,
        [
            {"optimizer": "sgd", "rate": 10.0},
            {"optimizer": "adam", "rate": 1.0},
            {"optimizer": "momentum", "rate": 2.0, "depth": 4},
            {"optimizer": "rmsprop", "rate": 0.5},
            {"optimizer": "nadam", "rate": 0.3, "depth": 5},
        ],
        10,
    ),
    Family(
        "tiny-rate",
        _RATE_LOW,
        ALL,
        [
            {"optimizer": "sgd", "rate": 1e-6},
            {"optimizer": "adam", "rate": 1e-8},
            {"optimizer": "rmsprop", "rate": 1e-7},
            {"optimizer": "momentum", "rate": 1e-7},
        ],
        7,
    ),
    Family(
        "adagrad-deep",
        ("adagrad-deep",),
        MANY,
        [
            {"optimizer": "adagrad", "rate": 1e-3, "depth": 6},
            {"optimizer": "adagrad", "rate": 1e-3, "depth": 12},
        ],
        3,
        "warning",
    ),
    Family("frozen", ("all-frozen",), SMALL, [{"frozen": "all"}], 2),
    Family("stale-compile", ("stale-compile",), SMALL, [{"frozen": "stale"}], 2),
)
