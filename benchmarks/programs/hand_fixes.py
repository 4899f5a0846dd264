"""Programs that one line of a person's hand repairs: a loss, a weight, a strength, ids, missing values.

After public reports of networks that do not learn; the data and the networks are made here.
"""

from __future__ import annotations

from typing import Any, Final

import keras
import numpy as np
from keras import layers, ops
from sklearn.datasets import load_digits

from programs.causes import Draft, Setting, Words

Dense = layers.Dense
SPARSE: Final = "sparse_categorical_crossentropy"


def _split(x: Any, y: Any, share: float = 0.75) -> tuple[Any, Any, Any, Any]:
    """The first rows of arrays, or of lists of them, to train on, and the others."""
    count = int(share * len(x[0] if isinstance(x, list) else x))
    parts = [
        [one[part] for one in data] if isinstance(data, list) else data[part]
        for part in (slice(count), slice(count, None))
        for data in (x, y)
    ]
    return parts[0], parts[1], parts[2], parts[3]


def numerals(words: Words) -> Draft:
    """Digits of 64 pixels; ``kept``: the share of rows whose weight is 1."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(3).permutation(len(x))
    x, y, x_val, y_val = _split((x[order] / 16).astype("float32"), y[order].astype("int32"))
    front = words.get("front", list)()
    model = keras.Sequential(
        [keras.Input((64,)), *front, Dense(48, "relu", **words.get("options", {})), Dense(10, "softmax")]
    )
    draft = Draft(model, x, y, x_val, y_val, words.get("loss", SPARSE), epochs=20)
    if "kept" in words:
        kept = np.random.default_rng(4).random(len(x)) < words["kept"]
        draft.options["sample_weight"] = kept.astype("float32")
    return draft


def demand(words: Words) -> Draft:
    """Sales of the next day from those of 14, with many days of none."""
    random, days = np.random.default_rng(5), np.arange(1415)
    sales = 3 * np.sin(2 * np.pi * days / 7) + 1.5 * np.sin(2 * np.pi * days / 30)
    sales = np.maximum(0, sales + 0.3 * random.normal(size=len(days))).astype("float32")
    x = np.stack([sales[day : day + 14] for day in range(1400)])[..., None]
    model = keras.Sequential([keras.Input((14, 1)), layers.LSTM(20), Dense(1)])
    return Draft(model, *_split(x, sales[14:1414]), words.get("loss", "mse"), epochs=20)


def pairs(words: Words) -> Draft:
    """Whether two digits differ, by their distance; ``margin``: of the contrastive loss."""
    images, kinds = load_digits(return_X_y=True)
    random, images = np.random.default_rng(6), (images / 16).astype("float32")
    first = random.integers(0, len(images), 2000)
    second = np.array([random.choice(np.flatnonzero((kinds == kinds[one]) == (random.random() < 0.5)))
                       for one in first])  # fmt: skip
    encoder = keras.Sequential([keras.Input((64,)), Dense(48, "relu"), Dense(12)])
    inputs = [keras.Input((64,)), keras.Input((64,))]
    apart = ops.sum(ops.square(encoder(inputs[0]) - encoder(inputs[1])), -1, keepdims=True)
    margin = words.get("margin", 1.0)

    def contrastive(differ: Any, distance: Any) -> Any:
        pushed = ops.square(ops.maximum(margin - distance, 0))
        return ops.mean(differ * pushed + (1 - differ) * ops.square(distance), -1)

    model = keras.Model(inputs, ops.sqrt(apart + 1e-6))
    differ = (kinds[first] != kinds[second]).astype("float32")
    return Draft(model, *_split([images[first], images[second]], differ), contrastive, epochs=20)


def shared(words: Words) -> Draft:
    """Two outputs of one network, a product and a class; ``weights``: of their losses."""
    x = np.random.default_rng(7).normal(size=(1500, 8)).astype("float32")
    y = [x[:, :1] * x[:, 1:2], (x[:, 2:3] + x[:, 3:4] > 0).astype("float32")]
    inputs = keras.Input((8,))
    value = Dense(32, "relu")(Dense(48, "relu")(inputs))
    model = keras.Model(inputs, [Dense(1, name="amount")(value), Dense(1, "sigmoid", name="sign")(value)])
    draft = Draft(model, *_split(x, y), ["mse", "binary_crossentropy"], epochs=25)
    draft.weights = words.get("weights")
    return draft


def counted(words: Words) -> Draft:
    """How often one token follows another; ``rate``: of dropout in the recurrent layer."""
    tokens = np.random.default_rng(8).integers(0, 4, (1400, 20))
    found = ((tokens[:, :-1] == 2) & (tokens[:, 1:] == 3)).sum(axis=1)
    rate = words.get("rate", 0.0)
    model = keras.Sequential([keras.Input((20, 4)), layers.GRU(24, dropout=rate), Dense(3, "softmax")])
    x, y = np.eye(4, dtype="float32")[tokens], np.minimum(found, 2).astype("int32")
    return Draft(model, *_split(x, y), SPARSE, keras.optimizers.Adam(5e-3), epochs=20)


def shops(words: Words) -> Draft:
    """A value of a shop and a product by their numbers; ``embedded``: whether these are looked up."""
    random = np.random.default_rng(9)
    ids = np.stack([random.integers(0, 30, 2400), random.integers(0, 50, 2400)], axis=1)
    y = random.normal(size=30)[ids[:, 0]] + random.normal(size=50)[ids[:, 1]]
    inputs = value = keras.Input((2,))
    if words.get("embedded", True):
        tables = [layers.Embedding(size, 6)(inputs[:, place]) for place, size in enumerate((30, 50))]
        value = layers.Concatenate()(tables)
    model = keras.Model(inputs, Dense(1)(Dense(16, "relu")(Dense(32, "relu")(value))))
    return Draft(model, *_split(ids.astype("float32"), y.astype("float32")), "mse", epochs=20)


def gaps(words: Words) -> Draft:
    """Eight columns with 8 % missing; ``missing``: the number in their place, by default the mean."""
    random = np.random.default_rng(10)
    x = random.normal(size=(1800, 8))
    y = (x[:, 0] + x[:, 1] * x[:, 2] - x[:, 3] > 0).astype("float32")
    x[random.random(x.shape) < 0.08] = words.get("missing", 0.0)
    model = keras.Sequential([keras.Input((8,)), Dense(32, "relu"), Dense(16, "relu"), Dense(1, "sigmoid")])
    return Draft(model, *_split(x.astype("float32"), y), "binary_crossentropy", epochs=25)


def _rounded(truth: Any, answer: Any) -> Any:
    return ops.mean(ops.square(truth - ops.floor(answer)), -1)


def _missed(truth: Any, answer: Any) -> Any:
    return ops.cast(ops.not_equal(ops.reshape(truth, (-1,)), ops.argmax(answer, -1)), "float32")


FAULTY: Final[tuple[tuple[str, Setting, Words, tuple[str, ...]], ...]] = (
    ("numerals", numerals, {"loss": _missed}, ("loss-not-differentiable",)),
    ("numerals", numerals, {"kept": 0.03}, ("row-weights",)),
    ("numerals", numerals, {"front": lambda: [layers.Dropout(0.9)]}, ("excessive-dropout",)),
    ("numerals", numerals, {"options": {"kernel_regularizer": keras.regularizers.L2(0.5)}},
     ("excessive-penalty", "penalty-outweighs-loss")),
    ("demand", demand, {"loss": "mean_absolute_percentage_error"}, ("targets-loss",)),
    ("demand", demand, {"loss": _rounded}, ("loss-not-differentiable",)),
    ("pairs", pairs, {"margin": 0.0}, ("pairs-not-apart",)),
    ("shared", shared, {"weights": [0.0, 1.0]}, ("output-not-trained",)),
    ("counted", counted, {"rate": 0.9}, ("excessive-dropout",)),
    ("shops", shops, {"embedded": False}, ("ids-as-quantities",)),
    ("gaps", gaps, {"missing": -999.0}, ("sentinel-values",)),
    ("gaps", gaps, {"missing": 99_999.0}, ("sentinel-values",)),
)  # fmt: skip
SOUND: Final = tuple((one.__name__, one, {}) for one in (demand, pairs, shared, shops, gaps))
