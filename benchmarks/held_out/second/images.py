"""Convolutional nets on images that do not learn."""

import keras
import numpy as np
from keras import layers

from held_out.case import case, faulty, stack
from held_out.data import dots, fashion, places, shapes, split
from held_out.second.nets import convolution


@faulty(
    "image",
    "https://whosebug.com/question/1677023/What-is-the-difference-made-by-using-Transpose",
    repairable=False,
)
def _x_reshaped_not_transposed(fixed):
    """Images stored with the rows last are reshaped instead of transposed, so that pixels of all rows are
    mixed up."""
    x, y = fashion(2400, size=14)
    stored = np.ascontiguousarray(np.transpose(x / 255, (1, 2, 3, 0)))
    x = np.transpose(stored, (3, 0, 1, 2)) if fixed else stored.reshape(-1, 14, 14, 1)
    model = convolution(14, 16, layers.Dense(10, "softmax"))
    return case(model, keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", split(x, y), 6, 64)


@faulty("image", "https://github.com/keras-team/keras/issues/5777")
def _x_frozen_base(fixed):
    """The convolutional base is frozen as for fine-tuning, but its weights are random, not pre-trained."""
    x, y, _ = shapes(1800, seed=3)
    base = stack(
        (16, 16, 1),
        layers.Conv2D(12, 3, activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(20, 3, activation="relu"),
        layers.GlobalMaxPooling2D(),
    )
    base.trainable = fixed
    model = stack((16, 16, 1), base, layers.Dense(4, "softmax"))
    return case(model, keras.optimizers.Adam(0.005), "sparse_categorical_crossentropy", split(x, y), 10, 50)


@faulty("image", "https://thinbug.com/q/66470994")
def _x_slow_statistics(fixed):
    """Batch norm averages its statistics with momentum 0.9995, far too slowly for so few steps, so that
    predictions use wrong ones."""
    x, y = fashion(2400, start=4000, size=14)
    m = 0.9 if fixed else 0.9995
    model = stack(
        (14, 14, 1),
        layers.Conv2D(12, 3),
        layers.BatchNormalization(momentum=m),
        layers.ReLU(),
        layers.MaxPooling2D(),
        layers.Conv2D(24, 3),
        layers.BatchNormalization(momentum=m),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(10, "softmax"),
    )
    data = split(x / 25, y)
    return case(model, keras.optimizers.Adam(0.002), "sparse_categorical_crossentropy", data, 6, 100)


@faulty("image", "https://chenzhang.org/notes/developer/loss-and-accuracy-get-stuck-in-keras/")
def _x_raw_pixels_momentum(fixed):
    """Pixels of 0 to 255 and SGD with momentum: the first steps are so large that the relus die."""
    x, y = fashion(2000, start=9000, size=14)
    model = stack(
        (14, 14, 1),
        layers.Conv2D(10, 3, activation="relu"),
        layers.Conv2D(10, 3, strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dense(32, "relu"),
        layers.Dense(10, "softmax"),
    )
    data = split(x / 255 if fixed else x, y)
    return case(
        model, keras.optimizers.SGD(0.03, momentum=0.9), "sparse_categorical_crossentropy", data, 8, 32
    )


@faulty("image", "https://songjingrui.github.io/2019/11/09/Keras-ImageDataGenerator-Data-Augmentation")
def _x_flip_without_target(fixed):
    """Images are flipped at random, but the target is the position of the spot in the image before that."""
    x, y = places(1600, seed=4)
    augment = () if fixed else (layers.RandomFlip("horizontal_and_vertical"),)
    model = convolution(16, 8, layers.Dense(32, "relu"), layers.Dense(2), before=augment)
    return case(model, keras.optimizers.Adam(0.003), "mse", split(x, y / 16), 12, 32, "rmse")


@faulty("image", "https://taourl.com/read-3822972.html")
def _x_dropout_everywhere(fixed):
    """Dropout of 0.9 after every layer of a narrow net."""
    x, y = dots(1600, seed=2)
    d = 0.05 if fixed else 0.9
    model = stack(
        (20, 20, 1),
        layers.Conv2D(8, 3, activation="relu"),
        layers.SpatialDropout2D(d),
        layers.Conv2D(8, 3, strides=2, activation="relu"),
        layers.SpatialDropout2D(d),
        layers.Flatten(),
        layers.Dense(24, "relu"),
        layers.Dropout(d),
        layers.Dense(1),
    )
    return case(model, keras.optimizers.Adam(0.003), "mse", split(x, (y - 5) / 2.6), 6, 32, "rmse")
