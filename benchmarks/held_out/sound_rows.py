"""Sound networks for tables, pairs and other rows."""

import keras
import numpy as np
from keras import layers
from sklearn import datasets

from held_out.case import CCE, SGD, Adam, case, sound, stack, yes_or_no
from held_out.data import bundled, fashion, onehot, pairs, ratings, rng, scaled, split, table
from held_out.pair_faults import Sample, _contrast, _twins

Dense, Drop = layers.Dense, layers.Dropout


def _digits():
    x, y = bundled("digits")
    return split(x / 16, y)


def _classes(n, *, columns=12, classes=3, sep=1.0, flip=0.02, seed=0):
    x, y = datasets.make_classification(
        n,
        columns,
        n_informative=min(6, columns),
        n_redundant=0,
        n_classes=classes,
        class_sep=sep,
        flip_y=flip,
        random_state=seed,
    )
    return split(scaled(x), y)


def _regression(n=1600, seed=0, noise=0.3):
    return split(*table(n, seed, noise))


@sound("dense", "kind: textbook digits by a small network")
def _digits_relu():
    model = stack((64,), Dense(64, activation="relu"), Dense(10, activation="softmax"))
    return case(model, "adam", CCE(), _digits(), 30, metrics=["accuracy"])


@sound("dense", "kind: unfancy network with sigmoid units, as in older textbooks")
def _digits_sigmoid():
    model = stack((64,), Dense(40, activation="sigmoid"), Dense(10, activation="softmax"))
    return case(model, Adam(0.01), CCE(), _digits(), 30)


@sound("dense", "kind: tanh units and SGD with momentum, as in LeCun's Efficient BackProp")
def _digits_tanh_momentum():
    model = stack((64,), Dense(40, activation="tanh"), Dense(10, activation="softmax"))
    return case(model, SGD(0.05, momentum=0.9), CCE(), _digits(), 25)


@sound("dense", "kind: logits and from_logits=True, as in the TensorFlow quickstart")
def _fashion_logits():
    x, y = fashion(4000, size=14)
    model = stack((14, 14, 1), layers.Flatten(), Dense(96, activation="relu"), Drop(0.2), Dense(10))
    return case(model, "adam", CCE(from_logits=True), split(x / 255, y), 40, metrics=["accuracy"])


@sound("dense", "kind: two spirals by relu layers")
def _moons():
    x, y = datasets.make_moons(1600, noise=0.15, random_state=1)
    model = stack(
        (2,), Dense(32, activation="relu"), Dense(32, activation="relu"), Dense(1, activation="sigmoid")
    )
    return case(model, Adam(0.005), "binary_crossentropy", split(x.astype("float32"), y), 25)


@sound("dense", "kind: XOR with enough units")
def _xor_tanh():
    x = rng().integers(0, 2, (2000, 2)).astype("float32")
    rows = split(
        x + rng(1).normal(0, 0.15, x.shape).astype("float32"), (x[:, 0] != x[:, 1]).astype("float32")
    )
    model = stack((2,), Dense(8, activation="tanh"), Dense(1, activation="sigmoid"))
    return case(model, Adam(0.02), "binary_crossentropy", rows, 25)


@sound("table", "kind: breast cancer, standardised, logistic regression")
def _cancer_logistic():
    x, y = bundled("breast_cancer")
    return yes_or_no((30,), [], Adam(0.01), split(scaled(x), y), 30)


@sound("table", "https://keras.io/examples/structured_data/ (Normalization layer in the network, raw inputs)")
def _cancer_normalization_layer():
    x, y = bundled("breast_cancer")
    rows = split(x, y)
    norm = layers.Normalization()
    norm.adapt(rows[0])
    model = stack((30,), norm, Dense(16, activation="relu"), Dense(1, activation="sigmoid"))
    return case(model, Adam(0.002), "binary_crossentropy", rows, 25)


@sound("table", "kind: wine, standardised")
def _wine():
    x, y = bundled("wine")
    model = stack((13,), Dense(16, activation="relu"), Dense(3, activation="softmax"))
    return case(model, Adam(0.01), CCE(), split(scaled(x), y, 0.4), 30, 16)


@sound("table", "kind: iris, one-hot labels")
def _iris():
    x, y = bundled("iris")
    model = stack((4,), Dense(10, activation="relu"), Dense(3, activation="softmax"))
    return case(model, Adam(0.02), "categorical_crossentropy", split(scaled(x), onehot(y, 3), 0.4), 60, 16)


@sound("table", "kind: Friedman's function")
def _friedman():
    x, y = datasets.make_friedman1(2000, noise=0.5, random_state=0)
    model = stack((10,), Dense(64, activation="relu"), Dense(64, activation="relu"), Dense(1))
    rows = split(x.astype("float32"), scaled(y))
    return case(model, Adam(0.003), "mse", rows, 50, measure="rmse")


@sound("table", "kind: diabetes, a hard small set: linear regression")
def _diabetes_linear():
    x, y = bundled("diabetes")
    return case(stack((10,), Dense(1)), Adam(0.02), "mse", split(scaled(x), scaled(y)), 40, measure="rmse")


@sound("table", "kind: self-normalising network with SELU")
def _selu():
    body = [Dense(48, activation="selu", kernel_initializer="lecun_normal") for _ in range(4)]
    model = stack((12,), *body, Dense(3, activation="softmax"))
    return case(model, Adam(0.002), CCE(), _classes(2400, sep=1.4, flip=0.0), 40)


@sound("table", "kind: batch normalisation before the activation")
def _batch_norm_rows():
    body = []
    for _ in range(2):
        body += [Dense(64, use_bias=False), layers.BatchNormalization(), layers.Activation("relu")]
    model = stack((12,), *body, Dense(3, activation="softmax"))
    return case(model, Adam(0.003), CCE(), _classes(2400, sep=1.4, flip=0.0, seed=1), 40, 64)


@sound("table", "kind: a hard task: a third of the labels is random")
def _hard_labels():
    rows = _classes(2400, classes=2, sep=1.2, flip=0.5, seed=2)
    model = stack(
        (12,), Dense(16, activation="relu", kernel_regularizer="l2"), Dense(1, activation="sigmoid")
    )
    return case(model, Adam(0.003), "binary_crossentropy", rows, 20)


@sound("table", "kind: a hard task: most of the target is noise")
def _hard_target():
    x, _ = table(2400, 5)
    y = 0.6 * x[:, 0] + 0.3 * np.abs(x[:, 1]) + rng(3).normal(0, 1, 2400)
    model = stack((8,), Dense(8, activation="relu", kernel_regularizer=keras.regularizers.L2(1e-3)), Dense(1))
    return case(model, Adam(0.003), "mse", split(x, y.astype("float32")), 20, measure="rmse")


@sound("table", "kind: rare class with class weights")
def _rare_weighted():
    x, y = datasets.make_classification(
        4000, 10, n_informative=5, weights=[0.94], flip_y=0.01, class_sep=1.0, random_state=6
    )
    rows = split(scaled(x), y.astype("float32"))
    model = stack((10,), Dense(32, activation="relu"), Dense(1, activation="sigmoid"))
    weight = {0: 1.0, 1: 12.0}
    return case(model, Adam(0.003), "binary_crossentropy", rows, 30, measure="balanced", class_weight=weight)


@sound("table", "kind: logarithm of prices")
def _log_prices():
    x, y = table(1800, 2)
    model = stack((8,), Dense(64, activation="swish"), Dense(64, activation="swish"), Dense(1))
    return case(model, Adam(0.004), "mse", split(x, scaled(y)), 60, measure="rmse")


@sound("table", "kind: counts with an exponential output and Poisson loss")
def _counts():
    x, _ = table(2400, 4)
    y = rng(8).poisson(np.exp(0.8 * x[:, 0] + 0.4 * np.sin(x[:, 1]))).astype("float32")
    model = stack((8,), Dense(16, activation="tanh"), Dense(1, activation="exponential"))
    return case(model, Adam(0.003), "poisson", split(x, y), 20, measure="rmse")


@sound("table", "kind: Huber loss against outliers")
def _huber():
    x, y = table(1800, 6)
    y = y.copy()
    a, t, b, v = split(x, y)
    t[rng(1).random(len(t)) < 0.02] += 30
    model = stack((8,), Dense(64, activation="relu"), Dense(64, activation="relu"), Dense(1))
    return case(model, Adam(0.003), keras.losses.Huber(), (a, t, b, v), 40, measure="rmse")


@sound("table", "kind: AdamW with decay of the rate over the training")
def _adamw_cosine():
    rows = _regression(2000, 7)
    rate = keras.optimizers.schedules.CosineDecay(0.008, 40 * 47)
    model = stack((8,), Dense(64, activation="gelu"), Dense(64, activation="gelu"), Dense(1))
    return case(model, keras.optimizers.AdamW(rate), "mse", rows, 40, measure="rmse")


@sound("table", "https://keras.io/examples/structured_data/wide_deep_cross_networks/ (wide and deep)")
def _wide_and_deep():
    inputs = keras.Input((8,))
    deep = Dense(48, activation="relu")(Dense(48, activation="relu")(inputs))
    model = keras.Model(inputs, Dense(1)(layers.Concatenate()([inputs, deep])))
    return case(model, Adam(0.004), "mse", _regression(1800, 8), 60, measure="rmse")


@sound("table", "kind: residual blocks for a table")
def _residual_rows():
    inputs = keras.Input((8,))
    x = Dense(48)(inputs)
    for _ in range(3):
        x = x + Dense(48)(layers.Activation("relu")(Dense(48)(layers.LayerNormalization()(x))))
    model = keras.Model(inputs, Dense(1)(x))
    rate = keras.optimizers.schedules.CosineDecay(0.004, 50 * 71)
    return case(model, Adam(rate), "mse", _regression(3000, 9), 50, measure="rmse")


@sound("table", "kind: several labels at once, sigmoid outputs")
def _several_labels():
    x, y = datasets.make_multilabel_classification(2400, 20, n_classes=6, n_labels=3, random_state=1)
    model = stack((20,), Dense(64, activation="relu"), Drop(0.2), Dense(6, activation="sigmoid"))
    rows = split(scaled(x), y.astype("float32"))
    return case(model, Adam(0.002), "binary_crossentropy", rows, 25, measure="labels")


@sound("table", "kind: one-hot towns beside numbers")
def _one_hot_towns():
    g = rng(4)
    town, effect = g.integers(0, 20, 2000), g.normal(0, 2, 20)
    x, _ = table(2000)
    y = effect[town] + x[:, 0] + g.normal(0, 0.2, 2000)
    rows = split(np.column_stack([np.eye(20)[town], x[:, 0]]).astype("float32"), y.astype("float32"))
    return case(
        stack((21,), Dense(32, activation="relu"), Dense(1)), Adam(0.005), "mse", rows, 25, measure="rmse"
    )


@sound("table", "kind: large batches with a rate to match")
def _large_batches():
    model = stack((12,), Dense(64, activation="relu"), Dense(4, activation="softmax"))
    return case(model, Adam(0.02), CCE(), _classes(4000, classes=4, sep=1.8, flip=0.0, seed=4), 40, 512)


@sound("autoencoder", "https://blog.keras.io/building-autoencoders-in-keras.html (with Adam)")
def _digit_autoencoder():
    a, _, b, _ = _digits()
    model = stack((64,), Dense(32, activation="relu"), Dense(64, activation="sigmoid"))
    rate = keras.optimizers.schedules.CosineDecay(0.002, 200 * 43)
    return case(model, Adam(rate), "binary_crossentropy", (a, a, b, b), 200, measure="rmse")


@sound("autoencoder", "kind: variational autoencoder with a small divergence weight")
def _digit_vae():
    a, _, b, _ = _digits()
    inputs = keras.Input((64,))
    h = Dense(64, activation="relu")(inputs)
    z = Sample(0.0005)(Dense(12)(h), Dense(12)(h))
    out = Dense(64, activation="sigmoid")(Dense(64, activation="relu")(z))
    model = keras.Model(inputs, out)
    return case(model, Adam(0.003), "binary_crossentropy", (a, a, b, b), 80, measure="rmse")


@sound("siamese", "https://keras.io/examples/vision/siamese_contrastive/")
def _contrastive():
    return case(_twins(), Adam(0.002), _contrast(), split(*pairs(6000)), 20, 32, "distance")


@sound("several outputs", "kind: class and number from one body, both scaled")
def _class_and_number():
    x, y = table(3000, 10, 0.1)
    label = (x[:, 5] + x[:, 6] > 0).astype("float32")
    a, t, b, v = split(x, np.stack([label, scaled(y)], 1).astype("float32"))
    inputs = keras.Input((8,))
    h = Dense(64, activation="relu")(Dense(64, activation="relu")(inputs))
    model = keras.Model(inputs, [Dense(1, activation="sigmoid")(h), Dense(1)(h)])
    rows = (a, [t[:, :1], t[:, 1:]], b, [v[:, :1], v[:, 1:]])
    rate = keras.optimizers.schedules.CosineDecay(0.006, 60 * 71)
    return case(model, Adam(rate), ["binary_crossentropy", "mse"], rows, 60, measure=("accuracy", "rmse"))


@sound("embedding", "kind: matrix factorisation with biases")
def _factorisation():
    x, y = ratings(6000)
    a, b = keras.Input((1,), dtype="int32"), keras.Input((1,), dtype="int32")
    dot = layers.Dot(2)([layers.Embedding(60, 6)(a), layers.Embedding(50, 6)(b)])
    total = layers.Flatten()(layers.Add()([dot, layers.Embedding(60, 1)(a), layers.Embedding(50, 1)(b)]))
    return case(keras.Model([a, b], total), Adam(0.01), "mse", split(x, y - 3), 20, measure="rmse")


@sound("embedding", "kind: entity embeddings beside numbers (Guo & Berkhahn 2016)")
def _entities():
    g = rng(5)
    town, effect = g.integers(0, 30, 2400), g.normal(0, 2, 30)
    x, _ = table(2400, 11)
    y = effect[town] * (1 + 0.3 * x[:, 0]) + g.normal(0, 0.2, 2400)
    a, b = keras.Input((1,), dtype="int32"), keras.Input((2,))
    h = layers.Concatenate()([layers.Flatten()(layers.Embedding(30, 8)(a)), b])
    model = keras.Model([a, b], Dense(1)(Dense(64, activation="relu")(h)))
    rows = split([town.astype("int32")[:, None], x[:, :2]], y.astype("float32"))
    return case(model, Adam(0.01), "mse", rows, 40, measure="rmse")
