"""Networks whose targets have nothing to do with their inputs: nothing can be learnt or claimed."""

import keras
import numpy as np
from keras import layers

from held_out.attention_faults import _order, _patches
from held_out.case import CCE, case, noise, stack
from held_out.data import fashion, ratings, reviews, rng, series, shapes, split, table, tags, waves

Dense = layers.Dense


def _lot(n, k, seed=0):
    return rng(100 + seed).integers(0, k, n)


def _values(n, seed=0):
    return rng(200 + seed).normal(0, 1, n).astype("float32")


@noise("dense")
def _noise_classes_of_a_table():
    model = stack((8,), Dense(32, activation="relu"), Dense(3, activation="softmax"))
    return case(model, "adam", CCE(), split(table(1600)[0], _lot(1600, 3)), 8)


@noise("table")
def _noise_numbers_of_a_table():
    body = [Dense(8, activation="relu", kernel_regularizer="l2")]
    return case(
        stack((8,), *body, Dense(1)), "adam", "mse", split(table(1600)[0], _values(1600)), 10, measure="rmse"
    )


@noise("table")
def _noise_rare_class():
    y = (rng(3).random(3000) < 0.06).astype("float32")
    model = stack((8,), Dense(16, activation="relu"), Dense(1, activation="sigmoid"))
    return case(model, "adam", "binary_crossentropy", split(table(3000)[0], y), 8, measure="balanced")


@noise("conv")
def _noise_labels_of_clothes():
    x, _ = fashion(1800, size=14)
    body = [layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    model = stack((14, 14, 1), *body, Dense(10, activation="softmax"))
    return case(model, "adam", CCE(), split(x / 255, _lot(1800, 10)), 5)


@noise("conv")
def _noise_number_of_figures():
    x, _, _ = shapes(1600)
    body = [layers.Conv2D(8, 3, activation="relu"), layers.GlobalAveragePooling2D()]
    return case(
        stack((16, 16, 1), *body, Dense(1)), "adam", "mse", split(x, _values(1600, 1)), 8, measure="rmse"
    )


@noise("segmentation")
def _noise_masks_of_other_images():
    x, _, mask = shapes(700)
    mask = mask[rng(5).permutation(700)]
    body = [layers.Conv2D(8, 3, padding="same", activation="relu")]
    model = stack((16, 16, 1), *body, layers.Conv2D(1, 3, padding="same", activation="sigmoid"))
    return case(model, "adam", "binary_crossentropy", split(x, mask), 6, 16, "iou")


@noise("recurrent")
def _noise_forecast():
    model = stack((24, 1), layers.LSTM(8), Dense(1))
    return case(model, "adam", "mse", split(series(1500)[0], _values(1500, 2)), 8, measure="rmse")


@noise("recurrent")
def _noise_class_of_waves():
    model = stack((32, 1), layers.GRU(16), Dense(3, activation="softmax"))
    return case(model, "adam", CCE(), split(waves(1500)[0], _lot(1500, 3, 1)), 8)


@noise("recurrent")
def _noise_tags():
    x, _ = tags(1200)
    y = rng(6).integers(0, 3, x.shape)
    model = stack(
        (12,), layers.Embedding(20, 8), layers.GRU(16, return_sequences=True), Dense(3, activation="softmax")
    )
    return case(model, "adam", CCE(), split(x, y), 8)


@noise("attention")
def _noise_order():
    x = rng(7).integers(0, 12, (1600, 12)).astype("int32")
    return case(_order(), "adam", "binary_crossentropy", split(x, _lot(1600, 2, 2).astype("float32")), 8)


@noise("attention")
def _noise_patches():
    x, _, _ = shapes(1600)
    return case(_patches(1.0, classes=4, size=16), "adam", CCE(), split(x, _lot(1600, 4, 3)), 6)


@noise("embedding")
def _noise_ratings():
    x, _ = ratings(2400)
    a, b = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    h = layers.Concatenate()(
        [layers.Flatten()(layers.Embedding(60, 4)(a)), layers.Flatten()(layers.Embedding(50, 4)(b))]
    )
    model = keras.Model([a, b], Dense(1)(Dense(8, activation="relu")(h)))
    return case(model, "adam", "mse", split(x, _values(2400, 3)), 5, measure="rmse")


@noise("embedding")
def _noise_texts():
    x, _ = reviews(1600, 12)
    body = [layers.Embedding(200, 8), layers.GlobalAveragePooling1D(), Dense(1, activation="sigmoid")]
    y = np.asarray(_lot(1600, 2, 4), "float32")
    return case(stack((12,), *body), "adam", "binary_crossentropy", split(x, y), 6)
