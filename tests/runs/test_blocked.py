"""Signals while the user's own code blocks: the last whole state is saved, and the process ends."""

import os
import signal
import subprocess
import sys
import time

import pytest

from kilter.runs import checkpoints, open_run

PROGRAM = """
import subprocess, sys, time
import kilter, keras, numpy as np

how, parent = sys.argv[1:]

def block():
    print("BLOCKED", flush=True)
    until = time.monotonic() + 45
    if how == "a process that is waited for":
        subprocess.run([sys.executable, "-c", "import time; time.sleep(45)"])
    elif how == "a long loop":
        while time.monotonic() < until:
            pass
    else:
        time.sleep(45)

class Blocks(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1 and how != "a generator":
            block()

def batches():
    for step in range(1000):
        if step > 20 and how == "a generator":
            block()
        yield np.ones((4, 3), "float32"), np.ones((4, 1), "float32")

model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
model.compile("adam", "mse")
try:
    kilter.fit(model, batches(), steps_per_epoch=4, epochs=9, run=parent, callbacks=[Blocks()], verbose=0)
except kilter.runs.Interrupted as stopped:
    sys.exit(128 + stopped.signal)
"""

# What blocks, the signals, the exit codes, whether a state was saved.
CASES = {
    "a sleep": ([signal.SIGTERM], {143}, True),
    "a long loop": ([signal.SIGINT], {130}, True),
    "a process that is waited for": ([signal.SIGTERM], {143}, True),
    "a generator": ([signal.SIGTERM], {143}, True),
    "a sleep, and a second signal": ([signal.SIGINT, signal.SIGINT], {130}, False),
}


@pytest.mark.parametrize("how", CASES)
def test_a_signal_ends_a_training_whose_callback_blocks(how, tmp_path):
    numbers, codes, saved = CASES[how]
    command = [sys.executable, "-c", PROGRAM, how, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "BLOCKED\n"
            time.sleep(0.3)
            for number in numbers:
                process.send_signal(number)
                time.sleep(0.5)
            assert process.wait(20) in codes  # 3 s and the save, on a busy machine
        finally:
            process.kill()
    (path,) = tmp_path.iterdir()
    if saved:
        assert open_run(path).status == "interrupted"
        assert checkpoints.latest(path) is not None
