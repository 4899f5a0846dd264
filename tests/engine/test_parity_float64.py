"""In float64 the engine and Keras differ by rounding alone, a billion times less than in float32."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Keras's floatx and JAX's x64 mode are fixed when they load, so the comparison runs in a process of its own.
_SCRIPT = """
import json
import keras
keras.config.set_floatx("float64")
from engine.cases import BATCH, classifier, difference, rows
from engine.test_parity import FEATURES, OPTIMIZERS
from kilter._engine.fit import fit

x, y = rows()
x = x.astype("float64")
for name, feature in {cases!r}:
    clip, options, _ = FEATURES[feature]
    ours, theirs = (classifier(OPTIMIZERS[name](**clip), **options()) for _ in range(2))
    how = dict(batch_size=BATCH, epochs=3, shuffle=False, verbose=0)
    got = fit(ours, x, y, **how).history["loss"][-1]
    expected = theirs.fit(x, y, **how).history["loss"][-1]
    assert ours.weights[0].dtype == "float64"
    print(json.dumps([name, feature, difference(ours, theirs), abs(got - expected)]))
"""

_CASES = (
    ("nesterov", "plain"),
    ("adam", "l1l2"),
    ("nadam", "plain"),
    ("rmsprop", "global-clipnorm"),
    ("adagrad", "batch-normalization"),
    ("lamb", "max-norm"),
)


@pytest.fixture(scope="module")
def differences() -> list[tuple[str, str, float, float]]:
    tests = Path(__file__).resolve().parent.parent
    path = os.pathsep.join([str(tests.parent / "src"), str(tests), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"JAX_ENABLE_X64": "1", "PYTHONPATH": path}
    command = [sys.executable, "-c", _SCRIPT.format(cases=_CASES)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines() if line.startswith("[")]


@pytest.mark.long
def test_weights_and_loss_agree_to_ten_digits(differences: list[tuple[str, str, float, float]]):
    assert [(name, feature) for name, feature, _, _ in differences] == list(_CASES)
    for name, feature, weights, loss in differences:
        assert weights < 1e-10, (name, feature)
        assert loss < 1e-7, (name, feature)  # Keras keeps the mean of the loss in float32, whatever floatx is
