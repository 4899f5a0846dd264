"""A subject for each remedy of data, outputs, losses and pictures, and what the treated one must have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers
from tests.treatment.subjects import IMAGES, LABELS, THREE, X, dense, subject

from kilter._treatment.subject import Subject

RNG = np.random.default_rng(5)
IDS = RNG.integers(0, 30, size=(96, 8))
LENGTHS = RNG.integers(2, 6, size=96)
PADDED = np.where(np.arange(8) < LENGTHS[:, None], RNG.integers(1, 30, size=(96, 8)), 0)
WAVES = np.where((np.arange(8) < LENGTHS[:, None])[..., None], 0.3, -1.0).astype("float32")
SENTINEL = np.where(RNG.random((96, 6)) < 0.1, -999.0, X).astype("float32")
MASKS = np.zeros((64, 8, 8, 1), "float32")
MASKS[:, 3:5, 3:5] = 1.0
PICTURES = IMAGES[..., :1] / 255
SPOTS = np.zeros((64, 8, 8, 1), "float32")
for _row, (_top, _left) in enumerate(RNG.integers(0, 6, size=(64, 2))):
    SPOTS[_row, _top : _top + 3, _left : _left + 2] = 1.0
MANY = (X[:, :3] > 0.4).astype("float32")


def chain(*members: Any, features: Any = (6,)) -> keras.Sequential:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input(features), *members])


def lookup(x: np.ndarray, size: int = 20, **options: Any) -> Subject:
    table = layers.Embedding(size, 3, name="table", **options)
    return subject(chain(table, layers.LSTM(3), layers.Dense(1, "sigmoid"), features=x.shape[1:]), x)


def ending(*members: Any, **options: Any) -> Subject:
    loss = options.pop("loss", "sparse_categorical_crossentropy")
    return subject(chain(layers.Dense(6, "relu"), *members), y=THREE, loss=loss, **options)


@keras.saving.register_keras_serializable("kilter-tests")
class Loud(layers.Layer):
    """Adds positions between -300 and 300."""

    def call(self, tokens: Any) -> Any:
        return tokens + 300 * keras.ops.sin(keras.ops.arange(8, dtype="float32"))[:, None]


def drowned() -> Subject:
    members = (layers.Embedding(30, 4), Loud(), layers.Flatten(), layers.Dense(1, "sigmoid"))
    return subject(chain(*members, features=(8,)), IDS)


def keeps_padding() -> Subject:
    inputs = keras.Input((8,), dtype="int32")
    value = layers.Embedding(30, 4)(inputs)
    value = layers.MultiHeadAttention(1, 4)(value, value, attention_mask=keras.ops.equal(inputs, 0)[:, None])
    return subject(keras.Model(inputs, layers.Dense(1, "sigmoid")(value[:, 0])), PADDED)


def masks(
    *members: Any,
    x: np.ndarray | None = None,
    y: np.ndarray = MASKS,
    loss: Any = "binary_crossentropy",
    **options: Any,
) -> Subject:
    last = layers.Conv2D(1, 1, activation="sigmoid", name="last")
    model = chain(layers.Conv2D(4, 3, padding="same", name="first"), *members, last, features=(8, 8, 1))
    return subject(model, PICTURES if x is None else x, y, loss=loss, metrics=(), **options)


def optimized(optimizer: Any) -> Subject:
    return subject(dense(), optimizer=optimizer)


def smoothed(share: float) -> Subject:
    loss = keras.losses.BinaryCrossentropy(label_smoothing=share)
    return subject(dense(), loss=loss)


def two_outputs(factor: float, losses: Any = ("mse", "binary_crossentropy")) -> Subject:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    value = layers.Dense(6, "relu")(inputs)
    ends = [layers.Dense(1, name="amount")(value), layers.Dense(1, "sigmoid", name="large")(value)]
    y = [factor * X[:, :1], LABELS[:, None].astype("float32")]
    held = (X[:32], [one[:32] for one in y])
    return subject(keras.Model(inputs, ends), X, y, loss=list(losses), metrics=(), validation_data=held)


@keras.saving.register_keras_serializable("kilter-tests")
class Code(layers.Layer):
    """A code and the KL term of its normal distribution."""

    def call(self, mean: Any, log: Any) -> Any:
        terms = 0.5 * (keras.ops.square(mean) + keras.ops.exp(log) - 1 - log)
        self.add_loss(5.0 * keras.ops.mean(keras.ops.sum(terms, axis=-1)))
        return mean


def variational() -> Subject:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    code = Code()(layers.Dense(2)(inputs), layers.Dense(2)(inputs))
    return subject(keras.Model(inputs, layers.Dense(6)(code)), X, X, loss="mse", metrics=())


def normed(**options: Any) -> Subject:
    return masks(layers.BatchNormalization(name="norm"), batch_size=1, **options)


def _is_linear(layer: Any) -> bool:
    return layer.activation is keras.activations.linear


def _layer(treated: Subject, kind: str) -> Any:
    return next(one for one in treated.model._flatten_layers() if type(one).__name__ == kind)


def _kinds(treated: Subject) -> list[str]:
    return [type(one).__name__ for one in treated.model.layers if type(one).__name__ != "InputLayer"]


def _loss(treated: Subject) -> Any:
    return treated.model._compile_config.config["loss"]  # type: ignore[attr-defined]


def _optimizer(treated: Subject) -> Any:
    return treated.optimizer.optimizer


def _answers(treated: Subject) -> np.ndarray:
    return np.asarray(treated.model.predict(treated.x, verbose=0))


def pairs(*last: Any, second: Any = X, loss: Any = "mse") -> Subject:
    """A distance of pairs of rows, equal ones by default, and what follows it."""
    encoder, inputs = layers.Dense(4), [keras.Input((6,)), keras.Input((6,))]
    squares = keras.ops.square(layers.Subtract()([encoder(one) for one in inputs]))
    value = keras.ops.sqrt(keras.ops.sum(squares, axis=-1, keepdims=True) + 1e-7)
    for one in last:
        value = one(value)
    return subject(keras.Model(inputs, value), [X, second], loss=loss)


def misses(y: Any, p: Any) -> Any:
    """No slope: rounded predictions."""
    return keras.ops.mean(keras.ops.abs(y - keras.ops.round(p)), axis=-1)


def pulls(y: Any, p: Any) -> Any:
    """A contrastive loss with the margin 0: pairs with the label 0 are not pushed apart."""
    return keras.ops.mean(y * keras.ops.square(p) + (1 - y) * keras.ops.maximum(0.0 - p, 0.0), axis=-1)


def numbered() -> Subject:
    """Two columns of ids whose numbers mean nothing, and one of amounts."""
    ids = RNG.integers(0, 12, size=(360, 2))
    wanted = RNG.normal(size=12)[ids].sum(axis=1)
    table = np.concatenate([ids, RNG.normal(size=(360, 1))], axis=1).astype("float32")
    model = chain(layers.Dense(6, "relu"), layers.Dense(1), features=(3,))
    return subject(model, table, wanted.astype("float32"), loss="mse", metrics=())


CAUSES: dict[str, tuple[Callable[[], Subject], Callable[[Subject], object]]] = {
    "fit-embedding": (
        lambda: lookup(IDS - 3),
        lambda p: _layer(p, "Embedding").input_dim == 30 and np.isfinite(_answers(p)).all(),
    ),
    "project-numbers": (
        lambda: lookup((IDS / 7).astype("float32"), size=30),
        lambda p: _kinds(p)[:3] == ["Normalization", "Reshape", "Dense"],
    ),
    "scale-embedding": (
        drowned,
        lambda p: _kinds(p)[:4] == ["Embedding", "Rescaling", "Loud", "LayerNormalization"],
    ),
    "mask-padding": (lambda: lookup(PADDED, size=30), lambda p: _layer(p, "Embedding").mask_zero),
    "remove-first-activation": (
        lambda: ending(layers.Dense(3, "relu"), layers.Softmax()),
        lambda p: p.facts[1][0].activation == "softmax" and _is_linear(p.model.layers[1]),
    ),
    "shift-logits": (
        lambda: pairs(layers.Activation("sigmoid"), second=X[::-1].copy()),
        lambda p: _kinds(p)[-2:] == ["Dense", "Activation"],
    ),
    "separate-pairs": (
        pairs,
        lambda p: _layer(p, "Rescaling").offset > 0 and (_answers(p) > 0).all(),
    ),
    "softmax-last-axis": (
        lambda: ending(layers.Softmax(axis=0), layers.Dense(3), layers.Softmax(axis=0)),
        lambda p: (
            np.allclose(_answers(p).sum(axis=-1), 1, atol=1e-5)
            and [one.axis for one in p.model.layers if isinstance(one, layers.Softmax)] == [0, -1]
        ),
    ),
    "fix-from-logits": (
        lambda: ending(
            layers.Dense(3),
            layers.Activation(_softmax),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        ),
        lambda p: not p.facts[1][0].loss.from_logits,
    ),
    "clip-sentinels": (
        lambda: subject(dense(), SENTINEL),
        lambda p: np.abs(np.asarray(p.model.layers[0](p.x))).max() < 6,
    ),
    "move-channels": (
        lambda: subject(
            chain(layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(1, "sigmoid"), features=(3, 8, 8)),
            np.moveaxis(IMAGES, 3, 1) / 255,
            LABELS[:64],
        ),
        lambda p: _layer(p, "Conv2D").kernel.shape == (3, 3, 3, 4),
    ),
    "stretch-output": (
        lambda: masks(y=PICTURES * 255, loss="mse"),
        lambda p: _answers(p).max() > 50 and p.facts[1][0].activation is None,
    ),
    "rescale-targets": (lambda: masks(y=MASKS * 255), lambda p: set(np.unique(p.y)) == {0.0, 1.0}),
    "balance-losses": (
        lambda: two_outputs(90.0),
        lambda p: p.model._compile_config.config["loss_weights"][0] < 1e-3,  # type: ignore[attr-defined]
    ),
    "realign-masks": (
        lambda: masks(y=np.swapaxes(SPOTS, 1, 2), x=SPOTS + 0.1 * PICTURES),
        lambda p: np.array_equal(p.y, SPOTS) and np.array_equal(p.y_val, SPOTS[:32]),
    ),
    "replace-loss": (
        lambda: subject(dense(), loss=misses),
        lambda p: _loss(p) == "binary_crossentropy" and len(p.model.metrics) == 2,
    ),
    "contrastive-loss": (
        lambda: pairs(loss=pulls),
        lambda p: (_loss(p).get_config()["near"], _loss(p).get_config()["margin"]) == (1, 1.0),
    ),
    "embed-ids": (
        numbered,
        lambda p: (
            [one.input_dim for one in p.model._flatten_layers() if isinstance(one, layers.Embedding)] == [24]
            and p.model.predict(p.x[:8] + np.array([99, -99, 0]), verbose=0).shape == (8, 1)
            and np.isfinite(p.model.predict(p.x[:8] + np.array([99, -99, 0]), verbose=0)).all()
        ),
    ),
    "equal-weights": (
        lambda: subject(dense(), sample_weight=(X[:, 1] > 2).astype("float32")),
        lambda p: p.training.sample_weight is None,
    ),
    "swap-pair-labels": (
        lambda: subject(dense()),
        lambda p: np.array_equal(p.y, 1 - LABELS) and p.y_val[0] == 1 - LABELS[0],
    ),
    "invert-mask": (
        keeps_padding,
        lambda p: [type(one).__name__ for one in p.model._operations].count("NotEqual") == 1,
    ),
    "add-loss": (
        lambda: two_outputs(1.0, losses=["mse", None]),
        lambda p: _loss(p) == ["mse", "binary_crossentropy"],
    ),
    "drop-augmentation": (
        lambda: masks(layers.RandomFlip(), layers.Conv2D(2, 1)),
        lambda p: "RandomFlip" not in _kinds(p),
    ),
    "focal-loss": (masks, lambda p: isinstance(_loss(p), keras.losses.BinaryFocalCrossentropy)),
    "dice-loss": (masks, lambda p: isinstance(_loss(p), keras.losses.Dice)),
    "weigh-reconstruction": (
        lambda: variational(),
        lambda p: p.model._compile_config.config["loss_weights"][0] > 50,  # type: ignore[attr-defined]
    ),
    "widen-kernels": (
        lambda: masks(layers.Conv2D(4, 1, activation="relu"), layers.Conv2D(2, 1)),
        lambda p: [one.kernel_size for one in p.model.layers if isinstance(one, layers.Conv2D)]
        == [(3, 3), (3, 3), (3, 3), (1, 1)],
    ),
    "group-normalization": (normed, lambda p: _kinds(p)[1] == "GroupNormalization"),
    "output-bias-prior": (
        masks,
        lambda p: abs(float(_layer(p, "Conv2D").bias[0])) == 0
        and float(p.model.get_layer("last").bias[0]) < -2,
    ),
    "ease-decay": (
        lambda: optimized(keras.optimizers.AdamW(1e-3, weight_decay=30.0)),
        lambda p: _optimizer(p).weight_decay < 0.01,
    ),
    "ease-smoothing": (
        lambda: smoothed(0.98),
        lambda p: _loss(p).label_smoothing == 0.1,
    ),
    "drop-accumulation": (
        lambda: optimized(keras.optimizers.Adam(1e-3, gradient_accumulation_steps=50)),
        lambda p: not _optimizer(p).gradient_accumulation_steps,
    ),
    "ease-clipping": (
        lambda: optimized(keras.optimizers.SGD(0.1, clipnorm=1e-6)),
        lambda p: (_optimizer(p).global_clipnorm, _optimizer(p).clipnorm) == (1.0, None),
    ),
    "drop-loss-scale": (
        lambda: optimized(
            keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=2.0**60)
        ),
        lambda p: not isinstance(p.model.optimizer, keras.optimizers.LossScaleOptimizer),
    ),
}  # fmt: skip


@keras.saving.register_keras_serializable(package="tests")
def _softmax(value: Any) -> Any:
    return keras.ops.softmax(value, axis=-1)
