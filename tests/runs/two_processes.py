"""One of two processes that train the same small model in several ways; prints a line of JSON for each.

Called with the address of process 0, its own number, and a folder that both can read.
"""

import json
import sys
from pathlib import Path

import jax
import keras
import numpy as np

import kilter
from kilter.errors import KilterError

address, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(address, 2, rank, heartbeat_timeout_seconds=30)
X = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
Y = X[:, :1] * 2


def model(seed):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Dense(6, "relu", name="wide"), keras.layers.Dense(1)]
    made = keras.Sequential([keras.Input((4,)), *layers], name="net")
    made.compile("adam", "mse")
    return made


def fit(seed=0, x=X, validation=X, **more):
    made = model(seed)
    how = {"batch_size": 8, "epochs": 2, "verbose": 0, **more}
    history = kilter.fit(made, x, Y, validation_data=(validation, Y), **how)
    sums = [float(np.asarray(one.value).sum()) for one in made.weights]
    return [history.history["loss"], history.history["val_loss"], sums]


def split_over_processes():
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), keras.distribution.list_devices())
    layout = keras.distribution.LayoutMap(mesh)
    layout["wide/kernel"] = (None, "model")
    parallel = keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    with parallel.scope():
        return fit()


RUNS = folder / f"runs-{rank}"  # no common disk
CASES = {
    "same": fit,
    "other weights": lambda: fit(seed=rank),
    "other rows": lambda: fit(x=X + rank),
    "other rows of validation": lambda: fit(validation=X + rank),
    "another order": lambda: fit(batch_size=8 + rank),
    "ModelParallel": split_over_processes,
    "a run": lambda: fit(run=RUNS),
    "a run resumed": lambda: fit(run=RUNS, resume=True, epochs=3),
    "three epochs": lambda: fit(epochs=3),
}
for name, case in CASES.items():
    try:
        found = case()
    except KilterError as error:
        found = str(error)
    print(json.dumps([name, found]), flush=True)
print(json.dumps(["runs", len(list(RUNS.glob("*")))]), flush=True)
jax.distributed.shutdown()
