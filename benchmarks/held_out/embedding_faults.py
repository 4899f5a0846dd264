"""Embeddings that do not learn."""

import keras
import numpy as np
from keras import layers

from held_out.case import SGD, Adam, case, faulty, stack, yes_or_no
from held_out.data import ratings, reviews, split

Dense, Embed = layers.Dense, layers.Embedding


def _taste(init="uniform", width=8, reg=None, out=None, trainable=True):
    a, b = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    options = {"embeddings_initializer": init, "embeddings_regularizer": reg, "trainable": trainable}
    u, v = Embed(60, width, **options)(a), Embed(50, width, **options)(b)
    dot = layers.Flatten()(layers.Dot(2)([u, v]))
    bias = layers.Flatten()(layers.Add()([Embed(60, 1)(a), Embed(50, 1)(b)]))
    return keras.Model([a, b], layers.Activation(out)(Dense(1)(layers.Concatenate()([dot, bias]))))


@faulty("embedding", "kind: ratings of 1 to 5 with a sigmoid")
def _ratings_by_sigmoid(fixed):
    """Ratings run from 1 to 5, a sigmoid only to 1."""
    x, y = ratings(2400)
    return case(_taste(out=None if fixed else "sigmoid"), Adam(0.01), "mse", split(x, y), 20, measure="rmse")


@faulty(
    "embedding",
    "https://whosebug.com/question/5173684 'why keras embedding not learning (for recommendation system)'",
)
def _taste_by_relu(fixed):
    """A relu as the output for binary cross-entropy, and a decay that ends the training at once."""
    (a, b), y = ratings(3000)
    i, j = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    h = layers.Concatenate()([layers.Flatten()(Embed(60, 8)(i)), layers.Flatten()(Embed(50, 8)(j))])
    h = Dense(32, activation="relu")(h)
    model = keras.Model([i, j], Dense(1, activation="sigmoid" if fixed else "relu")(h))
    rate = 0.01 if fixed else keras.optimizers.schedules.InverseTimeDecay(0.001, 1, 0.9)
    return case(model, Adam(rate), "binary_crossentropy", split([a, b], (y > 3).astype("float32")), 15)


@faulty("embedding", "kind: embeddings_initializer='zeros'")
def _zero_tastes(fixed):
    """User and thing vectors start at zero, so their product has no gradient."""
    x, y = ratings(2400)
    a, b = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    init = "uniform" if fixed else "zeros"
    vectors = [Embed(n, 8, embeddings_initializer=init)(i) for n, i in ((60, a), (50, b))]
    model = keras.Model([a, b], layers.Flatten()(layers.Dot(2)(vectors)))
    return case(model, Adam(0.01), "mse", split(x, y - 3), 20, measure="rmse")


@faulty("embedding", "kind: embeddings_regularizer=l2(1)")
def _crushed_embeddings(fixed):
    """A penalty of 1 on the embeddings keeps them at zero."""
    x, y = ratings(2400)
    reg = keras.regularizers.L2(1e-6 if fixed else 1.0)
    return case(_taste(reg=reg), Adam(0.01), "mse", split(x, y), 20, measure="rmse")


@faulty("embedding", "kind: vocabulary smaller than the ids")
def _ids_beyond_the_table(fixed):
    """Ids run to 199, the embedding has 50 rows."""
    x, y = reviews(1600, 12)
    model = stack(
        (12,),
        Embed(200 if fixed else 50, 12),
        layers.GlobalAveragePooling1D(),
        Dense(16, activation="relu"),
        Dense(1, activation="sigmoid"),
    )
    return case(model, Adam(0.005), "binary_crossentropy", split(x, y), 15)


@faulty("embedding", "kind: ids as quantities")
def _ids_as_quantities(fixed):
    """User and thing numbers go into dense layers as if they were quantities."""
    x, y = ratings(2400)
    if fixed:
        return case(_taste(), Adam(0.01), "mse", split(x, y), 20, measure="rmse")
    model = stack((2,), Dense(32, activation="relu"), Dense(16, activation="relu"), Dense(1))
    return case(
        model, Adam(0.01), "mse", split(np.concatenate(x, 1).astype("float32"), y), 20, measure="rmse"
    )


@faulty("embedding", "kind: average over padding without mask")
def _average_of_padding(fixed):
    """The average runs over 150 places of padding, and SGD is slow."""
    x, y = reviews(1600, 150, 5)
    model = stack(
        (150,),
        Embed(200, 12, mask_zero=fixed),
        layers.GlobalAveragePooling1D(),
        Dense(1, activation="sigmoid"),
    )
    opt = Adam(0.01) if fixed else SGD(0.01)
    return case(model, opt, "binary_crossentropy", split(x, y), 12)


@faulty("embedding", "kind: pretrained vectors that are not there")
def _frozen_embedding(fixed):
    """The embedding is frozen, two wide and random."""
    x, y = reviews(1600, 12, 6)
    body = [Embed(200, 2, trainable=fixed), layers.GlobalAveragePooling1D(), Dense(8, activation="relu")]
    return yes_or_no((12,), body, Adam(0.01), split(x, y), 12)


@faulty("embedding", "kind: huge embeddings")
def _huge_embeddings(fixed):
    """Embeddings drawn from -50 to 50 are noise that the training cannot move."""
    x, y = reviews(1600, 12, 7)
    init = "uniform" if fixed else keras.initializers.RandomUniform(-50, 50, seed=1)
    body = [Embed(200, 16, embeddings_initializer=init), layers.Flatten(), Dense(24, activation="tanh")]
    return yes_or_no((12,), body, Adam(0.003), split(x, y), 12)


@faulty("embedding", "kind: Adagrad as Keras brings it")
def _adagrad_as_it_comes(fixed):
    """Adagrad's default rate of 0.001 hardly moves embeddings."""
    x, y = reviews(1600, 12, 8)
    body = [Embed(200, 16), layers.Conv1D(16, 3, activation="relu"), layers.GlobalMaxPooling1D()]
    model = stack((12,), *body, Dense(1, activation="sigmoid"))
    opt = keras.optimizers.Adagrad(0.1 if fixed else 0.001)
    return case(model, opt, "binary_crossentropy", split(x, y), 12)
