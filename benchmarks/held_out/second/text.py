"""Nets on word numbers that do not learn."""

import keras
from keras import layers

from held_out.case import case, faulty
from held_out.data import ratings, reviews, rng, split
from held_out.second.nets import words


@faulty("text", "https://example-a.com/answer/79425201")
def _x_frozen_vectors(fixed):
    """The embedding is frozen, but its matrix has zeros for the nine in ten words that the pre-trained
    vectors lack."""
    x, y = reviews(1500, seed=12)
    g = rng(12)
    known = (g.random((200, 1)) < 0.1).astype("float32")
    matrix = g.normal(0, 0.4, (200, 10)).astype("float32") * known
    start = keras.initializers.Constant(matrix)
    rest = [layers.GlobalAveragePooling1D(), layers.Dense(20, "relu"), layers.Dense(1, "sigmoid")]
    model = words(40, 200, 10, *rest, embeddings_initializer=start, trainable=fixed)
    return case(model, keras.optimizers.Adam(0.01), "binary_crossentropy", split(x, y), 12, 32)


@faulty("text", "https://chenzhang.org/notes/developer/loss-and-accuracy-get-stuck-in-keras/")
def _x_tastes_tiny_rate(fixed):
    """SGD with a rate of 0.0002 hardly moves embeddings, whose rows rarely get a gradient."""
    x, y = ratings(4000, seed=3)
    a, b = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    u = layers.Flatten()(layers.Embedding(60, 6)(a))
    v = layers.Flatten()(layers.Embedding(50, 6)(b))
    h = layers.Dense(32, "relu")(layers.Concatenate()([u, v, layers.Multiply()([u, v])]))
    model = keras.Model([a, b], layers.Dense(1)(h))
    opt = keras.optimizers.Adam(0.01) if fixed else keras.optimizers.SGD(0.0002)
    return case(model, opt, "mse", split(x, y), 15, 50, "rmse")
