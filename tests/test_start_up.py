"""What importing and training load, and that both work without what Windows does not have."""

import os
import subprocess
import sys

TRAINING = """
import numpy as np
import keras

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("sgd", "mse")
x = np.ones((8, 3), "float32")
kilter.fit(model, x, x[:, :1], epochs=1, verbose=0)
"""

LIGHT = f"""
import sys
import kilter
{TRAINING}
print(*sorted({{"grain", "orbax", "plotly", "polars", "pydantic", "tensorboardX"}} & set(sys.modules)))
"""

# Parts of the standard library that Windows lacks. What Python itself needs of them is loaded first.
PORTABLE = f"""
import asyncio, os, pkgutil, signal, sys
from importlib import import_module

for name in ("fcntl", "resource"):
    sys.modules[name] = None
del os.fork, os.sched_getaffinity, os.sched_setaffinity, signal.SIGHUP
import kilter
for module in pkgutil.walk_packages(kilter.__path__, "kilter."):
    import_module(module.name)
{TRAINING}
"""


def run(code, **environment):
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_training_loads_no_library_it_does_not_use():
    assert run(LIGHT) == ""


def test_every_module_is_imported_and_a_model_trained_without_what_windows_lacks(tmp_path):
    run(
        PORTABLE, KILTER_CACHE=str(tmp_path)
    )  # the lock of a cache made with fcntl is not one that others know
