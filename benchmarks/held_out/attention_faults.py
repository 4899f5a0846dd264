"""Attention networks that do not learn."""

import keras
from keras import layers, ops

from held_out.case import CCE, SGD, Adam, case, faulty
from held_out.data import fashion, grammar, places, reviews, rng, shapes, split, which_first

Dense, Embed, Attend, Norm = (
    layers.Dense,
    layers.Embedding,
    layers.MultiHeadAttention,
    layers.LayerNormalization,
)


class Positions(layers.Layer):
    """Learnt positions, added to a sequence."""

    def __init__(self, scale=1.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def build(self, shape):
        """Make one vector for each position."""
        self.table = self.add_weight(shape=shape[1:], initializer=keras.initializers.RandomNormal(0, 0.1))

    def call(self, x):
        """Add them."""
        return x + self.scale * self.table


class HandMade(layers.Layer):
    """Attention written by hand, with any scale of its scores."""

    def __init__(self, width, scale=None, **kwargs):
        super().__init__(**kwargs)
        self.query, self.key, self.value = Dense(width), Dense(width), Dense(width)
        self.scale = width**-0.5 if scale is None else scale

    def build(self, shape):
        """Build the three maps."""
        for part in (self.query, self.key, self.value):
            part.build(shape)

    def call(self, x):
        """Mix the positions."""
        scores = ops.matmul(self.query(x), ops.transpose(self.key(x), (0, 2, 1))) * self.scale
        return ops.matmul(ops.softmax(scores, axis=-1), self.value(x))


def _block(x, width=24, heads=2, drop=0.0, residual=True, mask=None, causal=False, reg=None):
    a = Attend(heads, width // heads, dropout=drop, kernel_regularizer=reg)(
        x, x, attention_mask=mask, use_causal_mask=causal
    )
    x = Norm()(x + a) if residual else a
    f = Dense(width, kernel_regularizer=reg)(Dense(2 * width, activation="relu", kernel_regularizer=reg)(x))
    f = layers.Dropout(drop)(f)
    return Norm()(x + f) if residual else f


def _order(*, positions=True, blocks=1, embed=None, scale=1.0, width=24, **options):
    inputs = keras.Input((12,), dtype="int32")
    x = Embed(12, width, **(embed or {}))(inputs)
    x = Positions(scale)(x) if positions else x
    for _ in range(blocks):
        x = _block(x, width, **options)
    return keras.Model(inputs, Dense(1, activation="sigmoid")(layers.GlobalAveragePooling1D()(x)))


def _order_case(model, opt, epochs=20):
    return case(model, opt, "binary_crossentropy", split(*which_first(1600)), epochs)


def _speaker(opt, epochs=10, target_shift=True, **options):
    inputs = keras.Input((16,), dtype="int32")
    x = Positions()(Embed(12, 24)(inputs))
    x = _block(_block(x, causal=True, **options), causal=True, **options)
    rows = split(*grammar(1000))
    if not target_shift:
        rows = (rows[0], rows[0].astype("int64"), *rows[2:])
    return case(keras.Model(inputs, Dense(12, activation="softmax")(x)), opt, CCE(), rows, epochs)


@faulty(
    "attention",
    "https://thecodeforge.io/ml-ai/attention-is-all-you-need/ 'missing positional encoding'",
    repairable=False,
)
def _no_positions(fixed):
    """Nothing tells the positions, but the class is the order of two tokens."""
    return _order_case(_order(positions=fixed), Adam(0.003))


@faulty("attention", "kind: transformer with Adam(0.1)")
def _transformer_fast_adam(fixed):
    """Adam's rate of 0.1 ruins the attention block."""
    return _order_case(_order(), Adam(0.003 if fixed else 0.1))


@faulty("attention", "kind: transformer with 'sgd'")
def _transformer_by_sgd(fixed):
    """Plain SGD with rate 0.001 does not move a transformer."""
    return _speaker(Adam(0.003) if fixed else SGD(0.001))


@faulty("attention", "https://github.com/tensorflow/text/pull/894 'Attention warning' (mask upside down)")
def _mask_upside_down(fixed):
    """The attention mask is upside down: only the padding is looked at."""
    x, y = reviews(1600, 24, 3)
    inputs = keras.Input((24,), dtype="int32")
    words = ops.not_equal(inputs, 0) if fixed else ops.equal(inputs, 0)
    h = Embed(200, 16)(inputs)
    h = Attend(2, 8)(h, h, attention_mask=words[:, None, :])
    h = Dense(16, activation="relu")(h[:, 0])
    model = keras.Model(inputs, Dense(1, activation="sigmoid")(h))
    return case(model, Adam(0.003), "binary_crossentropy", split(x, y), 10)


@faulty("attention", "kind: dropout 0.9 in a transformer")
def _transformer_dropout(fixed):
    """Dropout of 0.9 in attention and feed-forward parts."""
    return _speaker(Adam(0.003), drop=0.05 if fixed else 0.9, residual=True)


@faulty(
    "attention",
    "https://github.com/maxjcohen/transformer/issues/27 'training loss is a constant from beginning'",
)
def _blocks_without_shortcuts(fixed):
    """Six blocks without shortcuts and normalisation."""
    return _order_case(_order(blocks=2 if fixed else 5, residual=fixed), Adam(0.003), 15)


@faulty("attention", "kind: scores not divided by sqrt(d)")
def _saturated_attention(fixed):
    """Embeddings of deviation 15 make each softmax of scores one-hot."""
    embed = {} if fixed else {"embeddings_initializer": keras.initializers.RandomNormal(0, 15.0, seed=4)}
    inputs = keras.Input((12,), dtype="int32")
    x = Positions()(Embed(12, 24, **embed)(inputs))
    x = HandMade(24, scale=None if fixed else 1.0)(x)
    x = layers.GlobalAveragePooling1D()(Dense(24, activation="relu")(x))
    return _order_case(keras.Model(inputs, Dense(1, activation="sigmoid")(x)), Adam(0.003), 25)


@faulty("attention", "kind: positional encoding added without scaling")
def _positions_too_loud(fixed):
    """Positions of size 300 drown the tokens."""
    return _order_case(_order(scale=1.0 if fixed else 3000.0), Adam(0.003))


@faulty("attention", "kind: everything zero-initialised")
def _zero_embeddings(fixed):
    """Embeddings and positions all start at zero and stay alike; relu head frozen."""
    inputs = keras.Input((12,), dtype="int32")
    init = "uniform" if fixed else "zeros"
    x = Embed(12, 24, embeddings_initializer=init)(inputs)
    x = Positions(1.0 if fixed else 0.0)(x)
    x = Attend(2, 12, use_bias=False)(x, x)
    x = Dense(24, activation="relu", use_bias=False)(layers.GlobalAveragePooling1D()(x))
    return _order_case(keras.Model(inputs, Dense(1, activation="sigmoid")(x)), Adam(0.005), 25)


@faulty("attention", "kind: weight decay for transformers")
def _transformer_with_heavy_l2(fixed):
    """L2 of 0.2 in all maps of the block."""
    reg = keras.regularizers.L2(1e-6 if fixed else 0.2)
    return _speaker(Adam(0.003), reg=reg, residual=True)


@faulty("attention", "kind: targets of a language model not shifted", repairable=False)
def _targets_not_shifted(fixed):
    """Trained to repeat the token it sees instead of the next one."""
    return _speaker(Adam(0.003), 8, target_shift=fixed)


def _patches(pixels, positions=True, width=24, classes=10, size=14):
    inputs = keras.Input((size, size, 1))
    step = size // 4 if size == 16 else 7
    x = layers.Conv2D(width, step, strides=step)(inputs * pixels)
    x = layers.Reshape((-1, width))(x)
    x = Positions()(x) if positions else x
    x = _block(_block(x))
    return keras.Model(inputs, Dense(classes, activation="softmax")(layers.GlobalAveragePooling1D()(x)))


@faulty("attention", "kind: vision transformer on raw pixels with SGD")
def _vision_raw_pixels(fixed):
    """Raw pixels of 0 to 255 and SGD at 0.1."""
    x, y = fashion(2000, size=14)
    rows = split(x / (255 if fixed else 1), y)
    return case(_patches(1.0), Adam(0.002) if fixed else SGD(0.1, momentum=0.9), CCE(), rows, 10)


@faulty("attention", "kind: vision transformer without positions", repairable=False)
def _vision_without_positions(fixed):
    """Patches without positions, but the class is the quarter of the image with the spot."""
    x, at = places(1600)
    y = (at[:, 0] > 7.5) * 2 + (at[:, 1] > 7.5)
    return case(_patches(1.0, fixed, classes=4, size=16), Adam(0.003), CCE(), split(x, y.astype("int64")), 12)


@faulty("attention", "kind: warm-up schedule without end")
def _endless_warm_up(fixed):
    """The rate warms up over 100,000 steps of which 400 are taken."""
    schedule = keras.optimizers.schedules.PolynomialDecay(0.0, 100_000, 0.002)
    return _speaker(Adam(0.003) if fixed else Adam(schedule))


@faulty("attention", "kind: regression transformer with raw targets")
def _transformer_raw_targets(fixed):
    """Targets of about 5000 and a normalised body with Adam at 0.001."""
    g = rng(6)
    x = g.normal(0, 1, (1200, 10, 3)).astype("float32")
    y = (x[..., 0] * (x[..., 1] > 0)).sum(1)
    y = y if fixed else 5000 + 900 * y
    inputs = keras.Input((10, 3))
    h = _block(Positions()(Dense(24)(inputs)))
    model = keras.Model(inputs, Dense(1)(layers.GlobalAveragePooling1D()(h)))
    return case(model, Adam(0.003), "mse", split(x, y.astype("float32")), 20, measure="rmse")


@faulty("attention", "kind: LayerNormalization(axis=0/1) by mistake")
def _normalised_away(fixed):
    """Normalised over positions after pooling to one: all becomes zero."""
    inputs = keras.Input((12,), dtype="int32")
    x = _block(Positions()(Embed(12, 24)(inputs)))
    x = layers.GlobalAveragePooling1D(keepdims=True)(x)
    x = Norm(axis=-1 if fixed else 1)(x)
    return _order_case(keras.Model(inputs, Dense(1, activation="sigmoid")(layers.Flatten()(x))), Adam(0.003))


@faulty("attention", "kind: frozen embeddings and head only")
def _frozen_transformer(fixed):
    """All but the last layer is frozen at random weights."""
    model = _order()
    for layer in model.layers[:-1]:
        layer.trainable = fixed
    return _order_case(model, Adam(0.003))


@faulty("attention", "kind: set of images as tokens with zero mask")
def _class_token_alone(fixed):
    """A class token that never looks at the patches: the head reads a constant."""
    x, y, _ = shapes(1600)
    inputs = keras.Input((16, 16, 1))
    p = layers.Reshape((-1, 24))(layers.Conv2D(24, 4, strides=2, activation="relu")(inputs))
    token = Positions()(ops.zeros_like(p[:, :1]))
    look = Attend(2, 12)(token, p if fixed else token)
    h = Dense(32, activation="relu")(Norm()(layers.Flatten()(token + look)))
    return case(keras.Model(inputs, Dense(4, activation="softmax")(h)), Adam(0.003), CCE(), split(x, y), 15)
