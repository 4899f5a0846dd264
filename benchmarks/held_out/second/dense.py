"""Dense nets on tables that do not learn."""

import keras
import numpy as np
from keras import layers

from held_out.case import case, faulty, stack
from held_out.data import bundled, onehot, rng, split, table


@faulty(
    "table",
    "https://stackoverflow.com/questions/52800582/why-do-i-fail-to-predict-y-x4-with-keras-y-x3-works",
)
def _x_fourth_power(fixed):
    """Inputs of -100 to 100 and targets of up to 1e8 are not scaled; sigmoid units saturate and the answer
    cannot grow."""
    g = rng(3)
    x = g.uniform(-100, 100, (1600, 1)).astype("float32")
    y = x[:, 0] ** 4
    if fixed:
        x, y = x / 50, y / 1e7 / 3
    model = stack((1,), layers.Dense(50, "sigmoid"), layers.Dense(50, "elu"), layers.Dense(1))
    return case(model, keras.optimizers.Adam(0.01), "mse", split(x, y.astype("float32")), 25, 32, "rmse")


@faulty("table", "https://community.deeplearning.ai/t/loss-values-do-not-change/324182")
def _x_relu_answer(fixed):
    """The last layer is a relu although half of the targets are negative."""
    x, y = table(2000, seed=11)
    y = (y - y.mean()) / y.std()
    model = stack(
        (8,), layers.Dense(48, "relu"), layers.Dense(24, "relu"), layers.Dense(1, None if fixed else "relu")
    )
    return case(model, keras.optimizers.Adam(0.004), "mse", split(x, y), 25, 40, "rmse")


@faulty("table", "https://github.com/jaehyunnn/ViTPose_pytorch/issues/20")
def _x_decay_each_step(fixed):
    """The decay meant for each epoch is applied at each step, so that the rate is nearly zero after one
    epoch."""
    x, y = bundled("digits")
    data = split(x / 16, y, seed=4)
    steps = len(data[0]) // 50
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, steps if fixed else 1, 0.8)
    model = stack((64,), layers.Dense(72, "tanh"), layers.Dense(10))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return case(model, keras.optimizers.SGD(rate, momentum=0.8), loss, data, 14, 50)


@faulty("table", "https://stackoom.com/en/question/4HpqD")
def _x_heavy_penalty(fixed):
    """The L2 penalty of the sigmoid layer is so strong that its weights go to zero."""
    x, y = bundled("digits")
    penalty = keras.regularizers.l2(1e-5 if fixed else 0.1)
    model = stack(
        (64,),
        layers.Dense(36, "sigmoid", kernel_regularizer=penalty),
        layers.Dropout(0.2),
        layers.Dense(10, "softmax", kernel_regularizer=penalty),
    )
    data = split(x / 16, onehot(y, 10), seed=5)
    return case(model, keras.optimizers.RMSprop(0.005), "categorical_crossentropy", data, 20, 64)


@faulty(
    "table",
    "https://stackoverflow.com/questions/51432992/keras-what-does-class-weight-actually-try-to-balance",
)
def _x_weights_swapped(fixed):
    """The class weights are the wrong way round: the frequent class gets the large one."""
    g = rng(8)
    x, z = table(3000, seed=21)
    y = (z + g.normal(0, 0.4, len(z)) > np.quantile(z, 0.88)).astype("int64")
    share = y.mean()
    weight = {0: 0.5 / (1 - share), 1: 0.5 / share}
    if not fixed:
        weight = {0: weight[1], 1: weight[0]}
    model = stack((8,), layers.Dense(40, "relu"), layers.Dense(20, "relu"), layers.Dense(1, "sigmoid"))
    return case(
        model,
        keras.optimizers.Nadam(0.003),
        "binary_crossentropy",
        split(x, y),
        12,
        48,
        "balanced",
        class_weight=weight,
    )


@faulty(
    "table",
    "https://github.com/keras-team/keras/issues/10506",
    repairable=False,
)
def _x_same_few_rows(fixed):
    """An inner loop of the generator reuses the name of the outer counter, so that the same few rows come
    in every batch."""
    x, y = bundled("digits")
    a, b, c, d = split(x / 16, y, seed=7)
    if not fixed:
        a, b = np.tile(a[:32], (len(a) // 32, 1)), np.tile(b[:32], len(b) // 32)
    model = stack(
        (64,), layers.Dense(100, "selu", kernel_initializer="lecun_normal"), layers.Dense(10, "softmax")
    )
    return case(model, "adamax", "sparse_categorical_crossentropy", (a, b, c, d), 15, 32)
