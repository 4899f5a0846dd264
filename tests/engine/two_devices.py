"""Trains small models on one and on two virtual devices, and prints what they have in common, as JSON.

The arguments are the names of the cases.

A program of its own: the number of devices is fixed when JAX starts.
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path

import jax
import keras
import numpy as np

import kilter
from kilter._engine.program_cache import shelf
from kilter.data.augmentation import Flip

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(103, 12)).astype("float32"), RNG.integers(0, 3, 103)
IMAGES = RNG.normal(size=(61, 8, 8, 1)).astype("float32")


def dense() -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inner = [layers.Dense(8, "relu", name="hidden"), layers.BatchNormalization(), layers.Dropout(0.3)]
    return compiled([keras.Input((12,)), *inner, layers.Dense(3, activation="softmax")])


def cnn() -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers
    inner = [
        layers.Conv2D(4, 3, use_bias=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.GlobalAveragePooling2D(),  # not the maximum: see test_quick_compilation
    ]
    return compiled([keras.Input((8, 8, 1)), *inner, layers.Dense(3, activation="softmax")])


def compiled(layers: list) -> keras.Model:
    model = keras.Sequential(layers)
    # Not the accuracy, which a tie decides.
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["sparse_categorical_crossentropy"])
    return model


def on_disk(array: np.ndarray) -> np.ndarray:
    path = Path(tempfile.mkdtemp()) / "x.npy"
    np.save(path, array)
    return np.load(path, mmap_mode="r")


def batches() -> list:
    return [(X[start : start + 16], Y[start : start + 16]) for start in range(0, len(X), 16)]


def by_keras(kind: str):
    devices = keras.distribution.list_devices()
    if kind == "data":
        return keras.distribution.DataParallel(devices=devices)
    mesh = keras.distribution.DeviceMesh((1, 2), ["batch", "model"], devices)
    layouts = keras.distribution.LayoutMap(mesh)
    layouts[".*hidden/kernel"] = (None, "model")
    return keras.distribution.ModelParallel(layout_map=layouts, batch_dim_name="batch")


def train(make, data, devices=None, **options):
    model = make()
    given = {"epochs": 3, "verbose": 0, "seed": 3} | options
    return model, kilter.fit(model, *data, devices=devices, **given).history


SPLIT, PLAIN = {"validation_split": 0.2}, {"batch_size": 16, "shuffle": False}
# The model, what it is trained on by one device and by two, the options, and who names the devices.
CASES = {
    "arrays": (dense, (X, Y), (X, Y), SPLIT, 2),
    "ModelParallel": (dense, (X, Y), (X, Y), SPLIT, "model"),
    "stream": (dense, (X, Y), (on_disk(X), Y), PLAIN, "all"),
    "batches": (dense, (X, Y), (batches(),), PLAIN, 2),
    "images": (cnn, *((IMAGES, Y[:61]),) * 2, {"batch_size": 16, "augment": [Flip()]}, "data"),
}


def difference(one, other) -> float:
    pairs = zip(map(np.asarray, one), map(np.asarray, other), strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-3)) for a, b in pairs)


def compare(make, data, given, options, devices, trained) -> dict:
    key = (make, str(options))
    if key not in trained:
        trained[key] = train(make, data, **options)
    model, curve = trained[key]
    if devices in ("data", "model"):
        with by_keras(devices).scope():
            other, found = train(make, given, **options)
    else:
        other, found = train(make, given, devices, **options)
    texts = [p.run.compiled.as_text() for k, (p, _) in shelf(other).programs.items() if k.name[0] == "train"]
    places = [one.value.sharding for one in other.variables]
    return {
        "curve": difference(curve.values(), found.values()),
        "weights": difference(model.weights, other.weights),
        "reduced": max(text.count("all-reduce(") for text in texts),
        "devices": max(len(place.device_set) for place in places),
        "split weights": sum(not place.is_fully_replicated for place in places),
    }


def inference() -> dict:
    model = dense()
    whole = kilter.predict(model, X, verbose=0), kilter.evaluate(model, X, Y, verbose=0)
    split = (kilter.predict(model, X, devices=2, verbose=0),)
    split += (kilter.evaluate(model, X, Y, devices=2, verbose=0),)
    values = [list(one[1].values()) for one in (whole, split)]
    return {"predict": difference([whole[0]], [split[0]]), "evaluate": difference(*values)}


if __name__ == "__main__":
    assert jax.device_count() == 2
    warnings.simplefilter("error")
    baselines: dict = {}
    results = {name: compare(*CASES[name], baselines) for name in sys.argv[1:]}
    print(json.dumps(results | {"inference": inference()}))
