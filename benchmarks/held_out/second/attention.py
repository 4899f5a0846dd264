"""Nets with attention that do not learn."""

import keras
import numpy as np
from keras import layers, ops

from held_out.case import case, faulty
from held_out.data import first_token, reviews, rng, split, which_first
from held_out.second.nets import embedded


class Positions(layers.Layer):
    """Add a learned vector for each place."""

    def __init__(self, scale=1.0, **k):
        super().__init__(**k)
        self.scale = scale

    def build(self, shape):
        """Create the weights."""
        self.table = self.add_weight(shape=shape[1:], initializer="random_normal", name="table")

    def call(self, x):
        """Return the layer\'s output."""
        return x + self.scale * self.table


class Visible(layers.Layer):
    """Tell which tokens may be looked at, from token numbers."""

    def __init__(self, inverted=False, **k):
        super().__init__(**k)
        self.inverted = inverted

    def call(self, t):
        """Return the layer\'s output."""
        seen = ops.equal(t, 0) if self.inverted else ops.not_equal(t, 0)
        return seen[:, None, :]


def _block(h, width, heads, post=False, causal=False):
    att = layers.MultiHeadAttention(heads, width // heads)
    if post:
        h = layers.LayerNormalization()(h + att(h, h, use_causal_mask=causal))
        return layers.LayerNormalization()(h + layers.Dense(width)(layers.Dense(2 * width, "relu")(h)))
    n = layers.LayerNormalization()(h)
    h = h + att(n, n, use_causal_mask=causal)
    return h + layers.Dense(width)(layers.Dense(2 * width, "gelu")(layers.LayerNormalization()(h)))


@faulty("attention", "http://www.dtcms.com/a/376670.html")
def _x_mask_inverted(fixed):
    """The padding mask is inverted: only the padding can be looked at."""
    x, y = reviews(1600, steps=24, seed=5)
    i, h = embedded(24, 200, 16)
    h = layers.MultiHeadAttention(2, 8)(h, h, attention_mask=Visible(not fixed)(i))
    h = layers.Dense(16, "relu")(layers.GlobalAveragePooling1D()(h))
    model = keras.Model(i, layers.Dense(1, "sigmoid")(h))
    return case(model, keras.optimizers.Adam(0.003), "binary_crossentropy", split(x, y), 12, 40)


@faulty("attention", "https://openillumi.com/en/en-pytorch-transformer-non-ar-seq2seq-mask-guide")
def _x_causal_left_in(fixed):
    """A causal mask was left in, although each answer depends on later tokens."""
    g = rng(6)
    x = g.integers(0, 8, (1500, 10)).astype("int32")
    y = np.roll(x, -1, axis=1).astype("int64")
    i, h = embedded(10, 8, 24)
    h = _block(Positions()(h), 24, 2, causal=not fixed)
    model = keras.Model(i, layers.Dense(8, "softmax")(h))
    return case(model, keras.optimizers.AdamW(0.004), "sparse_categorical_crossentropy", split(x, y), 10, 32)


@faulty("attention", "https://github.com/LiyuanLucasLiu/Transformer-Clinic/issues/16")
def _x_post_norm_fast(fixed):
    """Three blocks with the norm after the sum, no warm-up and a rate of 0.03."""
    x, y = first_token(1400, 12, classes=5, seed=7)
    i, h = embedded(12, 11, 20)
    h = Positions()(h)
    for _ in range(3):
        h = _block(h, 20, 2, post=True)
    model = keras.Model(i, layers.Dense(5, "softmax")(layers.GlobalAveragePooling1D()(h)))
    rate = 0.002 if fixed else 0.03
    return case(model, keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", split(x, y), 10, 40)


@faulty(
    "attention",
    "https://github.com/keras-team/keras-io/issues/1894",
    repairable=False,
)
def _x_no_places(fixed):
    """Nothing tells the places of tokens apart, but the class is the order of two of them."""
    x, y = which_first(1800, 10, seed=9)
    i = keras.Input((10,), dtype="int32")
    h = layers.Embedding(12, 24)(i)
    if fixed:
        h = Positions()(h)
    h = _block(_block(h, 24, 3), 24, 3)
    model = keras.Model(i, layers.Dense(1, "sigmoid")(layers.GlobalMaxPooling1D()(h)))
    return case(model, keras.optimizers.Adam(0.003), "binary_crossentropy", split(x, y), 12, 32)
