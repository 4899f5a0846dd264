"""Programs as a competent person writes them."""

from __future__ import annotations

from typing import Final

from programs.families import ALL, CLASSES, MANY, SMALL, Family

SOUND: Final = (
    Family(
        "relu",
        (),
        ALL,
        [{}, {"depth": 1, "units": 64}, {"depth": 3, "units": 64}, {"depth": 4, "units": 16}],
        12,
    ),
    Family("elu", (), ALL, [{"activation": "elu"}, {"activation": "elu", "depth": 5}], 6),
    Family("small-tanh", (), ALL, [{"activation": "tanh"}, {"activation": "tanh", "depth": 3}], 6),
    Family(
        "small-sigmoid",
        (),
        SMALL,
        [{"activation": "sigmoid", "depth": 1}, {"activation": "sigmoid", "depth": 2, "optimizer": "adam"}],
        5,
    ),
    Family(
        "keras-default",
        (),
        ALL,
        [
            {"initializer": "glorot_uniform", "optimizer": "adam"},
            {"initializer": "glorot_uniform", "optimizer": "rmsprop", "depth": 3},
        ],
        6,
    ),
    Family("selu", (), MANY, [{"activation": "selu", "depth": 10}, {"activation": "selu", "depth": 20}], 4),
    Family(
        "norm",
        (),
        ALL,
        [
            {"norm": {"momentum": 0.9}, "depth": 4},
            {"norm": {"momentum": 0.9}, "depth": 20},
            {"norm": {}, "depth": 3, "activation": "elu"},
        ],
        7,
    ),
    Family("dropout", (), MANY, [{"dropout": 0.3}, {"dropout": 0.5, "units": 64}], 4),
    Family(
        "convolutions",
        (),
        ("digits", "fashion", "cifar"),
        [
            {"convolutions": 2, "depth": 1},
            {"convolutions": 2, "depth": 1, "norm": {"momentum": 0.9}},
            {"convolutions": 2, "depth": 1, "dropout": 0.3},
        ],
        6,
    ),
    Family(
        "smooth",
        (),
        CLASSES,
        [{"activation": "gelu"}, {"activation": "silu", "depth": 3}, {"activation": 0.2, "depth": 4}],
        5,
    ),
    Family("skips", (), SMALL, [{"skips": True, "depth": 9, "norm": {"momentum": 0.9}}], 2),
    Family(
        "other-targets",
        (),
        ("circles", "digits", "blobs"),
        [
            {"targets": "one-hot"},
            {"targets": "column"},
            {"from_logits": True, "output": "linear"},
            {"targets": "floats"},
        ],
        8,
    ),
    Family(
        "regression",
        (),
        ("table",),
        [{"loss": "mae"}, {"loss": "huber", "activation": "elu"}, {"penalty": 1e-4}],
        3,
    ),
)
