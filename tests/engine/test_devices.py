"""Two devices do the work of one, each with half of every batch: the numbers of one device, to rounding."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import keras
import numpy as np
import pytest
from jax.sharding import Mesh
from tests.engine.cases import classifier, rows, same_bits

import kilter
from kilter._engine.devices import Placement, chosen
from kilter._models.variables import variables
from kilter.errors import OptionError

PROGRAM = Path(__file__).with_name("two_devices.py")
FLAGS = "--xla_force_host_platform_device_count=2"
# Sums over two halves are rounded otherwise than over the whole; the bound for three epochs.
CLOSE = 1e-5


CASES = [
    "arrays",
    "images",
    "ModelParallel",
    *(pytest.param(name, marks=pytest.mark.long) for name in ("stream", "batches")),
]
# On how many devices the variables are afterwards.
DEVICES = {"arrays": 1, "stream": 1, "batches": 1, "images": 2, "ModelParallel": 2}


@pytest.fixture(scope="module")
def found(request):
    # Compiled as conftest asks for, and without the cache, whose lock may make wait, with a warning.
    flags = f"{os.environ['XLA_FLAGS']} {FLAGS}"
    environment = os.environ | {"XLA_FLAGS": flags, "KERAS_BACKEND": "jax", "KILTER_CACHE": "off"}
    here = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    cases = sorted({one["case"] for one in here if str(one.get("case")) in DEVICES})
    run = subprocess.run(
        [sys.executable, PROGRAM, *cases],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_same_numbers_as_one_device(found, case):
    assert found[case]["curve"] < CLOSE
    assert found[case]["weights"] < CLOSE


@pytest.mark.parametrize("case", CASES)
def test_the_program_reduces_over_the_devices(found, case):
    assert found[case]["reduced"] >= 1


@pytest.mark.parametrize("case", CASES)
def test_variables_are_where_they_were(found, case):
    assert found[case]["devices"] == DEVICES[case]
    assert found[case]["split weights"] == (case == "ModelParallel")


def test_inference(found):
    assert max(found["inference"].values()) < CLOSE


def test_a_model_that_was_never_compiled_has_variables():
    """Such as one that predicts on several devices; a Sequential has no attribute optimizer then."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert [len(group) for group in variables(model)] == [2, 0, 0, 0]


@pytest.mark.parametrize("devices", [0, 100, "some", 1.5, True, [], ["cpu:0"]])
def test_devices_that_there_are_not(devices):
    with pytest.raises(OptionError, match="devices"):
        chosen(devices)


def test_a_batch_that_does_not_divide_is_said():
    mesh = Mesh(np.array(jax.devices()[:1]), ("batch",))
    with pytest.warns(UserWarning, match="multiple of 2"), mock.patch.object(Placement, "shares", 2):
        Placement(mesh, "batch").say_undivided(15)


def test_one_device_is_the_default():
    x, y = rows(16)
    one, other = classifier(), classifier()
    kilter.fit(one, x, y, verbose=0)
    kilter.fit(other, x, y, devices=1, verbose=0)
    assert same_bits(one, other)
