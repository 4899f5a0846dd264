"""Many calls in one process: the memory that stays does not grow with their number."""

import json
import os
import subprocess
import sys

import pytest

# Each prints the resident size in KiB after every part of its calls, for which the first is the warm-up.
BEGINNING = """
import gc, json, keras, numpy as np, kilter

X = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
Y = (X.sum(1) > 0).astype("float32")

def model():
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(1, "sigmoid")]
    made = keras.Sequential([keras.Input((4,)), *layers])
    made.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return made

def resident():
    gc.collect()
    with open("/proc/self/status") as status:
        return int(next(line for line in status if line.startswith("VmRSS")).split()[1])

def measured(call, parts, each):
    sizes = []
    for _ in range(parts):
        for _ in range(each):
            call()
        sizes.append(resident())
    print(json.dumps(sizes))
"""
CALLS = {
    "fit": "one = model()\nmeasured(lambda: kilter.fit(one, X, Y, verbose=0), 5, 40)",
    "compile": "measured(lambda: kilter.fit(model(), X, Y, verbose=0), 6, 10)",
    "treat": "how = dict(validation_data=(X, Y), epochs=2, verbose=0)\n"
    "measured(lambda: kilter.treat(model(), X, Y, **how), 6, 5)",
}
# JAX keeps some of each traced function; a program that stays would take 1 MiB and more.
KIB_A_CALL = {"fit": 20, "compile": 400, "treat": 2000}


@pytest.mark.long
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads the size from Linux's /proc")
@pytest.mark.parametrize("kind", CALLS)
def test_the_memory_of_many_calls_is_flat(kind):
    run = subprocess.run(
        [sys.executable, "-c", BEGINNING + CALLS[kind]], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    sizes = json.loads(run.stdout.splitlines()[-1])
    calls = {"fit": 40, "compile": 10, "treat": 5}[kind] * (len(sizes) - 2)
    assert (sizes[-1] - sizes[1]) / calls <= KIB_A_CALL[kind], sizes
