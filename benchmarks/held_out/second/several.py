"""Autoencoders, pairs and several outputs that do not learn."""

import keras
from keras import layers, ops

from held_out.case import case, faulty, stack
from held_out.data import bundled, pairs, split, table


@faulty(
    "autoencoder",
    "https://stackoverflow.com/questions/44601367/keras-autoencoder-simple-example-has-a-strange-output/44601622",
)
def _x_sigmoid_of_raw(fixed):
    """Pixels of 0 to 16 should be given back by a sigmoid."""
    x, _ = bundled("digits")
    x = x / 16 if fixed else x
    model = stack(
        (64,),
        layers.Dense(40, "relu"),
        layers.Dense(12),
        layers.Dense(40, "relu"),
        layers.Dense(64, "sigmoid"),
    )
    return case(model, keras.optimizers.Adam(0.003), "mse", split(x, x, seed=2), 25, 40, "rmse")


@faulty(
    "several outputs", "https://theneuralbase.com/keras/learn/intermediate/loss-weighting-for-multi-output/"
)
def _x_price_drowns_class(fixed):
    """One output is in thousands, so that its squared error drowns the cross-entropy of the other."""
    x, z = table(2400, seed=31)
    k = (x[:, 5] * x[:, 6] + 0.5 * x[:, 7] > 0).astype("float32")
    price = (z * 3000 + 20000).astype("float32")
    if fixed:
        price = (price - price.mean()) / price.std()
    i = keras.Input((8,))
    h = layers.Dense(48, "relu")(layers.Dense(48, "relu")(i))
    model = keras.Model(i, [layers.Dense(1, "sigmoid", name="kind")(h), layers.Dense(1, name="price")(h)])
    n = 1800
    data = x[:n], [k[:n, None], price[:n, None]], x[n:], [k[n:, None], price[n:, None]]
    opt = keras.optimizers.Adam(0.003)
    return case(model, opt, ["binary_crossentropy", "mse"], data, 20, 40, ("accuracy", "rmse"))


class Apart(layers.Layer):
    """The distance of two codes."""

    def __init__(self, eps=0.0, **k):
        super().__init__(**k)
        self.eps = eps

    def call(self, p):
        """Return the layer\'s output."""
        return ops.sqrt(ops.sum((p[0] - p[1]) ** 2, -1, keepdims=True) + self.eps)


@faulty("siamese", "https://github.com/keras-team/keras/issues/9097")
def _x_root_of_zero(fixed):
    """The distance is the square root of a sum that can be zero, where its gradient is not a number."""
    (a, b), same = pairs(2400, seed=5)
    a = a.copy()
    b = b.copy()
    b[:40], same = a[:40], same.copy()
    same[:40] = 1
    i, j = keras.Input((64,)), keras.Input((64,))
    code = stack((64,), layers.Dense(64, "relu"), layers.Dense(16))
    d = Apart(1e-6 if fixed else 0.0)([code(i), code(j)])
    model = keras.Model([i, j], d)

    def contrast(t, d):
        return ops.mean(t * d**2 + (1 - t) * ops.maximum(1.0 - d, 0) ** 2)

    return case(
        model,
        keras.optimizers.Adam(0.002),
        contrast,
        split([a, b], same[:, None], seed=3),
        12,
        40,
        "distance",
    )
