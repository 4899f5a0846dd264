"""Autoencoders, pairs, triplets and networks with several inputs or outputs that do not learn."""

import keras
import numpy as np
from keras import layers, ops

from held_out.case import CCE, Adam, case, faulty, stack
from held_out.data import bundled, dots, fashion, pairs, rng, scaled, shapes, split, table

Dense = layers.Dense


def _same(x, held=0.25):
    a, _, b, _ = split(x, x, held)
    return a, a, b, b


def _digits(scale=16.0):
    return _same(bundled("digits")[0] / scale)


def _clothes(n=2000, scale=255.0):
    return _same(fashion(n, size=14)[0] / scale)


@faulty(
    "autoencoder",
    "https://stackoverflow.com/questions/44601367/keras-autoencoder-simple-example-has-a-strange-output",
)
def _decoder_stops_at_one(fixed):
    """The inputs run to 16, but the decoder ends in a sigmoid."""
    model = stack((64,), Dense(32, activation="relu"), Dense(64, activation="sigmoid"))
    return case(model, Adam(0.003), "mse", _digits(16 if fixed else 1), 25, measure="rmse")


@faulty("autoencoder", "https://blog.keras.io/building-autoencoders-in-keras.html (its Adadelta)")
def _autoencoder_by_adadelta(fixed):
    """Adadelta's default rate of 0.001 does not move the autoencoder."""
    model = stack((64,), Dense(32, activation="relu"), Dense(64, activation="sigmoid"))
    opt = Adam(0.003) if fixed else "adadelta"
    return case(model, opt, "binary_crossentropy", _digits(), 25, measure="rmse")


@faulty("autoencoder", "kind: sparse autoencoder with l1(10e-2) for l1(10e-6)")
def _code_penalised_away(fixed):
    """The penalty on the code is so strong that the code is always zero."""
    reg = keras.regularizers.L1(1e-7 if fixed else 0.1)
    model = stack(
        (64,), Dense(32, activation="relu", activity_regularizer=reg), Dense(64, activation="sigmoid")
    )
    return case(model, Adam(0.003), "binary_crossentropy", _digits(), 25, measure="rmse")


class Sample(layers.Layer):
    """Draw a code and add its divergence from a standard normal to the loss."""

    def __init__(self, weight, **kwargs):
        super().__init__(**kwargs)
        self.weight = weight
        self.seed = keras.random.SeedGenerator(1)

    def call(self, mean, spread, training=None):
        """Return the code."""
        self.add_loss(-0.5 * self.weight * ops.mean(1 + spread - ops.square(mean) - ops.exp(spread)))
        if not training:
            return mean
        return mean + ops.exp(0.5 * spread) * keras.random.normal(ops.shape(mean), seed=self.seed)


@faulty(
    "autoencoder",
    "https://github.com/keras-team/keras/pull/3383 'Correcting the reconstruction loss in VAE example'",
    repairable=False,
)
def _collapsed_code(fixed):
    """The divergence weighs far more than the averaged reconstruction error, so the code carries nothing."""
    inputs = keras.Input((64,))
    h = Dense(48, activation="relu")(inputs)
    z = Sample(0.001 if fixed else 5.0)(Dense(8)(h), Dense(8)(h))
    out = Dense(64, activation="sigmoid")(Dense(48, activation="relu")(z))
    return case(keras.Model(inputs, out), Adam(0.003), "binary_crossentropy", _digits(), 25, measure="rmse")


def _conv_autoencoder(out):
    return stack(
        (14, 14, 1),
        layers.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu"),
        layers.Conv2D(1, 3, padding="same", activation=out),
    )


@faulty(
    "autoencoder",
    "https://stackoverflow.com/questions/44601367 (images of 0 to 255 with a sigmoid and cross-entropy)",
)
def _bytes_under_cross_entropy(fixed):
    """Images of 0 to 255 are rebuilt by a sigmoid under binary cross-entropy."""
    rows = _clothes(scale=255 if fixed else 1)
    return case(_conv_autoencoder("sigmoid"), Adam(0.003), "binary_crossentropy", rows, 8, measure="rmse")


@faulty("autoencoder", "kind: relu decoder for standardised data")
def _decoder_without_negatives(fixed):
    """Half of the standardised values are negative, the decoder's relu is not."""
    x, _ = bundled("breast_cancer")
    model = stack((30,), Dense(12, activation="tanh"), Dense(30, activation=None if fixed else "relu"))
    return case(model, Adam(0.005), "mse", _same(scaled(x)), 40, measure="rmse")


@faulty("autoencoder", "kind: denoiser fitted to the noisy images", repairable=False)
def _denoiser_of_other_noise(fixed):
    """In training only, the noise is far larger than the image."""
    clean, _, test, _ = _clothes(1600)
    level = 0.3 if fixed else 8.0
    g = rng(2)
    noisy = (clean + g.normal(0, level, clean.shape)).astype("float32")
    held = (test + g.normal(0, 0.3, test.shape)).astype("float32")
    return case(_conv_autoencoder(None), Adam(0.003), "mse", (noisy, clean, held, test), 8, measure="rmse")


@faulty("autoencoder", "kind: deep autoencoder of sigmoid layers")
def _mean_image(fixed):
    """Seven sigmoid layers: the output is the mean image for each input."""
    act = "relu" if fixed else "sigmoid"
    body = [Dense(n, activation=act) for n in (64, 48, 32, 16, 32, 48)]
    return case(
        stack((64,), *body, Dense(64, activation="sigmoid")),
        Adam(0.002),
        "mse",
        _digits(),
        20,
        measure="rmse",
    )


def _distance(a, b, floor=1e-7):
    return ops.sqrt(ops.maximum(ops.sum(ops.square(a - b), axis=1, keepdims=True), floor))


def _twins(floor=1e-7, out=None, act="relu", width=16):
    tower = stack((64,), Dense(48, activation=act), Dense(width, activation=None))
    a, b = keras.Input((64,)), keras.Input((64,))
    d = _distance(tower(a), tower(b), floor)
    return keras.Model([a, b], Dense(1, activation=out)(d) if out else d)


def _contrast(margin=1.0, flip=False):
    def loss(y, d):
        y = ops.cast(y, d.dtype)
        y = 1 - y if flip else y
        return ops.mean(y * ops.square(d) + (1 - y) * ops.square(ops.maximum(margin - d, 0)), -1)

    return loss


@faulty("siamese", "https://github.com/keras-team/keras/issues/1866 (labels and loss at odds)")
def _contrast_upside_down(fixed):
    """The contrastive loss takes 1 for 'different', but the labels say 1 for 'same'."""
    return case(_twins(), Adam(0.003), _contrast(flip=not fixed), split(*pairs(2400)), 12, measure="distance")


@faulty("siamese", "kind: gradient of the square root at zero")
def _root_of_zero(fixed):
    """Pairs of equal images have distance 0, where the gradient of the square root is not a number."""
    (a, b), y = pairs(2400)
    b = b.copy()
    b[:60] = a[:60]
    y = y.copy()
    y[:60] = 1
    model = _twins(1e-7 if fixed else 0.0)
    return case(model, Adam(0.003), _contrast(), split([a, b], y), 12, measure="distance")


@faulty(
    "siamese", "https://github.com/keras-team/keras/issues/12450 'Siamese Network ... accuracy stuck at 50%'"
)
def _no_margin(fixed):
    """A margin of 0 pushes nothing apart: all images come to the same point."""
    return case(
        _twins(), Adam(0.003), _contrast(1.0 if fixed else 0.0), split(*pairs(2400)), 12, measure="distance"
    )


@faulty(
    "siamese", "https://github.com/xiaolonw/caffe-video_triplet/issues/8 'loss value=margin all the time'"
)
def _triplets_collapse(fixed):
    """The rate is so large that all points collapse, and the loss stays at the margin."""
    g = rng(7)
    x, y = bundled("digits")
    by = [np.flatnonzero(y == k) for k in range(10)]
    a = g.integers(0, len(x), 2000)
    p = np.array([g.choice(by[k]) for k in y[a]])
    n = np.array([g.choice(by[(k + g.integers(1, 10)) % 10]) for k in y[a]])
    tower = stack((64,), Dense(48, activation="relu"), Dense(16, activation="relu"))
    ins = [keras.Input((64,)) for _ in range(3)]
    e = [tower(i) for i in ins]
    out = _distance(e[0], e[1]) - _distance(e[0], e[2])

    def loss(_, gap):
        return ops.mean(ops.maximum(gap + 0.5, 0), -1)

    rows = split([x[i] / 16 for i in (a, p, n)], np.zeros(2000, "float32"))
    model = keras.Model(ins, out)
    return case(model, Adam(0.001 if fixed else 0.5), loss, rows, 12, measure="below zero")


def _two_heads(loss_weights=None, act=None):
    inputs = keras.Input((16, 16, 1))
    h = layers.Conv2D(12, 3, activation="relu")(inputs)
    h = layers.Conv2D(16, 3, strides=2, activation="relu")(h)
    h = Dense(32, activation="relu")(layers.Flatten()(h))
    return keras.Model(inputs, [Dense(4, activation="softmax", name="form")(h), Dense(1, name="area")(h)])


@faulty(
    "several outputs", "https://theneuralbase.com/keras/learn/intermediate/loss-weighting-for-multi-output/"
)
def _area_drowns_form(fixed):
    """The squared error of areas of about 5000 drowns the classification."""
    x, kind, mask = shapes(1400)
    area = mask.sum((1, 2, 3))
    area = scaled(area) if fixed else area * 150
    x, y, xv, yv = split(x, [kind, area.astype("float32")][0])
    _, a, _, av = split(mask, area.astype("float32"))
    rows = (x, [y, a], xv, [yv, av])
    return case(_two_heads(), Adam(0.003), [CCE(), "mse"], rows, 12, measure=("accuracy", "rmse"))


@faulty("several outputs", "https://openillumi.com/?p=74035 'Keras Multi-Loss Optimization'")
def _weight_of_zero(fixed):
    """The class output has the weight 0, so its head is never trained."""
    x, kind, mask = shapes(1400)
    area = scaled(mask.sum((1, 2, 3)))
    x, y, xv, yv = split(x, kind)
    _, a, _, av = split(mask, area)
    weights = [1.0, 1.0] if fixed else [0.0, 1.0]
    rows = (x, [y, a], xv, [yv, av])
    return case(
        _two_heads(),
        Adam(0.003),
        [CCE(), "mse"],
        rows,
        12,
        measure=("accuracy", "rmse"),
        loss_weights=weights,
    )


@faulty("several inputs", "kind: image and table in one network")
def _table_drowns_image(fixed):
    """The table's columns of 100000 drown the image branch."""
    x, count = dots(1400)
    t, _ = table(1400, 3)
    y = (count + 1.5 * t[:, 0]).astype("float32")
    t = t[:, :4] if fixed else t[:, :4] * 1e5 + 3e5
    a, b = keras.Input((20, 20, 1)), keras.Input((4,))
    h = layers.Conv2D(8, 3, strides=2, activation="relu")(a)
    h = Dense(24, activation="relu")(layers.Flatten()(h))
    h = layers.Concatenate()([h, Dense(8, activation="relu")(b)])
    model = keras.Model([a, b], Dense(1)(Dense(16, activation="relu")(h)))
    return case(model, Adam(0.003), "mse", split([x, t.astype("float32")], y), 15, measure="rmse")


@faulty("several outputs", "kind: same head for two numbers of different size")
def _large_and_small_target(fixed):
    """One target is 1000 times the other, so the small one is never fitted."""
    x, y = table(1500)
    z = np.tanh(x[:, 5]) - x[:, 6]
    y = y if fixed else 1000 * y
    a, t, b, v = split(x, np.stack([y, z], 1).astype("float32"))
    inputs = keras.Input((8,))
    h = Dense(32, activation="relu")(Dense(32, activation="relu")(inputs))
    model = keras.Model(inputs, [Dense(1)(h), Dense(1)(h)])
    rows = (a, [t[:, :1], t[:, 1:]], b, [v[:, :1], v[:, 1:]])
    return case(model, Adam(0.003), ["mse", "mse"], rows, 20, measure=("rmse", "rmse"))
