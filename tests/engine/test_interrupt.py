"""Ctrl-C ends the training after the running chunk, with the weights of that moment in the model."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import pytest

from kilter._engine.fit import fit
from kilter._engine.interrupt import Interrupt

from .cases import classifier, rows

_SCRIPT = """
import os, sys
import numpy as np
from kilter._engine.fit import fit
import keras

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(1)])
model.compile("sgd", "mse")
first = [np.array(weight) for weight in model.get_weights()]

class Told(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            print("training", flush=True)

x = np.random.default_rng(0).normal(size=(512, 4)).astype("float32")
try:
    fit(model, x, x[:, :1], epochs=10**9, verbose=0, callbacks=[Told()])
except KeyboardInterrupt:
    weights = model.get_weights()
    assert all(np.isfinite(weight).all() for weight in weights)
    assert any((weight != start).any() for weight, start in zip(weights, first))
    assert np.isfinite(model.predict(x, verbose=0)).all()
    fit(model, x, x[:, :1], epochs=1, verbose=0)
    print("stopped", flush=True)
    sys.exit(7)
"""


@pytest.mark.long
def test_an_interrupted_training_leaves_a_model_that_can_be_used_and_trained_on():
    source = str(Path(__file__).resolve().parents[2] / "src")
    process = subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r})\n{_SCRIPT}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "training\n"
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 7, errors
    assert out == "stopped\n"


def test_the_first_ctrl_c_is_remembered_and_the_second_acts_at_once():
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGINT)
        assert interrupt.pending
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()


def test_the_signal_handler_is_put_back():
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_is_handled():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with Interrupt() as interrupt:
            interrupt.check()
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_ctrl_c_is_not_lost_where_the_training_is_stopped_too():
    x, y = rows()
    model = classifier()

    def both(epoch: int, logs: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        model.stop_training = True

    with pytest.raises(KeyboardInterrupt):
        fit(model, x, y, epochs=3, verbose=0, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=both)])
