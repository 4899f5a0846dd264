"""Ctrl-C, SIGTERM, SIGHUP and errors: the last finished epoch is saved, whatever the throttle says."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.interrupt import Interrupt, awaited, started
from kilter._system import leave
from kilter.runs import Interrupted, checkpoints, open_run, resume, train
from kilter.runs.termination import Terminated, Termination

from .interrupting import InterruptIn

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _signals_are_not_ignored():
    """As in a terminal: what runs under nohup ignores SIGHUP, and so does kilter then."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class At(keras.callbacks.Callback):
    """Does something at a moment of an epoch."""

    def __init__(self, moment, epoch, action):
        super().__init__()
        self.at, self.action, self.now = (moment, epoch), action, None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch
        self._do("on_epoch_begin")

    def on_test_begin(self, logs=None):
        self._do("on_test_begin")

    def on_epoch_end(self, epoch, logs=None):
        self._do("on_epoch_end")

    def _do(self, moment):
        if (moment, self.now) == self.at:
            self.action()


def _press(number):
    return lambda: os.kill(os.getpid(), number)


def _handler_within():
    with Termination():
        return signal.getsignal(signal.SIGTERM)


def _leave():
    raise SystemExit(143)


def _fail():
    raise ZeroDivisionError


# What comes when, what leaves train(), the last epoch that was finished, and the status.
ENDS = {
    "SIGINT before the first program is compiled": (
        ("on_epoch_begin", 0, _press(signal.SIGINT)), Interrupted, None, "interrupted"
    ),
    "SIGINT while an epoch is trained": (
        ("on_epoch_begin", 2, _press(signal.SIGINT)), Interrupted, 1, "interrupted"
    ),
    "SIGTERM while an epoch is trained": (
        ("on_epoch_begin", 2, _press(signal.SIGTERM)), Interrupted, 1, "interrupted"
    ),
    "SIGHUP while an epoch is validated": (
        ("on_test_begin", 2, _press(signal.SIGHUP)), Interrupted, 1, "interrupted"
    ),
    "SIGTERM before an epoch is saved": (
        ("on_epoch_end", 1, _press(signal.SIGTERM)), Interrupted, 1, "interrupted"
    ),
    "sys.exit()": (("on_epoch_begin", 2, _leave), SystemExit, 1, "interrupted"),
    "an error": (("on_epoch_begin", 2, _fail), ZeroDivisionError, 1, "failed"),
}  # fmt: skip


@pytest.mark.parametrize("case", ENDS)
def test_the_last_finished_epoch_is_saved_however_a_run_ends(case, recipe, tmp_path):
    at, error, epoch, status = ENDS[case]
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(error) as caught:
        train(recipe, parent=tmp_path, callbacks=[At(*at)], verbose=0)
    assert [signal.getsignal(number) for number in SIGNALS] == before
    (path,) = tmp_path.iterdir()
    found = checkpoints.latest(path)
    records = open_run(path)
    assert (0 if found is None else found.finished) == (0 if epoch is None else epoch + 1)
    assert len(records.history) == (0 if epoch is None else epoch + 1)
    assert records.status == status
    if error is Interrupted:
        name = case.split()[0]
        assert caught.value.signal == getattr(signal, name)
        assert f"kilter resume {path}" in str(caught.value)
        assert records.result is not None
        assert records.result.reason == name.replace("SIGINT", "Ctrl-C")


def test_a_resume_goes_on_after_the_last_finished_epoch_with_the_same_bits(recipe, trained, tmp_path):
    with pytest.raises(Interrupted) as caught:
        train(recipe, parent=tmp_path, callbacks=[InterruptIn(2)], verbose=0)
    again = resume(caught.value.path, verbose=0)
    assert again.history.epoch == [2, 3]
    states = [checkpoints.latest(path) for path in (again.path, trained.path)]
    for group in ("trainable", "optimizer", "best"):
        one, other = ([np.asarray(array).tobytes() for array in state.tree[group]] for state in states)
        assert one == other


@pytest.mark.parametrize("number", SIGNALS)
def test_fit_with_a_run_directory_saves_the_last_finished_epoch_too(number, tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    press = At("on_epoch_begin", 3, _press(number))
    with pytest.raises(Interrupted, match="after epoch 3") as caught:
        kilter.fit(model, x, x[:, :1], epochs=9, run=tmp_path, callbacks=[press], verbose=0)
    assert caught.value.signal == number
    found = checkpoints.latest(caught.value.path)
    assert found is not None
    assert (found.finished, int(found.tree["optimizer"][0])) == (3, 6 + (found.step or 0))
    assert open_run(caught.value.path).status == "interrupted"


def test_a_second_signal_acts_at_once():
    with Termination() as termination, Interrupt() as interrupt:
        signal.raise_signal(signal.SIGTERM)
        assert interrupt.pending
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert termination.signal == signal.SIGTERM


def test_a_handler_of_the_callers_stays():
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with Termination():
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert seen == [signal.SIGTERM]


def test_outside_the_main_thread_no_handler_is_set():
    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(_handler_within).result() == before


def test_ctrl_c_does_not_wait_for_a_compilation():
    done = threading.Event()
    threading.Timer(0.2, _press(signal.SIGINT)).start()
    try:
        with Interrupt(), pytest.raises(KeyboardInterrupt):
            awaited(started(lambda: done.wait(60)))
        assert not done.is_set()
    finally:
        done.set()


@pytest.mark.parametrize("error", [ValueError, TimeoutError])
def test_interruptible_work_returns_what_it_made_or_raises_what_it_raised(error):
    assert awaited(started(lambda: 7)) == 7

    def fail():
        raise error("in the work")

    with pytest.raises(error, match="in the work"):
        awaited(started(fail))


def test_a_script_that_sigterm_stops_ends_with_its_code():
    stopped = Terminated(Path("run"), "Stopped after epoch 3.", signal.SIGTERM)
    assert isinstance(stopped, Interrupted)
    assert stopped.code == 143
    with pytest.raises(SystemExit) as ended:
        leave(signal.SIGHUP, None)
    assert ended.value.code == 129


def test_the_handler_of_the_command_line_gives_way_to_the_run():
    before = signal.signal(signal.SIGTERM, leave)
    try:
        with Termination(), Interrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
            assert interrupt.pending
        assert signal.getsignal(signal.SIGTERM) is leave
    finally:
        signal.signal(signal.SIGTERM, before)
