"""Convolutional networks, for classes, masks and numbers, that do not learn."""

import keras
import numpy as np
from keras import layers

from held_out.case import CCE, SGD, Adam, case, convolutions, faulty, stack
from held_out.data import cifar, clothes, dots, fashion, figures, places, rng, shapes, split, waves

Conv, Dense, Pool = layers.Conv2D, layers.Dense, layers.MaxPooling2D


def _convnet(shape, classes, *middle, act="relu", filters=(16, 32), **options):
    body = []
    for f in filters:
        body += [Conv(f, 3, padding="same", activation=act, **options), Pool()]
    return stack(shape, *body, *middle, layers.Flatten(), Dense(classes, activation="softmax"))


@faulty("conv", "kind: ImageNet code on raw pixels")
def _raw_pixels_sgd(fixed):
    """Pixels of 0 to 255 with SGD at 0.02 blow up."""
    return case(_convnet((14, 14, 1), 10), SGD(0.02), CCE(), clothes(2400, scale=255 if fixed else 1), 8)


@faulty(
    "conv",
    "https://github.com/keras-team/keras/issues/2600 'Using of Batch Normalization' (sigmoid convolutions)",
)
def _sigmoid_convolutions(fixed):
    """Five sigmoid convolutions and a sigmoid dense layer let the gradient vanish."""
    act = "relu" if fixed else "sigmoid"
    model = stack(
        (16, 16, 1),
        *[Conv(12, 3, padding="same", activation=act) for _ in range(3)],
        Pool(),
        *[Conv(16, 3, padding="same", activation=act) for _ in range(2)],
        layers.GlobalAveragePooling2D(),
        Dense(32, activation=act),
        Dense(4, activation="softmax"),
    )
    return case(model, Adam(0.002), CCE(), figures(1400), 10)


@faulty("conv", "https://github.com/tensorflow/models/issues/890 'batch norm causes low validation accuracy'")
def _slow_moving_averages(fixed):
    """Moving averages with momentum 0.9999 have hardly moved when training ends, so predictions are off."""
    norm = {"momentum": 0.9 if fixed else 0.9999}
    x, y = fashion(2000, size=14)
    model = stack(
        (14, 14, 1),
        Conv(16, 3, use_bias=False),
        layers.BatchNormalization(**norm),
        layers.Activation("relu"),
        Pool(),
        Conv(32, 3, use_bias=False),
        layers.BatchNormalization(**norm),
        layers.Activation("relu"),
        layers.Flatten(),
        Dense(10, activation="softmax"),
    )
    return case(model, "adam", CCE(), split(x, y), 5)


@faulty(
    "conv",
    "https://github.com/keras-team/keras/issues/6014 'model.fit() accuracy differs from model.evaluate()'",
)
def _norm_of_two_images(fixed):
    """Batch normalisation sees two images at a time, and its moving averages do not fit them."""
    model = stack(
        (14, 14, 1),
        Conv(8, 3, strides=2),
        layers.BatchNormalization(),
        layers.LeakyReLU(negative_slope=0.2),
        layers.Flatten(),
        Dense(32),
        layers.BatchNormalization(),
        layers.LeakyReLU(negative_slope=0.2),
        Dense(10, activation="softmax"),
    )
    epochs, batch = (15, 32) if fixed else (4, 2)
    return case(model, Adam(0.01), CCE(), clothes(1200), epochs, batch)


@faulty("conv", "https://github.com/fchollet/deep-learning-with-python-notebooks/issues/75")
def _frozen_random_base(fixed):
    """The convolutional base is frozen, but has random weights."""
    base = stack(
        (14, 14, 1),
        *convolutions(8, 8),
        layers.GlobalMaxPooling2D(),
    )
    base.trainable = fixed
    model = stack((14, 14, 1), base, Dense(10, activation="softmax"))
    return case(model, Adam(0.005), CCE(), clothes(2400), 12)


@faulty("conv", "kind: pixel coordinates with a sigmoid output")
def _pixel_coordinates_by_sigmoid(fixed):
    """Coordinates run to 16, a sigmoid only to 1."""
    x, at = places(1000)
    model = stack(
        (16, 16, 1),
        Conv(12, 3, activation="relu"),
        Pool(),
        layers.Flatten(),
        Dense(32, activation="relu"),
        Dense(2, activation="sigmoid"),
    )
    return case(model, Adam(0.003), "mse", split(x, at / 16 if fixed else at), 15, 16, "rmse")


@faulty("conv", "kind: dropout 0.9 in each block")
def _dropout_in_each_block(fixed):
    """Dropout of 0.9 after each convolution leaves no picture."""
    rate = 0.1 if fixed else 0.92
    model = stack(
        (16, 16, 1),
        Conv(12, 3, activation="relu"),
        layers.Dropout(rate),
        Conv(12, 3, activation="relu"),
        layers.Dropout(rate),
        Pool(),
        layers.Flatten(),
        Dense(32, activation="relu"),
        layers.Dropout(rate),
        Dense(4, activation="softmax"),
    )
    return case(model, Adam(0.002), CCE(), figures(1600), 10)


@faulty("conv", "https://github.com/snf/keras-fractalnet/issues/3 'Loss barely decreases'")
def _deep_plain_stack(fixed):
    """Fourteen plain convolutions with small random weights and neither normalisation nor shortcuts."""
    init = "he_normal" if fixed else keras.initializers.RandomNormal(stddev=0.02)
    body = []
    for _ in range(14):
        body += [Conv(8, 3, padding="same", kernel_initializer=init)]
        body += [layers.BatchNormalization(momentum=0.9)] if fixed else []
        body += [layers.Activation("relu")]
    model = stack(
        (14, 14, 1),
        *body[:9],
        Pool(),
        *body[9:],
        layers.GlobalAveragePooling2D(),
        Dense(10, activation="softmax"),
    )
    return case(model, Adam(0.003), CCE(), clothes(1600), 6)


@faulty("conv", "kind: Adam(0.1) in a convnet")
def _adam_tenth(fixed):
    """Adam's rate of 0.1 kills the relu units in the first steps."""
    model = _convnet((14, 14, 1), 10, layers.Flatten(), Dense(64, activation="relu"))
    return case(model, Adam(0.001 if fixed else 0.1), CCE(), clothes(2400), 8)


@faulty("conv", "kind: GaussianDropout against overfitting")
def _drowned_in_noise(fixed):
    """Each pixel is multiplied by noise of deviation 7."""
    model = stack(
        (14, 14, 1),
        layers.GaussianDropout(0.05 if fixed else 0.98),
        *convolutions(16, 16),
        layers.Flatten(),
        Dense(10, activation="softmax"),
    )
    return case(model, "adam", CCE(), clothes(2400), 8)


@faulty("conv", "kind: sensor readings with a large baseline")
def _signal_on_a_baseline(fixed):
    """Each signal sits on a baseline of 5000; the wave of size 1 on top of it is lost."""
    x, y = waves(1500)
    x = x if fixed else x + 5000
    model = stack(
        (32, 1),
        layers.Conv1D(16, 5, activation="relu"),
        layers.MaxPooling1D(),
        layers.Conv1D(16, 5, activation="relu"),
        layers.GlobalAveragePooling1D(),
        Dense(3, activation="softmax"),
    )
    return case(model, Adam(0.003), CCE(), split(x, y), 12)


@faulty("conv", "kind: LeakyReLU(3) for LeakyReLU(0.3)")
def _leak_of_three(fixed):
    """The leaky slope is 3, so negative values are blown up."""
    slope = 0.3 if fixed else 6.0
    body = []
    for f in (8, 16, 16, 16):
        body += [Conv(f, 3, padding="same"), layers.LeakyReLU(negative_slope=slope)]
    model = stack((16, 16, 1), *body, layers.GlobalAveragePooling2D(), Dense(4, activation="softmax"))
    return case(model, Adam(0.003), CCE(), figures(1600), 10)


@faulty("conv", "kind: counting with tanh")
def _counting_by_tanh(fixed):
    """Counts of 1 to 9 cannot come out of a tanh."""
    x, y = dots(1200)
    model = stack(
        (20, 20, 1),
        *convolutions(8, 8),
        layers.GlobalAveragePooling2D(),
        Dense(1, activation=None if fixed else "tanh"),
    )
    return case(model, Adam(0.01), "mse", split(x, y), 15, 16, "rmse")


@faulty("conv", "kind: 1x1 kernels", repairable=False)
def _kernels_of_one_pixel(fixed):
    """Kernels of one pixel see no shapes; the figures differ only in form."""
    k = 3 if fixed else 1
    model = stack(
        (16, 16, 1),
        Conv(16, k, padding="same", activation="relu"),
        Pool(),
        Conv(24, k, padding="same", activation="relu"),
        layers.GlobalMaxPooling2D(),
        Dense(4, activation="softmax"),
    )
    return case(model, Adam(0.005), CCE(), figures(1600), 12)


@faulty("conv", "kind: per-image standardisation")
def _blank_images(fixed):
    """Blank images were divided by their deviation of 0: NaN in the inputs."""
    x, y = fashion(2000, size=14)
    x = x.copy()
    x[rng(2).random(len(x)) < 0.03] = 0
    mean, deviation = x.mean((1, 2, 3), keepdims=True), x.std((1, 2, 3), keepdims=True)
    with np.errstate(invalid="ignore"):
        x = (x - mean) / (np.maximum(deviation, 1) if fixed else deviation)
    rows = split(x, y)
    good = np.isfinite(rows[2]).all((1, 2, 3))
    return case(_convnet((14, 14, 1), 10), "adam", CCE(), (*rows[:2], rows[2][good], rows[3][good]), 6)


@faulty("conv", "https://newbedev.com/cnn-with-keras-accuracy-not-improving", repairable=False)
def _three_classes_by_one_unit(fixed):
    """Three classes are answered by one sigmoid unit with binary cross-entropy."""
    x, y = fashion(3600, size=14)
    keep = np.isin(y, (2, 4, 6))
    y = np.searchsorted((2, 4, 6), y[keep])
    rows = split(x[keep] / 255, y)
    body = [Conv(16, 3, activation="relu"), Pool(), layers.Flatten()]
    if fixed:
        return case(stack((14, 14, 1), *body, Dense(3, activation="softmax")), "adam", CCE(), rows, 12)
    rows = (rows[0], rows[1].astype("float32"), rows[2], np.eye(3)[rows[3]][:, 1:2])
    return case(
        stack((14, 14, 1), *body, Dense(1, activation="sigmoid")), "adam", "binary_crossentropy", rows, 12
    )


@faulty("conv", "https://github.com/keras-team/keras/issues/12707 'CNN model is not learning'")
def _raw_colours(fixed):
    """SGD with a decay of the rate at each step on few colour images of 0 to 255."""
    x, y = cifar(2400, 16)
    keep = np.isin(y, (0, 1))
    x, y = x[keep] / (255 if fixed else 1), y[keep]
    rate = 0.05 if fixed else keras.optimizers.schedules.InverseTimeDecay(0.05, 1, 0.5)
    return case(_convnet((16, 16, 3), 2), SGD(rate, momentum=0.9), CCE(), split(x, y), 15, 16)


@faulty("conv", "kind: strides and pools one after another", repairable=False)
def _shrunk_to_one_pixel(fixed):
    """The image is one pixel after two layers."""
    stride = 1 if fixed else 4
    model = stack(
        (16, 16, 1),
        Conv(12, 3, strides=stride, padding="same", activation="relu"),
        layers.AveragePooling2D(2 if fixed else 4),
        Conv(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        Dense(4, activation="softmax"),
    )
    return case(model, Adam(0.005), CCE(), figures(1600), 15)


@faulty("conv", "kind: labels as floats 0, 0.5, 1 with accuracy in mind")
def _saturated_output(fixed):
    """A sigmoid output starts saturated by huge weights, and MSE gives it no gradient."""
    x, kind, _ = shapes(1600)
    keep = kind % 2 == 0
    last = {} if fixed else {"kernel_initializer": keras.initializers.RandomNormal(0, 8, seed=1)}
    model = stack(
        (16, 16, 1),
        *convolutions(12, 16),
        layers.Flatten(),
        Dense(1, activation="sigmoid", **last),
    )
    rows = split(x[keep], (kind[keep] / 2).astype("float32"))
    return case(model, "adam", "binary_crossentropy" if fixed else "mse", rows, 12)
