"""Recurrent networks that do not learn."""

import keras
import numpy as np
from keras import layers

from held_out.case import CCE, SGD, Adam, case, faulty, stack, yes_or_no
from held_out.data import grammar, reviews, rng, series, split, waves

Dense, LSTM, GRU, RNN, Embed = layers.Dense, layers.LSTM, layers.GRU, layers.SimpleRNN, layers.Embedding
RMSprop = keras.optimizers.RMSprop


def _series(n=1400, scale=1.0, offset=0.0):
    x, y = series(n)
    return split(x * scale + offset, y * scale + offset)


def _waves(n=1200):
    return split(*waves(n))


@faulty(
    "recurrent",
    "https://techfeed.net/es/485530/ 'predicciones del precio ... LSTM convergen en un valor constante'",
)
def _unscaled_prices(fixed):
    """Prices of about 900 go unscaled into an LSTM, and the output starts near 0."""
    data = _series() if fixed else _series(scale=60.0, offset=900.0)
    return case(stack((24, 1), LSTM(24), Dense(1)), RMSprop(0.003), "mse", data, 12, measure="rmse")


@faulty(
    "recurrent", "https://stackguides.com/questions/46620813/keras-lstm-model-not-learning-binary-sequence"
)
def _bits_by_softmax_of_one(fixed):
    """Softmax over one unit after the LSTM, with Adagrad's small default rate."""
    bits = rng().integers(0, 2, (1600, 6, 1)).astype("float32")
    y = (bits[:, -1, 0] != bits[:, -3, 0]).astype("float32")
    model = stack((6, 1), LSTM(16), Dense(1, activation="sigmoid" if fixed else "softmax"))
    opt = Adam(0.02) if fixed else keras.optimizers.Adagrad(0.001)
    return case(model, opt, "binary_crossentropy", split(bits, y), 25, 32, metrics=["accuracy"])


@faulty(
    "recurrent", "https://github.com/keras-team/keras/issues/20898 'LSTM layer doesn't learn (padding ?)'"
)
def _padding_not_masked(fixed):
    """Texts are padded after their end and not masked, so the last state has seen 80 zeros."""
    x, y = reviews(1500, 90)
    model = stack((90,), Embed(200, 12, mask_zero=fixed), LSTM(12), Dense(1, activation="sigmoid"))
    return case(model, Adam(0.003), "binary_crossentropy", split(x, y), 8)


@faulty(
    "recurrent",
    "https://datascience.stackexchange.com/questions/67599 'proportion of steps with nonzero feature values'",
)
def _zeros_masked_away(fixed):
    """Zeros are data here, but Masking(0) hides them."""
    g = rng()
    x = (g.random((1400, 30, 1)) < g.random((1400, 1, 1))).astype("float32")
    cover = [] if fixed else [layers.Masking(0.0)]
    y = x[:, 20:, 0].mean(1)
    model = stack((30, 1), *cover, LSTM(16), Dense(1))
    return case(model, Adam(0.005), "mse", split(x, y), 12, measure="rmse")


@faulty("recurrent", "kind: RandomNormal recurrent weights")
def _wild_recurrent_weights(fixed):
    """Recurrent weights of deviation 1.5 saturate the state."""
    init = "orthogonal" if fixed else keras.initializers.RandomNormal(0, 1.5, seed=2)
    model = stack((24, 1), RNN(32, recurrent_initializer=init), Dense(1))
    return case(model, Adam(0.003), "mse", _series(), 12, measure="rmse")


@faulty("recurrent", "kind: SGD(1.0) with an LSTM, loss nan")
def _rate_of_three(fixed):
    """A rate of 3 throws the recurrent weights about."""
    opt = Adam(0.005) if fixed else SGD(3.0, momentum=0.9)
    return case(stack((32, 1), GRU(24), Dense(3, activation="softmax")), opt, CCE(), _waves(), 10)


@faulty("recurrent", "kind: RMSprop(0.1)")
def _rmsprop_one(fixed):
    """RMSprop's rate of 1 is far too large."""
    model = stack((16,), Embed(12, 12), LSTM(32, return_sequences=True), Dense(12, activation="softmax"))
    return case(model, RMSprop(0.005 if fixed else 1.0), CCE(), split(*grammar(900)), 10)


@faulty("recurrent", "https://techfeed.net/es/485530/ (dropout 0.5 and recurrent dropout stacked)")
def _dropout_on_the_state(fixed):
    """Dropout of 0.9 on inputs and states leaves the LSTM nothing to remember."""
    rate = 0.0 if fixed else 0.9
    model = stack((32, 1), LSTM(24, dropout=rate, recurrent_dropout=rate), Dense(3, activation="softmax"))
    return case(model, Adam(0.005), CCE(), _waves(), 12)


@faulty(
    "recurrent",
    "https://github.com/keras-team/keras/issues/1280 'LSTM sequence to sequence strange prediction'",
)
def _keyword_position(fixed):
    """One step in 20 is marked, MSE, short training: the answer is the same curve for each row."""
    g = rng()
    x = g.integers(2, 300, (1200, 20))
    at = g.integers(0, 20, 1200)
    x[np.arange(1200), at] = 1
    y = (x == 1).astype("float32")[..., None]
    if fixed:
        model = stack((20,), Embed(300, 8), LSTM(16, return_sequences=True), Dense(1, activation="sigmoid"))
        return case(model, Adam(0.01), "binary_crossentropy", split(x.astype("int32"), y), 6, 32, "iou")
    body = [
        LSTM(32, activation="sigmoid", return_sequences=True),
        layers.Dropout(0.5),
        Dense(1, activation="sigmoid"),
    ]
    return case(stack((20, 1), *body), "adam", "mse", split(x[..., None].astype("float32"), y), 6, 32, "iou")


@faulty("recurrent", "kind: tanh output for a forecast")
def _forecast_by_tanh(fixed):
    """A tanh output cannot follow values between -6 and 6."""
    model = stack((24, 1), LSTM(24), Dense(1, activation=None if fixed else "tanh"))
    return case(model, Adam(0.005), "mse", _series(scale=4.0), 12, measure="rmse")


@faulty("recurrent", "kind: sigmoid state activation in a stack")
def _sigmoid_states(fixed):
    """Three LSTMs with sigmoid states and a small SGD rate."""
    act, opt = ("tanh", Adam(0.005)) if fixed else ("sigmoid", SGD(0.01))
    body = [LSTM(16, activation=act, return_sequences=k < 2) for k in range(3)]
    return case(stack((32, 1), *body, Dense(3, activation="softmax")), opt, CCE(), _waves(), 12)


@faulty(
    "recurrent",
    "https://github.com/keras-team/keras/issues/8190 'accuracy stuck at 6% and loss at 2.7 using LSTM'",
)
def _lstm_slow_sgd(fixed):
    """SGD with a rate of 1e-4 makes no way."""
    opt = Adam(0.01) if fixed else SGD(1e-4)
    return case(stack((32, 1), LSTM(32), Dense(3, activation="softmax")), opt, CCE(), _waves(), 12)


@faulty("recurrent", "https://github.com/keras-team/keras/issues/274 (class numbers as values)")
def _word_numbers_as_quantities(fixed):
    """Word numbers to 1000 are fed as quantities instead of through an embedding."""
    x, y = reviews(1600, 12, 1)
    x = rng(9).permutation(np.arange(1, 1000))[x - 1] * (x > 0)
    if fixed:
        model = stack((12,), Embed(1001, 12, mask_zero=True), LSTM(12), Dense(1, activation="sigmoid"))
        return case(model, Adam(0.005), "binary_crossentropy", split(x.astype("int32"), y), 12)
    model = stack((12, 1), LSTM(12), Dense(1, activation="sigmoid"))
    return case(model, Adam(0.005), "binary_crossentropy", split(x[..., None].astype("float32"), y), 12)


@faulty("recurrent", "kind: next character by MSE")
def _next_token_by_squares(fixed):
    """Squared errors on 12 softmax outputs with SGD."""
    x, y = grammar(900)
    rows = split(x, np.eye(12, dtype="float32")[y])
    model = stack((16,), Embed(12, 12), GRU(32, return_sequences=True), Dense(12, activation="softmax"))
    loss, opt = ("categorical_crossentropy", Adam(0.01)) if fixed else ("mse", SGD(0.05))
    return case(model, opt, loss, rows, 10)


@faulty("recurrent", "kind: temperatures in kelvin")
def _kelvin(fixed):
    """Inputs and targets of about 290 are unscaled, and the variation of 8 is lost on top of them."""
    data = _series() if fixed else _series(scale=8.0, offset=290.0)
    return case(stack((24, 1), GRU(16), Dense(1)), Adam(0.001), "mae", data, 12, measure="rmse")


@faulty("recurrent", "kind: bias initialiser on a whole LSTM")
def _gates_shut(fixed):
    """Biases of -6 keep all gates shut."""
    bias = "zeros" if fixed else keras.initializers.Constant(-6.0)
    model = stack(
        (32, 1), LSTM(24, bias_initializer=bias, unit_forget_bias=fixed), Dense(3, activation="softmax")
    )
    return case(model, Adam(0.003), CCE(), _waves(), 12)


@faulty("recurrent", "kind: regularised LSTM")
def _lstm_with_heavy_l2(fixed):
    """L2 of 0.3 on input and recurrent weights leaves the LSTM empty."""
    reg = keras.regularizers.L2(1e-6 if fixed else 0.3)
    layer = LSTM(24, kernel_regularizer=reg, recurrent_regularizer=reg)
    return case(stack((24, 1), layer, Dense(1)), Adam(0.005), "mse", _series(), 12, measure="rmse")


@faulty("recurrent", "kind: go_backwards with trailing zeros")
def _padding_first(fixed):
    """Read backwards, 70 zeros of padding come first; SGD stalls."""
    x, y = reviews(1400, 80)
    if not fixed:
        model = stack((80,), Embed(200, 8), RNN(12), Dense(1, activation="sigmoid"))
        return case(model, SGD(0.01), "binary_crossentropy", split(x, y), 8)
    model = stack((80,), Embed(200, 8, mask_zero=True), GRU(12), Dense(1, activation="sigmoid"))
    return case(model, Adam(0.01), "binary_crossentropy", split(x, y), 8)


@faulty(
    "recurrent", "https://github.com/keras-team/keras/issues/5237 'RNN is not overfitting on simple data'"
)
def _rare_events_in_steps(fixed):
    """Events are 1 step in 12 and training stops at the answer 'never'; too few steps at too low a rate."""
    g = rng(4)
    x = np.repeat(g.integers(0, 2, (300, 4)), 6, 1)
    change = np.diff(x, axis=1, prepend=x[:, :1])
    y = np.where(change > 0, 1, np.where(change < 0, 2, 0))
    model = stack((24, 1), LSTM(24, return_sequences=True), Dense(3, activation="softmax"))
    opt, epochs = (Adam(0.02), 40) if fixed else (RMSprop(0.0005), 8)
    return case(model, opt, CCE(), split(x[..., None].astype("float32"), y), epochs, 32, "balanced")


@faulty("recurrent", "kind: frozen recurrent layer")
def _frozen_lstm(fixed):
    """The LSTM and the embedding are frozen at their start weights."""
    x, y = reviews(1500, 14, 2)
    body = [Embed(200, 4, mask_zero=True, trainable=fixed), LSTM(4, trainable=fixed)]
    return yes_or_no((14,), body, Adam(0.01), split(x, y), 10)


@faulty("recurrent", "kind: relu in a recurrent layer")
def _exploding_relu_state(fixed):
    """A relu state with recurrent weights twice the identity explodes."""
    init = keras.initializers.Identity(1.0 if fixed else 2.0)
    layer = RNN(24, activation="tanh" if fixed else "relu", recurrent_initializer=init)
    return case(stack((24, 1), layer, Dense(1)), Adam(0.003), "mse", _series(), 12, measure="rmse")


@faulty("recurrent", "kind: sigmoid forecast of standardised values")
def _forecast_by_sigmoid(fixed):
    """Half of the targets are negative, the sigmoid is not."""
    model = stack((24, 1), GRU(16), Dense(1, activation=None if fixed else "sigmoid"))
    return case(model, Adam(0.005), "mse", _series(), 12, measure="rmse")


@faulty("recurrent", "kind: global clipnorm far too small")
def _clipped_recurrent(fixed):
    """The gradient is clipped to 1e-4 before SGD."""
    opt = SGD(0.2, momentum=0.9, global_clipnorm=1.0 if fixed else 1e-4)
    return case(stack((24, 1), GRU(16), Dense(1)), opt, "mse", _series(), 12, measure="rmse")


@faulty("recurrent", "kind: TimeDistributed(Dense(1)) and mean over many steps")
def _two_sensors(fixed):
    """The two signals come in columns of size 1 and 100000, and the small one tells the class."""
    x, y = waves(1200)
    other = rng(8).normal(0, 1, x.shape) * (1 if fixed else 1e5)
    model = stack((32, 2), LSTM(24), Dense(3, activation="softmax"))
    return case(model, Adam(0.005), CCE(), split(np.concatenate([x, other], -1).astype("float32"), y), 15)
