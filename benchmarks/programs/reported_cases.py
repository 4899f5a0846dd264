"""The reported programs one by one: what differs from the sound network, and which findings name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import keras
import numpy as np

from programs.reported import NETWORKS, Reported

LOW: Final = ("rate-too-low", "learning-rate-range", "slow-convergence", "underfitting", "change-rate")
HIGH: Final = ("rate-too-high", "learning-rate-range", "non-finite", "dying-units", "saturating-units")
START: Final = (
    "unpaired-initializer", "variance-forward", "variance-backward", "saturated-units", "dead-units",
    "vanishing-gradients", "exploding-gradients", "saturating-units", "dying-units",
)  # fmt: skip
SAME: Final = ("constant-initializer", "disconnected-layer", *START)
DEEP: Final = (
    "saturating-deep",
    "vanishing-gradients",
    "variance-forward",
    "variance-backward",
    "saturated-units",
)
OUTPUT: Final = ("output-activation-loss", "targets-loss")
SCALE: Final = ("unscaled-inputs", "saturated-units", "saturating-units", "dead-units", "dying-units")
NORMAL: Final = keras.initializers.RandomNormal
SCHEDULES: Final = keras.optimizers.schedules


def _decay() -> Any:
    return SCHEDULES.ExponentialDecay(1e-3, 5, 0.5)


Row = tuple[str, Mapping[str, Any], tuple[str, ...]]

FAULTY: Final[tuple[Row, ...]] = (
    # images
    ("shapes-cnn", {"opt": "sgd", "rate": 1e-5}, LOW),
    ("shapes-cnn", {"rate": 0.1}, HIGH),
    ("shapes-cnn", {"init": "zeros"}, SAME),
    ("shapes-cnn", {"act": "linear", "depth": 1, "width": 0.1}, ("linear-hidden",)),
    ("shapes-cnn", {"out": "relu"}, OUTPUT),
    ("shapes-cnn", {"opt": "adadelta"}, LOW),
    ("shapes-cnn", {"scale": 255.0, "opt": "sgd", "rate": 0.01}, (*SCALE, *HIGH)),
    ("shapes-cnn", {"drop": 0.95}, ("excessive-dropout",)),
    ("shapes-cnn", {"l2": 0.5}, ("excessive-penalty",)),
    ("shapes-cnn", {"logits": True, "opt": "sgd", "rate": 0.01}, (*OUTPUT, *LOW)),
    ("shapes-cnn", {"frozen": True}, ("all-frozen",)),
    ("shapes-cnn", {"clip": 1e-4, "opt": "sgd", "rate": 0.01}, LOW),
    ("shapes-cnn", {"depth": 6, "act": "sigmoid"}, DEEP),
    ("shapes-cnn", {"batch": 900, "opt": "sgd", "rate": 0.01}, (*LOW, "batch-too-large")),
    ("shapes-strided", {"bias": -8.0}, ("dead-units", "variance-forward", *START)),
    ("shapes-strided", {"opt": "sgd", "rate": 2.0}, HIGH),
    ("shapes-strided", {"shuffle": False, "opt": "sgd", "rate": 0.1}, ("not-shuffled",)),
    ("textures-deep", {"norm": False, "init": NORMAL(0, 0.001), "opt": "rmsprop"}, START),
    ("textures-deep", {"norm": False, "act": "sigmoid", "opt": "sgd", "rate": 0.05}, DEEP),
    ("textures-deep", {"drop": 0.9}, ("excessive-dropout",)),
    ("textures-deep", {"opt": "adagrad", "rate": 1e-5}, LOW),
    ("textures-resnet", {"rate": 3e-6}, LOW),
    ("textures-resnet", {"schedule": _decay}, (*LOW, "rate-decays")),
    ("textures-resnet", {"out": "sigmoid", "loss": "mse", "opt": "sgd", "rate": 1e-3}, (*OUTPUT, *LOW)),
    ("unet", {"target": lambda y: y * 255.0}, OUTPUT),
    ("unet", {"out": "softmax"}, OUTPUT),
    ("unet", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("unet", {"act": "sigmoid", "opt": "sgd", "rate": 0.01}, (*DEEP, *LOW)),
    ("image-autoencoder", {"opt": "adadelta"}, LOW),
    ("image-autoencoder", {"out": "tanh", "act": "tanh", "scale": 255.0}, (*OUTPUT, *SCALE)),
    ("image-autoencoder", {"rate": 0.3}, HIGH),
    # series
    ("waves-lstm", {"out": "relu"}, OUTPUT),
    ("waves-lstm", {"out": "sigmoid"}, OUTPUT),
    ("waves-lstm", {"rate": 1e-6}, LOW),
    ("waves-lstm", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("waves-lstm", {"depth": 2, "cell_act": "relu", "init": NORMAL(0, 2.0), "opt": "rmsprop", "rate": 0.05},
     (*START, *HIGH)),
    ("waves-gru", {"drop": 0.95}, ("excessive-dropout",)),
    ("waves-gru", {"target": lambda y: y * 3000 + 8000}, ("unscaled-targets",)),
    ("waves-gru", {"opt": "adagrad"}, LOW),
    ("gestures-lstm", {"opt": "sgd", "rate": 1e-3}, LOW),
    ("gestures-lstm", {"scale": 300.0, "shift": 900.0}, SCALE),
    ("gestures-lstm", {"units": 1, "out": "softmax", "loss": "mse"}, OUTPUT),
    ("gestures-lstm", {"rate": 0.5}, HIGH),
    ("gestures-lstm", {"cell": "rnn", "init": NORMAL(0, 5.0)}, (*START, "poor-recurrent-start")),
    ("gestures-cnn", {"init": "ones"}, SAME),
    ("gestures-cnn", {"loss": "mse", "opt": "sgd", "rate": 0.01}, OUTPUT),
    ("gestures-cnn", {"rate": 1e-6}, LOW),
    # tokens
    ("words-lstm", {"opt": "adagrad", "units": 1, "out": "softmax"}, OUTPUT),
    ("words-lstm", {"opt": "sgd"}, LOW),
    ("words-lstm", {"rate": 1e-5}, LOW),
    ("words-average", {"opt": "adadelta"}, LOW),
    ("words-average", {"out": "tanh"}, OUTPUT),
    ("topics-cnn", {"opt": "sgd", "rate": 1e-3}, LOW),
    ("topics-cnn", {"target": lambda y: y + 1, "same_truth": False}, OUTPUT),
    ("topics-cnn", {"bias": -10.0}, START),
    ("topics-attention", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("topics-attention", {"rate": 0.2}, HIGH),
    ("topics-attention", {"drop": 0.97}, ("excessive-dropout",)),
    ("words-attention", {"rate": 0.1, "opt": "rmsprop"}, HIGH),
    ("words-attention", {"rate": 1e-6}, LOW),
    ("tags-lstm", {"out": "linear"}, OUTPUT),
    ("tags-lstm", {"opt": "sgd", "rate": 1e-3}, LOW),
    ("tags-lstm", {"units": 3}, OUTPUT),
    # others
    ("siamese", {"init": "zeros"}, SAME),
    ("siamese", {"out": "relu", "loss": "mse", "rate": 0.2}, (*OUTPUT, *HIGH)),
    ("siamese", {"opt": "sgd", "rate": 1e-3}, LOW),
    ("ratings", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("ratings", {"out": "sigmoid"}, OUTPUT),
    ("ratings", {"rate": 1e-5}, LOW),
    ("two-heads", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("two-heads", {"rate": 0.5}, HIGH),
    ("two-heads", {"depth": 9, "act": "sigmoid"}, DEEP),
    # dense
    ("autoencoder", {"opt": "adadelta"}, LOW),
    ("autoencoder", {"act": "linear", "width": 0.05}, ("linear-hidden", "narrow-layer")),
    ("autoencoder", {"scale": 255.0}, (*OUTPUT, *SCALE)),
    ("labels", {"out": "softmax", "loss": "categorical_crossentropy"}, OUTPUT),
    ("labels", {"l2": 0.3}, ("excessive-penalty",)),
    ("labels", {"opt": "sgd", "rate": 1e-4}, LOW),
    ("wine", {"epochs": 2, "rate": 1e-4}, (*LOW, "underfitting")),
    ("wine", {"out": "sigmoid", "units": 1, "loss": "binary_crossentropy"}, OUTPUT),
    ("tumours", {"depth": 12, "act": "tanh", "init": NORMAL(0, 0.02)}, (*DEEP, *START)),
    ("tumours", {"scale": 0.0001, "opt": "sgd", "rate": 0.01}, (*SCALE, *LOW)),
    ("patients", {"target": lambda y: y * 500 + 4000, "opt": "sgd"}, ("unscaled-targets", *HIGH)),
    ("patients", {"rate": 1e-6}, LOW),
    ("patients", {"act": "relu", "out": "softmax"}, OUTPUT),
    ("moons", {"act": "linear"}, ("linear-hidden",)),
    ("moons", {"opt": "sgd", "rate": 1e-3}, LOW),
    ("moons", {"depth": 7, "act": "sigmoid", "opt": "sgd", "rate": 0.1}, DEEP),
    ("spirals", {"act": "linear"}, ("linear-hidden",)),
    ("spirals", {"epochs": 3}, ("underfitting", *LOW)),
    ("spirals", {"width": 0.03}, ("narrow-layer", "underfitting")),
    ("customers", {"rate": 1.0}, HIGH),
    ("customers", {"act": "softmax", "opt": "sgd", "rate": 0.05}, ("softmax-hidden", *LOW)),
    ("customers", {"depth": 20, "init": "glorot_uniform", "act": "relu", "opt": "sgd", "rate": 0.01},
     ("unpaired-initializer", *START)),
    ("circuits", {"opt": "rmsprop", "rate": 1e-6}, LOW),
    ("circuits", {"act": "sigmoid", "opt": "sgd", "rate": 1e-3}, (*DEEP, *LOW)),
    ("circuits", {"init": "zeros"}, SAME),
)  # fmt: skip

SOUND: Final[tuple[Row, ...]] = (
    *((name, {}, ()) for name in NETWORKS),
    ("shapes-cnn", {"opt": "rmsprop", "drop": 0.25}, ()),
    ("shapes-cnn", {"opt": "sgd", "rate": 0.05, "momentum": 0.9}, ()),
    ("shapes-cnn", {"norm": True, "batch": 64}, ()),
    ("shapes-cnn", {"act": "elu", "init": "he_normal"}, ()),
    ("shapes-cnn", {"logits": True, "out": "linear"}, ()),
    ("shapes-strided", {"act": "silu", "opt": "adamw"}, ()),
    ("shapes-strided", {"act": "tanh", "rate": 3e-3}, ()),
    ("textures-deep", {"opt": "sgd", "rate": 0.1, "momentum": 0.9}, ()),
    ("textures-resnet", {"act": "gelu", "opt": "nadam"}, ()),
    ("waves-lstm", {"opt": "rmsprop", "depth": 2}, ()),
    ("waves-lstm", {"loss": "mae"}, ()),
    ("waves-gru", {"cell": "rnn"}, ()),
    ("gestures-lstm", {"cell": "gru", "rate": 3e-3}, ()),
    ("gestures-lstm", {"depth": 2, "drop": 0.1}, ()),
    ("gestures-cnn", {"norm": True}, ()),
    ("gestures-cnn", {"act": "tanh", "depth": 3, "rate": 2e-3}, ()),
    ("words-lstm", {"opt": "rmsprop", "rate": 2e-3}, ()),
    ("words-lstm", {"cell": "gru"}, ()),
    ("words-average", {"opt": "adamw", "rate": 3e-3, "act": "sigmoid"}, ()),
    ("topics-cnn", {"drop": 0.4}, ()),
    ("topics-attention", {"depth": 2, "drop": 0.1}, ()),
    ("topics-attention", {"act": "gelu", "opt": "adamw", "rate": 2e-3}, ()),
    ("words-attention", {"depth": 2}, ()),
    ("tags-lstm", {"out": "linear", "logits": True}, ()),
    ("unet", {"norm": True}, ()),
    ("siamese", {"act": "elu"}, ()),
    ("ratings", {"opt": "rmsprop"}, ()),
    ("two-heads", {"act": "elu", "depth": 3}, ()),
    ("image-autoencoder", {"out": "linear"}, ()),
    ("autoencoder", {"loss": "binary_crossentropy"}, ()),
    ("labels", {"drop": 0.2}, ()),
    ("wine", {"act": "sigmoid", "rate": 0.01}, ()),
    ("tumours", {"act": "tanh", "opt": "sgd", "rate": 0.1}, ()),
    ("tumours", {"act": "selu", "init": "lecun_normal"}, ()),
    ("patients", {"act": "sigmoid", "depth": 1, "rate": 0.01}, ()),
    ("moons", {"act": "tanh"}, ()),
    ("customers", {"l2": 1e-4, "norm": True}, ()),
    ("circuits", {"act": "gelu", "loss": "huber"}, ()),
)

NOISE: Final[tuple[Row, ...]] = tuple(
    (name, {}, ("shuffled-labels",))
    for name in ("shapes-cnn", "gestures-lstm", "gestures-cnn", "topics-cnn", "topics-attention",
                 "waves-lstm", "wine", "moons", "customers", "patients")
)  # fmt: skip


def reported() -> list[Reported]:
    """All of them; the names number the variants of a network."""
    found: list[Reported] = []
    for kind, rows in (("sound", SOUND), ("faulty", FAULTY), ("noise", NOISE)):
        seen: dict[str, int] = {}
        for name, words, causes in rows:
            seen[name] = number = seen.get(name, 0) + 1
            found.append(Reported(f"{name}/{kind}/{number}", kind, NETWORKS[name], words, frozenset(causes)))  # type: ignore[arg-type]
    return found


def half(one: Reported) -> int:
    """0 for the half that thresholds are chosen on, 1 for the other, by the name alone."""
    return int(np.sum(np.frombuffer(one.name.encode(), dtype=np.uint8)) % 2)
