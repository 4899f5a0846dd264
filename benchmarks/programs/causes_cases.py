"""The programs of the causes one by one: what differs from the sound setting, and which findings name it."""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops

from programs import hand_fixes
from programs.causes import Cause, Kind, Setting, Words, numbered, one_hot
from programs.causes_rows import (
    SPARSE,
    amounts,
    autoencoder,
    images,
    labels,
    numbers_as_ids,
    ratings,
    segmentation,
    series,
    table,
    tokens,
    two_heads,
    windows,
)

Dense, Conv = layers.Dense, layers.Conv2D
Row = tuple[str, Kind, Setting, Words, tuple[str, ...]]
LOGITS: Final = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
SHIFTED: Final = ("validation-scale", "validation-range", "validation-unlike-training")
SCALES: Final = ("unscaled-targets", "drowned-output")


def _sentinel(value: float, share: float) -> Any:
    def change(x: np.ndarray) -> np.ndarray:
        x, random = x.copy(), np.random.default_rng(len(x))
        for column in (0, 4, 9, 13):
            x[random.random(len(x)) < share, column % x.shape[1]] = value
        return x

    return change


def _softmax(axis: int) -> Any:
    return layers.Lambda(lambda value: ops.softmax(value, axis=axis))


def _flipped(truth: Any, answer: Any) -> Any:
    return ops.mean(truth * ops.log(answer + 1e-7), axis=-1)


def _over_rows(truth: Any, logits: Any) -> Any:
    return -ops.sum(truth * ops.log_softmax(logits, axis=0), axis=-1)


def _rounded(truth: Any, answer: Any) -> Any:
    return ops.mean(ops.square(truth - ops.round(answer)), axis=-1)


def _blind(truth: Any, answer: Any) -> Any:
    return ops.mean(ops.square(truth - ops.mean(truth, axis=-1, keepdims=True)) + 0 * answer, axis=-1)


def _usual(truth: Any, answer: Any) -> Any:
    return -ops.sum(truth * ops.log(answer + 1e-7), axis=-1)


def _dice(truth: Any, answer: Any) -> Any:
    both = ops.sum(truth * answer, axis=(1, 2, 3))
    return 1 - (2 * both + 1) / (ops.sum(truth, axis=(1, 2, 3)) + ops.sum(answer, axis=(1, 2, 3)) + 1)


class Pairwise(keras.losses.Loss):
    """Squares of (n, 1) against (n,)."""

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One number for all pairs."""
        return ops.mean(ops.square(ops.reshape(y_true, (-1,)) - y_pred))


def _permuted(y: np.ndarray) -> np.ndarray:
    return np.array([2, 0, 3, 1])[y]


def _first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 3, 1)


def _units(x: np.ndarray) -> np.ndarray:
    return x * 300 + 900


def _of(name: str, **options: Any) -> Any:
    return lambda: getattr(keras.optimizers, name)(**options)


def _relu_first() -> list[Any]:
    return [Dense(4, "relu"), layers.Activation("softmax")]


def _twice() -> list[Any]:
    return [Dense(4, "softmax"), layers.Softmax()]


FAULTY: Final[tuple[tuple[str, Setting, Words, tuple[str, ...]], ...]] = (
    ("last-relu", table, {"last": _relu_first}, ("activation-before-softmax",)),
    ("last-twice", table, {"last": _twice}, ("activation-before-softmax",)),
    ("axis", table, {"last": lambda: [Dense(4), _softmax(0)]}, ("output-softmax-axis",)),
    ("axis", table, {"last": lambda: [Dense(4), layers.Softmax(axis=0)]}, ("output-softmax-axis",)),
    ("logits", table, {"last": lambda: [Dense(4), _softmax(-1)], "loss": LOGITS}, ("from-logits",)),
    ("own-sign", table, {"y": one_hot, "loss": _flipped}, ("loss-sign",)),
    ("own-axis", table, {"y": one_hot, "loss": _over_rows, "last": lambda: [Dense(4)]}, ("loss-axis",)),
    ("own-rounded", table, {"y": one_hot, "loss": _rounded}, ("loss-not-differentiable",)),
    ("own-blind", table, {"y": one_hot, "loss": _blind}, ("loss-ignores-prediction",)),
    ("own-pairs", amounts, {"loss": Pairwise()}, ("loss-axis",)),
    ("shifted-labels", table, {"y": lambda y: y + 1}, ("targets-loss",)),
    ("hot-labels", table, {"y": one_hot}, ("targets-loss",)),
    ("number-labels", table, {"loss": "categorical_crossentropy"},
     ("targets-loss", "output-activation-loss")),
    ("sentinels", table, {"x": _sentinel(-999.0, 0.05)}, ("sentinel-values",)),
    ("sentinels", amounts, {"x": _sentinel(9999.0, 0.08)}, ("sentinel-values",)),
    ("twice-scaled", table, {"front": lambda: [layers.Rescaling(1 / 255)]}, ("scaled-twice",)),
    ("twice-scaled", images, {"front": lambda: [layers.Rescaling(1 / 255)], "epochs": 5}, ("scaled-twice",)),
    ("unadapted", table, {"x": _units, "front": lambda: [layers.Normalization(mean=0.0, variance=1.0)]},
     ("scaled-twice", "unscaled-inputs")),
    ("decay", table, {"optimizer": _of("AdamW", learning_rate=1e-3, weight_decay=80.0)},
     ("excessive-decay",)),
    ("decay", table, {"optimizer": _of("SGD", learning_rate=0.05, weight_decay=12.0)}, ("excessive-decay",)),
    ("accumulated", table, {"optimizer": _of("Adam", gradient_accumulation_steps=5000)},
     ("accumulation-too-long",)),
    ("clipped", table, {"optimizer": _of("SGD", learning_rate=0.05, clipnorm=1e-5)},
     ("clipping-too-strong",)),
    ("clipped", table, {"optimizer": _of("SGD", learning_rate=0.1, momentum=0.9, clipvalue=1e-8)},
     ("clipping-too-strong",)),
    ("loss-scale", table, {"optimizer": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(), initial_scale=2.0**120)}, ("loss-scale",)),
    ("penalised", table, {"penalty": {"activity_regularizer": keras.regularizers.L1(5.0)}},
     ("penalty-outweighs-loss",)),
    ("penalised", table, {"penalty": {"kernel_regularizer": keras.regularizers.L1(0.08)}},
     ("penalty-outweighs-loss", "excessive-penalty")),
    ("frozen", images, {"colour": True, "filters": (4,), "front": lambda: [_frozen()]},
     ("frozen-random",)),
    ("scaled-split", table, {"held": lambda x: x * 40 + 90}, SHIFTED),
    ("scaled-split", images, {"held": lambda x: x * 255}, SHIFTED),
    ("scaled-split", amounts, {"y_held": lambda y: y * 200 + 500}, SHIFTED),
    ("class-split", table, {"rows": lambda y: y < 3}, ("validation-classes",)),
    ("order-split", table, {"y_held": _permuted}, ("validation-class-order",)),
    ("order-split", images, {"y_held": _permuted}, ("validation-class-order", "validation-unlike-training")),
    ("label-split", table, {"y_held": lambda y: np.random.default_rng(0).permutation(y)},
     ("validation-unlike-training",)),
    ("windows", windows, {"shuffled": True}, ("overlapping-windows",)),
    ("ids-large", tokens, {"size": 90}, ("ids-outside-table",)),
    ("ids-negative", tokens, {"x": lambda x: x - 30}, ("ids-outside-table",)),
    ("ids-one", ratings, {"first": 1}, ("ids-outside-table",)),
    ("ids-share", tokens, {"x": lambda x: (x / 120).astype("float32")}, ("ids-outside-table",)),
    ("ids-numbers", numbers_as_ids, {"lookup": True, "scale": 1.0}, ("ids-outside-table",)),
    ("padded", tokens, {"padded": "after", "middle": "lstm"}, ("padding-unmasked",)),
    ("padded", series, {"mask": False}, ("padding-unmasked",)),
    ("padded", series, {"mask": False, "cell": "gru", "pad": -1.0}, ("padding-unmasked",)),
    ("channels", images, {"colour": True, "x": _first}, ("channels-order",)),
    ("masks-255", segmentation, {"y": lambda y: y * 255}, ("targets-loss",)),
    ("masks-hot", segmentation, {"y": lambda y: np.concatenate([1 - y, y], -1), "loss": SPARSE,
                                 "last": lambda: [Conv(2, 1, activation="softmax")]}, ("targets-loss",)),
    ("masks-field", segmentation, {"kernel": 1, "flat": True}, ("receptive-field",)),
    ("masks-rare", segmentation, {"rare": True, "epochs": 4}, ("rare-pixels",)),
    ("one-image", images, {"colour": True, "norm": True, "batch": 1, "epochs": 3}, ("batch-norm-one-image",)),
    ("deep-maps", images, {"filters": (8, 8, 8, 8, 8, 8)}, ("kernel-larger-than-map",)),
    ("pictures-255", autoencoder, {"x": lambda x: x * 255},
     ("targets-loss", "unscaled-targets", "unscaled-inputs")),
    ("wide", autoencoder, {"width": 300}, ("wide-bottleneck",)),
    ("drowned", two_heads, {"price": 60.0}, SCALES),
    ("drowned", two_heads, {"weights": {"kind": 1e-4, "price": 1.0}}, SCALES),
    ("price-units", two_heads, {"price": 5000.0}, SCALES),
    ("labels-softmax", labels, {"out": "softmax"}, ("softmax-many-labels",)),
    ("labels-softmax", labels, {"out": "softmax", "loss": "categorical_crossentropy"},
     ("softmax-many-labels", "targets-loss")),
)  # fmt: skip

SOUND: Final[tuple[tuple[str, Setting, Words], ...]] = (
    *((setting.__name__, setting, {}) for setting in (
        table, amounts, tokens, series, images, segmentation, autoencoder, two_heads, labels, ratings,
        windows, numbers_as_ids)),
    ("table", table, {"y": one_hot, "loss": _usual}),
    ("table", table, {"last": lambda: [Dense(4), _softmax(-1)]}),
    ("table", table, {"optimizer": _of("AdamW", learning_rate=1e-3, weight_decay=0.01)}),
    ("table", table, {"optimizer": _of("Adam", learning_rate=2e-3, clipnorm=1.0)}),
    ("table", table, {"x": _units, "front": lambda: [layers.Normalization(mean=900.0, variance=9e4)]}),
    ("table", table, {"penalty": {"kernel_regularizer": keras.regularizers.L2(1e-4)}}),
    ("tokens", tokens, {"middle": "average", "epochs": 30}),
    ("tokens", tokens, {"padded": "after", "middle": "gru", "mask": True, "epochs": 25}),
    ("tokens", tokens, {"padded": "after"}),
    ("tokens", tokens, {"padded": "before", "middle": "gru", "epochs": 25}),
    ("series", series, {"padded": False, "mask": False}),
    ("images", images, {"colour": True, "norm": True}),
    ("images", images, {"x": lambda x: x * 255, "front": lambda: [layers.Rescaling(1 / 255)]}),
    ("segmentation", segmentation, {"loss": _dice}),
    ("segmentation", segmentation, {"y": lambda y: y[..., 0].astype("int64"), "loss": SPARSE,
                                    "last": lambda: [Conv(2, 1, activation="softmax")]}),
    ("autoencoder", autoencoder, {"out": "linear"}),
    ("two_heads", two_heads, {"weights": {"kind": 1.0, "price": 0.5}}),
)  # fmt: skip


def _frozen() -> Any:
    """A random convolution that cannot learn, of two channels: what the others see."""
    layer = Conv(2, 5, strides=4, padding="same", activation="relu")
    layer.trainable = False
    return layer


def causes() -> list[Cause]:
    """All of them."""
    sound, faulty = (*SOUND, *hand_fixes.SOUND), (*FAULTY, *hand_fixes.FAULTY)
    rows: list[Row] = [(name, "sound", setting, words, ()) for name, setting, words in sound]
    rows += [(name, "faulty", setting, words, codes) for name, setting, words, codes in faulty]
    return numbered(rows)
