"""Sound networks for sequences: recurrent ones, attention and texts."""

import keras
import numpy as np
from keras import layers

from held_out.attention_faults import Positions, _block, _order, _patches
from held_out.case import CCE, SGD, Adam, case, sound, stack
from held_out.data import (
    fashion,
    first_token,
    grammar,
    places,
    reviews,
    rng,
    series,
    split,
    tags,
    waves,
    which_first,
)

Dense, LSTM, GRU, RNN, Embed = layers.Dense, layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Embedding
RMSprop = keras.optimizers.RMSprop


@sound("recurrent", "https://keras.io/examples/timeseries/timeseries_weather_forecasting/")
def _forecast_lstm():
    return case(
        stack((24, 1), LSTM(24), Dense(1)), Adam(0.005), "mse", split(*series(2000)), 30, measure="rmse"
    )


@sound("recurrent", "kind: plain recurrent layer on short windows, as in textbooks")
def _forecast_simple():
    return case(
        stack((24, 1), RNN(24), Dense(1)), Adam(0.003), "mse", split(*series(2000)), 30, measure="rmse"
    )


@sound("recurrent", "kind: held-out end of the series")
def _forecast_end():
    x, y = series(2000)
    rows = (x[:1500], y[:1500], x[1500:], y[1500:])
    rate = keras.optimizers.schedules.CosineDecay(0.01, 50 * 47)
    return case(stack((24, 1), GRU(24), Dense(1)), Adam(rate), "mse", rows, 50, measure="rmse")


@sound("recurrent", "https://keras.io/examples/nlp/bidirectional_lstm_imdb/")
def _texts_bidirectional():
    x, y = reviews(3000, 20)
    model = stack(
        (20,), Embed(200, 16, mask_zero=True), layers.Bidirectional(LSTM(16)), Dense(1, activation="sigmoid")
    )
    return case(model, Adam(0.005), "binary_crossentropy", split(x, y), 6)


@sound("recurrent", "kind: tagging each step")
def _tagger():
    x, y = tags(2000)
    model = stack((12,), Embed(20, 16), GRU(32, return_sequences=True), Dense(3, activation="softmax"))
    return case(model, Adam(0.01), CCE(), split(x, y), 30)


@sound("recurrent", "kind: next token")
def _next_token_gru():
    model = stack((16,), Embed(12, 12), GRU(32, return_sequences=True), Dense(12, activation="softmax"))
    return case(model, Adam(0.01), CCE(), split(*grammar(1400)), 15)


@sound("recurrent", "kind: two stacked LSTM layers")
def _stacked():
    model = stack((32, 1), LSTM(24, return_sequences=True), LSTM(24), Dense(3, activation="softmax"))
    return case(model, Adam(0.005), CCE(), split(*waves(1600)), 20)


@sound("recurrent", "kind: the adding problem (Hochreiter & Schmidhuber)")
def _adding():
    g = rng()
    n, steps = 2400, 16
    x = np.zeros((n, steps, 2), "float32")
    x[..., 0] = g.random((n, steps))
    at = np.stack([g.permutation(steps)[:2] for _ in range(n)])
    x[np.arange(n)[:, None], at, 1] = 1
    y = (x[..., 0] * x[..., 1]).sum(1)
    return case(stack((steps, 2), GRU(32), Dense(1)), Adam(0.01), "mse", split(x, y), 40, measure="rmse")


@sound("recurrent", "kind: convolution before a recurrent layer")
def _conv_gru():
    model = stack(
        (32, 1),
        layers.Conv1D(16, 5, activation="relu"),
        layers.MaxPooling1D(),
        GRU(16),
        Dense(3, activation="softmax"),
    )
    return case(model, Adam(0.005), CCE(), split(*waves(1600)), 20)


@sound("recurrent", "kind: masked steps of zeros that are padding")
def _masked_lengths():
    g = rng(1)
    x = g.normal(1, 0.5, (2000, 16, 2)).astype("float32")
    lengths = g.integers(3, 17, 2000)
    x[np.arange(16) >= lengths[:, None]] = 0
    y = np.array([row[:k, 0].mean() for row, k in zip(x, lengths, strict=True)])
    y = ((y - 1) / y.std()).astype("float32")
    model = stack((16, 2), layers.Masking(0.0), GRU(24), Dense(1))
    return case(model, Adam(0.01), "mse", split(x, y), 30, measure="rmse")


@sound("recurrent", "kind: remember the first token")
def _first_of_twelve():
    x, y = first_token(1600, 12)
    model = stack((12,), Embed(10, 8), GRU(24), Dense(4, activation="softmax"))
    return case(model, Adam(0.01), CCE(), split(x, y), 15)


@sound("recurrent", "kind: gradient clipping with SGD and momentum")
def _clipped_sgd():
    opt = SGD(keras.optimizers.schedules.CosineDecay(0.2, 60 * 47), momentum=0.9, clipnorm=1.0)
    return case(stack((24, 1), GRU(24), Dense(1)), opt, "mse", split(*series(2000)), 60, measure="rmse")


@sound("attention", "https://keras.io/examples/nlp/text_classification_with_transformer/")
def _order_transformer():
    return case(_order(), Adam(0.003), "binary_crossentropy", split(*which_first(3000)), 25)


@sound("attention", "kind: causal language model")
def _speaker():
    inputs = keras.Input((16,), dtype="int32")
    x = Positions()(Embed(12, 24)(inputs))
    x = _block(_block(x, causal=True), causal=True)
    model = keras.Model(inputs, Dense(12, activation="softmax")(x))
    return case(model, Adam(0.003), CCE(), split(*grammar(1600)), 20)


@sound("attention", "kind: attention over a set, where no positions are needed")
def _set_without_positions():
    g = rng(2)
    x = g.normal(0, 1, (2400, 10, 3)).astype("float32")
    y = (x[..., 0] * (x[..., 1] > 0)).sum(1) + g.normal(0, 1, 2400)
    inputs = keras.Input((10, 3))
    h = _block(Dense(24)(inputs))
    model = keras.Model(inputs, Dense(1)(layers.GlobalAveragePooling1D()(h)))
    rate = keras.optimizers.schedules.CosineDecay(0.003, 40 * 57)
    return case(model, Adam(rate), "mse", split(x, scaled_target(y)), 40, measure="rmse")


def scaled_target(y):
    """Standardise a target."""
    return ((y - y.mean()) / y.std()).astype("float32")


@sound("attention", "https://keras.io/examples/vision/image_classification_with_vision_transformer/ (small)")
def _vision():
    x, at = places(2400)
    y = (at[:, 0] > 7.5) * 2 + (at[:, 1] > 7.5)
    return case(_patches(1.0, classes=4, size=16), Adam(0.002), CCE(), split(x, y.astype("int64")), 20)


@sound("attention", "kind: recurrent states weighted by attention")
def _attention_over_states():
    x, y = first_token(1600, 20)
    inputs = keras.Input((20,), dtype="int32")
    h = GRU(16, return_sequences=True)(Embed(10, 8)(inputs))
    h = layers.GlobalAveragePooling1D()(layers.Attention()([h, h]))
    model = keras.Model(inputs, Dense(4, activation="softmax")(h))
    return case(model, Adam(0.01), CCE(), split(x, y), 15)


@sound("attention", "kind: transformer with padding masked")
def _masked_transformer():
    x, y = reviews(3000, 20, 3)
    inputs = keras.Input((20,), dtype="int32")
    h = Embed(200, 16, mask_zero=True)(inputs)
    h = _block(h, 16)
    h = layers.GlobalAveragePooling1D()(h)
    model = keras.Model(inputs, Dense(1, activation="sigmoid")(h))
    return case(model, Adam(0.002), "binary_crossentropy", split(x, y), 10)


@sound("attention", "kind: pre-normalised blocks with AdamW")
def _pre_norm():
    inputs = keras.Input((16,), dtype="int32")
    x = Positions()(Embed(12, 24)(inputs))
    for _ in range(2):
        h = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(2, 12)(h, h, use_causal_mask=True)
        x = x + Dense(24)(Dense(48, activation="gelu")(layers.LayerNormalization()(x)))
    model = keras.Model(inputs, Dense(12)(layers.LayerNormalization()(x)))
    loss = CCE(from_logits=True)
    return case(model, keras.optimizers.AdamW(0.003), loss, split(*grammar(1600, seed=1)), 20)


@sound("embedding", "kind: bag of words by averaged embeddings")
def _bag_of_words():
    x, y = reviews(4000, 16, 4)
    model = stack(
        (16,), Embed(200, 8, mask_zero=True), layers.GlobalAveragePooling1D(), Dense(1, activation="sigmoid")
    )
    return case(model, Adam(0.01), "binary_crossentropy", split(x, y), 15)


@sound("embedding", "https://keras.io/examples/nlp/text_classification_from_scratch/ (1D convolutions)")
def _text_convnet():
    x, y = reviews(4000, 12, 5)
    model = stack(
        (12,),
        Embed(200, 16),
        layers.Dropout(0.3),
        layers.Conv1D(32, 3, activation="relu", padding="same"),
        layers.GlobalAveragePooling1D(),
        Dense(16, activation="relu"),
        Dense(1, activation="sigmoid"),
    )
    return case(model, Adam(0.002), "binary_crossentropy", split(x, y), 12)


@sound("embedding", "kind: are two words of the same group")
def _same_group():
    g = rng(6)
    group = g.integers(0, 5, 80)
    a, b = g.integers(0, 80, 5000), g.integers(0, 80, 5000)
    flip = g.random(5000) < 0.4
    b = np.where(flip, np.array([g.choice(np.flatnonzero(group == k)) for k in group[a]]), b)
    y = (group[a] == group[b]).astype("float32")
    i, j = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    table = Embed(80, 8)
    h = layers.Flatten()(layers.Multiply()([table(i), table(j)]))
    model = keras.Model([i, j], Dense(1, activation="sigmoid")(h))
    rows = split([a.astype("int32")[:, None], b.astype("int32")[:, None]], y)
    return case(model, Adam(0.01), "binary_crossentropy", rows, 20)


@sound("recurrent", "kind: rows of an image as steps")
def _image_by_rows():
    x, y = fashion(3000, size=14)
    model = stack((14, 14), LSTM(48), Dense(10, activation="softmax"))
    return case(model, Adam(0.003), CCE(), split(x[..., 0] / 255, y), 20)


@sound("recurrent", "kind: sequence in, sequence out (running mean)")
def _running_mean():
    g = rng(7)
    x = g.normal(0, 1, (1600, 16, 1)).astype("float32")
    y = np.zeros_like(x)
    for t in range(16):
        y[:, t] = 0.7 * (y[:, t - 1] if t else 0) + x[:, t]
    model = stack((16, 1), GRU(24, return_sequences=True), Dense(1))
    return case(model, Adam(0.01), "mse", split(x, y), 30, measure="rmse")
