"""Networks that are fine, with data that are not."""

import keras
import numpy as np
from keras import layers

from held_out.case import CCE, SGD, Adam, case, convolutions, faulty, stack
from held_out.data import bundled, clothes, fashion, rng, scaled, series, shapes, split, table, waves

Dense, Conv = layers.Dense, layers.Conv2D


def _convnet(classes=10, size=14):
    return stack(
        (size, size, 1),
        *convolutions(16, 24),
        layers.Flatten(),
        Dense(classes, activation="softmax"),
    )


def _fit(rows, epochs=8, rate=0.002, classes=10):
    return case(_convnet(classes), Adam(rate), CCE(), rows, epochs)


@faulty("data", "kind: x and y shuffled separately", repairable=False)
def _shuffled_apart(fixed):
    """The labels were shuffled without the images."""
    a, t, b, v = clothes(2400)
    return _fit((a, t if fixed else rng(1).permutation(t), b, v))


@faulty("data", "kind: labels one row off", repairable=False)
def _one_row_off(fixed):
    """Each label belongs to the image before."""
    a, t, b, v = clothes(2400)
    return _fit((a, t if fixed else np.roll(t, 1), b, v))


@faulty("data", "kind: validation images not scaled", repairable=False)
def _held_out_not_scaled(fixed):
    """Training images are divided by 255, validation images are not, and are black on white."""
    x, y = fashion(2400, size=14)
    a, t, b, v = split(x, y)
    model = stack((14, 14, 1), Conv(16, 3, activation="relu"), layers.Flatten(), Dense(32, activation="tanh"))
    model = keras.Sequential([keras.Input((14, 14, 1)), *model.layers, Dense(10, activation="softmax")])
    return case(model, Adam(0.002), CCE(), (a / 255, t, b / 255 if fixed else 255 - b, v), 6)


@faulty("data", "kind: divided by 255 twice")
def _divided_twice(fixed):
    """Images are divided by 255 twice or thrice and reach only 1.5e-5."""
    x, y = fashion(2400, size=14)
    rows = split(x / 255 if fixed else x / 255**3, y)
    return case(_convnet(), SGD(0.05, momentum=0.9), CCE(), rows, 8)


@faulty("data", "kind: integer division", repairable=False)
def _integer_division(fixed):
    """Bytes were divided as integers: nearly all pixels are 0."""
    x, y = fashion(2400, size=14)
    return _fit(split(x / 255 if fixed else (x // 250).astype("float32"), y))


@faulty("data", "kind: class numbering of two encoders", repairable=False)
def _another_numbering(fixed):
    """The validation labels were numbered in another order."""
    a, t, b, v = clothes(2400)
    return _fit((a, t, b, v if fixed else (7 * v + 3) % 10))


@faulty("data", "kind: split without shuffling", repairable=False)
def _classes_never_seen(fixed):
    """Rows are sorted by class; the classes held out are never trained."""
    x, y = bundled("digits")
    order = np.argsort(y, kind="stable")
    x, y = x[order] / 16, y[order]
    rows = split(x, y) if fixed else (x[:1350], y[:1350], x[1350:], y[1350:])
    return case(
        stack((64,), Dense(48, activation="relu"), Dense(10, activation="softmax")), "adam", CCE(), rows, 15
    )


@faulty("data", "kind: standardised along the wrong axis", repairable=False)
def _scaled_along_rows(fixed):
    """Each row was scaled by itself, which removes the height that counts."""
    g = rng(3)
    height = g.normal(0, 1, (1600, 1))
    x = height + g.normal(0, 0.5, (1600, 12))
    y = height[:, 0] + 0.3 * height[:, 0] ** 2
    z = x if fixed else (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    model = stack((12,), Dense(32, activation="relu"), Dense(1))
    return case(
        model, Adam(0.003), "mse", split(z.astype("float32"), y.astype("float32")), 20, measure="rmse"
    )


@faulty("data", "kind: y == 'yes' on padded strings", repairable=False)
def _one_label_only(fixed):
    """All training labels are 0 by a slip in reading them."""
    x, y = bundled("breast_cancer")
    a, t, b, v = split(scaled(x), y.astype("float32"))
    model = stack((30,), Dense(16, activation="relu"), Dense(1, activation="sigmoid"))
    return case(model, "adam", "binary_crossentropy", (a, t if fixed else t * 0, b, v), 20)


@faulty("data", "kind: images that failed to load", repairable=False)
def _black_images(fixed):
    """Seven in ten training images are black."""
    a, t, b, v = clothes(2400)
    a = a.copy()
    if not fixed:
        a[rng(2).random(len(a)) < 0.96] = 0
    return _fit((a, t, b, v))


@faulty("data", "kind: the target leaks into a column", repairable=False)
def _leak(fixed):
    """One column holds the target in training and 0 later."""
    x, y = table(1600)
    a, t, b, v = split(x, y)
    a, b = np.column_stack([a, a[:, 0] * 0 if fixed else t]), np.column_stack([b, b[:, 0] * 0])
    model = stack((9,), Dense(32, activation="relu"), Dense(1))
    return case(
        model, Adam(0.005), "mse", (a.astype("float32"), t, b.astype("float32"), v), 20, measure="rmse"
    )


@faulty("data", "kind: windows and targets misaligned", repairable=False)
def _late_targets(fixed):
    """The targets are those of windows 10 steps earlier."""
    x, y = waves(1500)
    a, t, b, v = split(x, y)
    model = stack(
        (32, 1), layers.Conv1D(16, 5, activation="relu"), layers.LSTM(16), Dense(3, activation="softmax")
    )
    return case(model, Adam(0.005), CCE(), (a, t if fixed else np.roll(t, 10), b, v), 10)


@faulty("data", "kind: scaled with other statistics", repairable=False)
def _scaled_by_other_numbers(fixed):
    """Held-out columns were scaled by other means and deviations."""
    x, y = table(1600)
    a, t, b, v = split(x, y)
    b = b if fixed else b * 4 + 5
    model = stack((8,), Dense(32, activation="relu"), Dense(32, activation="relu"), Dense(1))
    return case(model, Adam(0.003), "mse", (a, t, b, v), 25, measure="rmse")


@faulty("data", "kind: wrong labels", repairable=False)
def _mostly_wrong_labels(fixed):
    """Three in four labels are random."""
    x, y, _ = shapes(1600)
    a, t, b, v = split(x, y)
    wrong = rng(4).random(len(t)) < (0 if fixed else 0.85)
    t = np.where(wrong, rng(5).integers(0, 4, len(t)), t)
    model = stack(
        (16, 16, 1), *_convnet(4).layers[:-2], layers.GlobalMaxPooling2D(), Dense(4, activation="softmax")
    )
    return case(model, Adam(0.003), CCE(), (a, t, b, v), 12)


@faulty("data", "kind: twelve rows", repairable=False)
def _twelve_rows(fixed):
    """12 rows are trained on, of 1800."""
    a, t, b, v = clothes(2400)
    few = slice(None) if fixed else slice(0, 12)
    return _fit((a[few], t[few], b, v))


@faulty("data", "kind: forecasting a trend beyond its range")
def _trend_beyond(fixed):
    """The series climbs, and is held out where it is higher than ever."""
    x, y = series(1400)
    climb = np.arange(1400, dtype="float32") / 100
    x, y = x + climb[:, None, None], y + climb
    if fixed:
        y = y - x[:, -1, 0]
        x = x - x[:, -1:]
    model = stack((24, 1), layers.LSTM(16, activation="tanh"), Dense(1))
    rows = (x[:1000], y[:1000], x[1000:], y[1000:])
    return case(model, Adam(0.005), "mse", rows, 15, measure="rmse")
