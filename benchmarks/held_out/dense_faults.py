"""Dense networks that do not learn."""

import keras
import numpy as np
from keras import layers, ops
from sklearn import datasets

from held_out.case import CCE, SGD, Adam, case, faulty, stack
from held_out.data import bundled, fashion, onehot, rng, scaled, split, table

Dense = layers.Dense


def _digits(scale=16.0, step=1):
    x, y = bundled("digits")
    return split(x[::step] / scale, y[::step])


def _cancer(ready=True):
    x, y = bundled("breast_cancer")
    return split(scaled(x) if ready else x, y)


def _flat(n=3000, scale=255.0):
    x, y = fashion(n, size=14)
    return split(x.reshape(n, -1) / scale, y)


def _head(*hidden, out=10, act="softmax"):
    return [*hidden, Dense(out, activation=act)]


@faulty("dense", "https://stats.stackexchange.com/questions/433365/xor-with-neural-network")
def _xor_relu_output(fixed):
    """No bend in the first layer, a relu as the output of a yes-or-no question, slow SGD on MSE."""
    x = rng().integers(0, 2, (2000, 2)).astype("float32")
    data = split(x + rng(1).normal(0, 0.1, x.shape), (x[:, 0] != x[:, 1]).astype("float32"))
    if fixed:
        model = stack((2,), Dense(16, activation="tanh"), Dense(1, activation="sigmoid"))
        return case(model, Adam(0.01), "binary_crossentropy", data, 15)
    model = stack((2,), Dense(2), Dense(2, activation="relu"), Dense(1, activation="relu"))
    return case(model, "sgd", "mse", data, 15)


@faulty("dense", "https://whosebug.com/question/2796462 'Why does a binary Keras CNN always predict 1?'")
def _softmax_of_one(fixed):
    """A softmax over a single unit is always 1."""
    model = stack((30,), *_head(Dense(32, activation="relu"), out=1, act="sigmoid" if fixed else "softmax"))
    return case(model, "adam", "binary_crossentropy", _cancer(), 20, metrics=["accuracy"])


@faulty("dense", "kind: 'deep network with sigmoid does not learn', many questions")
def _eight_sigmoids(fixed):
    """Eight sigmoid layers let the gradient vanish, and SGD makes no way."""
    act = "relu" if fixed else "sigmoid"
    model = stack((64,), *_head(*[Dense(32, activation=act) for _ in range(8)]))
    return case(model, SGD(0.05), CCE(), _digits(), 25)


@faulty("dense", "https://community.deeplearning.ai/t/loss-values-do-not-change/324182")
def _relu_regression_output(fixed):
    """A relu as the output of a regression whose targets are mostly negative."""
    x, y = table(1600)
    model = stack(
        (8,),
        Dense(32, activation="relu"),
        Dense(16, activation="relu"),
        Dense(1, activation=None if fixed else "relu"),
    )
    return case(model, "adam", "mse", split(x, y - 2.5), 25, measure="rmse")


@faulty("dense", "kind: learning rate copied from SGD")
def _adam_rate_one(fixed):
    """Adam with a learning rate of 1 blows the weights up."""
    model = stack((64,), *_head(Dense(64, activation="relu"), Dense(32, activation="relu")))
    return case(model, Adam(0.001 if fixed else 1.0), CCE(), _digits(), 15, metrics=["accuracy"])


@faulty("dense", "https://chenzhang.org/notes/developer/loss-and-accuracy-get-stuck-in-keras/")
def _tiny_rate(fixed):
    """The learning rate 1e-5 is far too small for SGD."""
    model = stack((196,), *_head(Dense(64, activation="relu")))
    return case(model, SGD(0.05 if fixed else 1e-5), CCE(), _flat(), 12, metrics=["accuracy"])


@faulty("dense", "https://taourl.com/read-3401611.html")
def _zero_kernels(fixed):
    """All kernels start at zero, so relu units never move."""
    init = "glorot_uniform" if fixed else "zeros"
    hidden = [Dense(48, activation="relu", kernel_initializer=init) for _ in range(2)]
    model = stack((64,), *hidden, Dense(10, activation="softmax", kernel_initializer=init))
    return case(model, "adam", CCE(), _digits(), 12)


@faulty("dense", "kind: RandomNormal(stddev=5) copied from a tutorial")
def _huge_weights(fixed):
    """Weights drawn with deviation 5 saturate the tanh units."""
    init = "glorot_uniform" if fixed else keras.initializers.RandomNormal(stddev=5.0)
    hidden = [Dense(32, activation="tanh", kernel_initializer=init) for _ in range(4)]
    return case(stack((64,), *_head(*hidden)), SGD(0.05), CCE(), _digits(), 20)


@faulty(
    "dense",
    "https://huggingface.co/datasets/nvidia/Nemotron-CC-Math-v1 'Model Giving Same Prediction Every Time'",
)
def _marks_by_sigmoid(fixed):
    """A sigmoid output cannot reach marks of 0 to 50."""
    g = rng(3)
    x = g.uniform(0, 10, (1500, 4)).astype("float32")
    y = np.clip(4 * x[:, 1] + 0.8 * x[:, 0] - 0.5 * x[:, 2] + g.normal(0, 2, 1500), 0, 50).astype("float32")
    model = stack((4,), Dense(16, activation="relu"), Dense(1, activation=None if fixed else "sigmoid"))
    return case(model, Adam(0.005), "mse", split(x, y), 25, measure="rmse")


@faulty(
    "dense",
    "https://stackoverflow.com/questions/52800582/why-do-i-fail-to-predict-y-x4-with-keras-y-x3-works",
)
def _fourth_power(fixed):
    """Inputs to 100 and targets to 1e8 are unscaled; the sigmoid units saturate."""
    x = rng().uniform(-100, 100, (2000, 1)).astype("float32")
    y = x**4
    data = split(x / 50, y / 1e8) if fixed else split(x, y)
    model = stack((1,), Dense(50, activation="sigmoid"), Dense(50, activation="elu"), Dense(1))
    return case(model, Adam(0.003), "mse", data, 30, measure="rmse")


@faulty("dense", "https://github.com/keras-team/keras-hub/pull/1008 'activation and loss are mismatched'")
def _logits_taken_for_probabilities(fixed):
    """The output has no softmax, but the loss expects probabilities."""
    model = stack((196,), *_head(Dense(64, activation="relu"), act=None))
    return case(model, "adam", CCE(from_logits=fixed), _flat(), 10, metrics=["accuracy"])


@faulty("dense", "https://github.com/mmalekzadeh/dana/issues/1 'from_logits=True on softmax output'")
def _softmax_twice(fixed):
    """Softmax is applied twice: in the output and by from_logits=True."""
    model = stack((64,), *_head(Dense(32, activation="tanh")))
    return case(model, SGD(0.03), CCE(from_logits=not fixed), _digits(), 20)


@faulty("dense", "kind: class numbers 1 to 10 with ten outputs")
def _labels_from_one(fixed):
    """The labels count from one, so the last class has no output."""
    x, y = bundled("digits")
    model = stack((64,), *_head(Dense(48, activation="relu"), out=11 if fixed else 10))
    return case(model, "adam", CCE(), split(x / 16, y + 1), 15)


@faulty("dense", "kind: l2(0.5) on each layer")
def _crushing_l2(fixed):
    """A weight penalty this strong leaves no weights."""
    reg = keras.regularizers.L2(1e-4 if fixed else 0.5)
    hidden = [Dense(64, activation="relu", kernel_regularizer=reg) for _ in range(2)]
    model = stack((64,), *hidden, Dense(10, activation="softmax", kernel_regularizer=reg))
    return case(model, "adam", CCE(), _digits(), 15)


@faulty("dense", "kind: dropout raised against overfitting")
def _dropout_of_nearly_all(fixed):
    """A dropout of 0.95 after narrow layers leaves no signal."""
    rate = 0.1 if fixed else 0.95
    hidden = [
        Dense(24, activation="relu"),
        layers.Dropout(rate),
        Dense(24, activation="relu"),
        layers.Dropout(rate),
    ]
    return case(stack((64,), *_head(*hidden)), "adam", CCE(), _digits(), 20)


@faulty("dense", "https://github.com/keras-team/keras/issues/2395 'Freezing layers for training'")
def _frozen_at_random(fixed):
    """The first layers are frozen at random weights and narrow."""
    hidden = [Dense(12, activation="relu", trainable=fixed), Dense(6, activation="relu", trainable=fixed)]
    return case(stack((64,), *_head(*hidden)), Adam(0.005), CCE(), _digits(), 25)


@faulty("dense", "https://github.com/keras-team/keras/issues/4994 'acc never change (20 newsgroup dataset)'")
def _one_unit_waist(fixed):
    """All goes through one sigmoid unit before ten classes."""
    waist = 32 if fixed else 1
    model = stack((64,), *_head(Dense(64, activation="relu"), Dense(waist, activation="sigmoid")))
    return case(model, Adam(0.003), CCE(), _digits(), 20)


@faulty("dense", "kind: softmax in hidden layers")
def _softmax_hidden(fixed):
    """Softmax in hidden layers squashes all units to nearly nothing."""
    act = "relu" if fixed else "softmax"
    model = stack((196,), *_head(Dense(64, activation=act), Dense(64, activation=act)))
    return case(model, "adam", CCE(), _flat(), 10)


@faulty("dense", "kind: custom loss written as a score")
def _loss_of_wrong_sign(fixed):
    """The loss is minus the squared error, so training goes uphill."""

    def closeness(y, p):
        error = ops.mean(ops.square(y - p), -1)
        return error if fixed else -error

    x, y = table(1200)
    model = stack((8,), Dense(32, activation="relu"), Dense(1))
    return case(model, "adam", closeness, split(x, y), 30, measure="rmse")


@faulty("dense", "kind: rounding inside a custom loss")
def _rounded_loss(fixed):
    """The loss rounds the outputs, so its gradient is zero."""

    def wrong(y, p):
        y = ops.cast(y, p.dtype)
        return keras.losses.binary_crossentropy(y, p) if fixed else ops.mean(ops.abs(y - ops.round(p)), -1)

    model = stack((30,), *_head(Dense(16, activation="relu"), out=1, act="sigmoid"))
    return case(model, "adam", wrong, _cancer(), 20)


@faulty("dense", "kind: Adadelta as Keras brings it")
def _adadelta_as_it_comes(fixed):
    """Adadelta's default rate of 0.001 is far too small for few epochs."""
    opt = keras.optimizers.Adadelta(1.0 if fixed else 0.001)
    return case(stack((64,), *_head(Dense(32, activation="relu"))), opt, CCE(), _digits(), 15)


@faulty("dense", "kind: raw wine columns with SGD")
def _raw_wine(fixed):
    """Columns from 0.1 to 1700 are unscaled; relu units die at once."""
    x, y = bundled("wine")
    x = np.repeat(x, 4, 0) * rng(1).normal(1, 0.03, (len(x) * 4, x.shape[1]))
    x, y = x.astype("float32"), np.repeat(y, 4)
    model = stack((13,), *_head(Dense(32, activation="relu"), Dense(16, activation="relu"), out=3))
    return case(model, SGD(0.01), CCE(), split(scaled(x) if fixed else x, y), 25)


@faulty("dense", "kind: raw features into sigmoid units")
def _raw_into_sigmoid(fixed):
    """Raw columns to 4000 saturate the sigmoid units."""
    x, y = table(1500)
    x = x * np.array([900, 4000, 3, 50, 800, 1, 30, 2000], "float32") + 500
    model = stack((8,), Dense(32, activation="sigmoid"), Dense(16, activation="sigmoid"), Dense(1))
    return case(model, Adam(0.01), "mse", split(scaled(x) if fixed else x, y), 30, measure="rmse")


@faulty("dense", "kind: one epoch of large batches")
def _three_steps(fixed):
    """One epoch of 3 steps is no training."""
    model = stack((196,), *_head(Dense(128, activation="relu")))
    epochs, batch = (10, 32) if fixed else (1, 1024)
    return case(model, "adam", CCE(), _flat(), epochs, batch)


@faulty("dense", "kind: batch_size=len(x)")
def _whole_set_as_batch(fixed):
    """The whole set is one batch: 15 steps of SGD in all."""
    model = stack((64,), *_head(Dense(64, activation="relu")))
    return case(model, SGD(0.05), CCE(), _digits(), 15, 32 if fixed else 1347)


@faulty("dense", "https://whosebug.com/question/5173684 'Adam(lr=1e-3, decay=0.9)'")
def _rate_decays_at_once(fixed):
    """The learning rate is halved each few steps and is gone before the first epoch ends."""
    rate = 0.001 if fixed else keras.optimizers.schedules.ExponentialDecay(0.001, 3, 0.5)
    return case(stack((196,), *_head(Dense(64, activation="relu"))), Adam(rate), CCE(), _flat(), 10)


@faulty("dense", "kind: clipvalue against NaN")
def _clipped_to_nothing(fixed):
    """Gradients are clipped to a norm of 1e-5, so SGD stands still."""
    opt = SGD(0.1, clipnorm=1.0 if fixed else 1e-5)
    return case(stack((64,), *_head(Dense(48, activation="elu"))), opt, CCE(), _digits(), 15)


@faulty("dense", "kind: batch normalisation with batches of one")
def _norm_of_one_row(fixed):
    """In batches of one, normalisation leaves only zeros."""
    hidden = [Dense(32, use_bias=False), layers.BatchNormalization(), layers.Activation("relu")]
    return case(stack((64,), *_head(*hidden)), SGD(0.01), CCE(), _digits(step=3), 6, 32 if fixed else 1)


@faulty("dense", "kind: no activations")
def _no_bends(fixed):
    """Without activations, three layers are one linear map: two moons need bends."""
    x, y = datasets.make_circles(1600, noise=0.08, factor=0.5, random_state=0)
    act = "relu" if fixed else None
    hidden = [Dense(32, activation=act), Dense(32, activation=act)]
    model = stack((2,), *_head(*hidden, out=1, act="sigmoid"))
    return case(model, Adam(0.005), "binary_crossentropy", split(x.astype("float32"), y), 20)


@faulty("dense", "kind: negative start biases")
def _dead_from_the_start(fixed):
    """Biases of -8 keep all relu units silent."""
    bias = "zeros" if fixed else keras.initializers.Constant(-8.0)
    hidden = [Dense(32, activation="relu", bias_initializer=bias) for _ in range(2)]
    return case(stack((64,), *_head(*hidden)), "adam", CCE(), _digits(), 20)


@faulty("dense", "kind: constraints copied from elsewhere")
def _norms_held_at_nothing(fixed):
    """MaxNorm(0.01) keeps the weights at nearly nothing."""
    limit = keras.constraints.MaxNorm(3.0 if fixed else 0.01)
    hidden = [Dense(32, activation="relu", kernel_constraint=limit) for _ in range(3)]
    return case(stack((64,), *_head(*hidden)), "adam", CCE(), _digits(), 15)


@faulty(
    "dense", "https://stackoverflow.com/questions/44164749/how-does-keras-handle-multilabel-classification"
)
def _labels_share_a_softmax(fixed):
    """Several labels may be true at once, but softmax shares one probability among them."""
    x, y = datasets.make_multilabel_classification(2400, 20, n_classes=6, n_labels=3, random_state=1)
    act, loss = ("sigmoid", "binary_crossentropy") if fixed else ("softmax", "categorical_crossentropy")
    model = stack((20,), *_head(Dense(64, activation="relu"), out=6, act=act))
    return case(model, "adam", loss, split(scaled(x), y.astype("float32")), 20, measure="labels")


@faulty("dense", "kind: MSE on classes with SGD")
def _squares_of_softmax(fixed):
    """Squared errors of softmax outputs give SGD almost no gradient."""
    x, y = bundled("digits")
    loss = "categorical_crossentropy" if fixed else "mse"
    model = stack((64,), *_head(Dense(32, activation="sigmoid")))
    return case(model, SGD(0.1), loss, split(x / 16, onehot(y, 10)), 15)


@faulty("dense", "kind: momentum 0.99 with rate 0.5")
def _momentum_runs_away(fixed):
    """SGD with momentum 0.99 and a rate of 0.5 throws the weights about."""
    opt = SGD(0.05, momentum=0.9) if fixed else SGD(0.5, momentum=0.99)
    return case(
        stack((196,), *_head(Dense(64, activation="relu"), Dense(32, activation="relu"))),
        opt,
        CCE(),
        _flat(),
        8,
    )
