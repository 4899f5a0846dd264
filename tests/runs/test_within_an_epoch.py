"""A training stopped or killed within an epoch goes on at the very step, with the same bits."""

import os
import signal
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import kilter
from kilter._engine import loop
from kilter.errors import RunError, RunWarning
from kilter.runs import Interrupted, checkpoints, open_run, recorder, resume, train
from kilter.runs.recorder import Saver

X = np.random.default_rng(0).normal(size=(90, 3)).astype("float32")
Y = X[:, :1] * 2


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(loop, "_FIRST_CHUNK", 2)
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 1e-9)


class Press(keras.callbacks.Callback):
    """Presses Ctrl-C after so many batches in all."""

    def __init__(self, batches, number=signal.SIGINT, chunked=True):
        super().__init__()
        self.left, self.number, self.kilter_chunked = batches, number, chunked

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)


class Batches(keras.utils.PyDataset):
    """A stream that shuffles itself at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.generator = np.random.default_rng(3)
        self.rows = np.arange(90)

    def __len__(self):
        return 9

    def __getitem__(self, number):
        rows = self.rows[number * 10 : number * 10 + 10]
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.rows = self.generator.permutation(90)


def _endless():
    generator = np.random.default_rng(4)
    while True:
        rows = generator.integers(0, 90, 10)
        yield X[rows], Y[rows]


def _memmap(folder):
    file = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype="float32", shape=X.shape)
    file[:] = X
    return file


# The data, and further arguments.
SOURCES = {
    "arrays": lambda folder: ({"x": X, "y": Y, "batch_size": 10}),
    "a short last batch": lambda folder: ({"x": X[:87], "y": Y[:87], "batch_size": 10}),
    "a memmap": lambda folder: ({"x": _memmap(folder), "y": Y, "batch_size": 10}),
    "a PyDataset": lambda folder: {"x": Batches()},
    "a generator": lambda folder: {"x": _endless(), "steps_per_epoch": 9},
    "short epochs of one pass": lambda folder: {"x": X, "y": Y, "batch_size": 10, "steps_per_epoch": 4},
    "one cycle": lambda folder: {
        "x": X,
        "y": Y,
        "batch_size": 10,
        "schedule": kilter.schedules.one_cycle(0.1, length=3, steps_per_epoch=9),
    },
    "steps of their own": lambda folder: {
        "x": X,
        "y": Y,
        "batch_size": 10,
        "callbacks": [Press(99, chunked=False)],
    },
    "patience": lambda folder: {
        "x": X,
        "y": Y,
        "batch_size": 10,
        "callbacks": [keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=9.0)],
    },
}


def _model():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), keras.layers.Dropout(0.3)]
    model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1)], name="net")
    model.compile(keras.optimizers.Adam(0.01, use_ema=True), "mse", metrics=["mae"])
    return model


def _bits(run):
    found = checkpoints.latest(run)
    assert found is not None
    return {
        name: [np.asarray(one).tobytes() for one in group] for name, group in found.tree.items()
    }, found.scalars["history"]


def _logs(run):
    return [(line.epoch, line.logs) for line in open_run(run).history]


@pytest.mark.parametrize("case", SOURCES)
@pytest.mark.parametrize("moment", [2, 6])
def test_it_goes_on_at_the_very_step_with_the_same_bits(case, moment, tmp_path):
    shared = {"epochs": 3, "verbose": 0, "validation_data": (X, Y)}

    def run(name, press=(), **more):
        given = SOURCES[case](tmp_path)
        average = kilter.ExponentialMovingAverage()
        told = [average, *given.pop("callbacks", ()), *press]
        return kilter.fit(_model(), **given, **shared, callbacks=told, run=tmp_path / name, **more)

    whole = run("whole")
    chunked = case != "steps of their own"
    with pytest.raises(Interrupted, match="the same call with resume=True"):
        run("stopped", [Press(moment, chunked=chunked)])
    (stopped,) = (tmp_path / "stopped").iterdir()
    cut = checkpoints.latest(stopped)
    assert cut is not None
    assert cut.step
    again = run("stopped", resume=True)
    assert again.history == whole.history
    assert again.epoch == [0, 1, 2]
    (wanted,) = (tmp_path / "whole").iterdir()
    assert _bits(stopped)[0] == _bits(wanted)[0]
    assert _logs(stopped) == _logs(wanted)
    models = [keras.models.load_model(path / "model.keras") for path in (stopped, wanted)]
    for one, other in zip(*(model.weights + model.optimizer.variables for model in models), strict=True):
        assert np.asarray(one.value).tobytes() == np.asarray(other.value).tobytes()


def test_a_run_of_a_recipe_too(recipe, trained, tmp_path):
    with pytest.raises(Interrupted, match=r"after batch \d+ of the next epoch.*kilter resume"):
        train(recipe, parent=tmp_path, callbacks=[Press(4)], verbose=0)
    (path,) = tmp_path.iterdir()
    cut = checkpoints.latest(path)
    assert cut is not None
    assert cut.step
    resume(path, verbose=0)
    assert _bits(path)[0] == _bits(trained.path)[0]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, None), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_is_answered_within_five_seconds(number, code, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(Interrupted) as caught:
            kilter.fit(_model(), X, Y, epochs=10**6, run=tmp_path, callbacks=[Timed(number)], verbose=0)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert time.monotonic() - Timed.pressed < 5
    assert getattr(caught.value, "code", None) == code
    assert checkpoints.latest(caught.value.path) is not None


class Timed(Press):
    """Presses, and notes when."""

    pressed = 0.0

    def __init__(self, number):
        super().__init__(8, number)

    def on_train_batch_end(self, batch, logs=None):
        if self.left == 1:
            Timed.pressed = time.monotonic()
        super().on_train_batch_end(batch, logs)


def test_saves_happen_beside_training_when_they_are_due(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints.Throttle, "due", lambda self: True)
    saved, given = [], checkpoints.save

    def noted(*arguments, **how):
        saved.append(how["step"])
        return given(*arguments, **how)

    monkeypatch.setattr(recorder.checkpoints, "save", noted)
    kilter.fit(_model(), X, Y, batch_size=10, epochs=2, run=tmp_path, verbose=0)
    assert any(saved), "within an epoch"
    assert saved[-1] is None


def test_an_error_of_a_save_beside_training_stops_the_run(monkeypatch, tmp_path):
    def full(*arguments, **how):
        raise RunError(expected="room on the disk", received="a full disk", remedy="free some")

    monkeypatch.setattr(checkpoints.Throttle, "due", lambda self: True)
    monkeypatch.setattr(recorder.checkpoints, "save", full)
    with pytest.raises(RunError, match="full disk"):
        kilter.fit(_model(), X, Y, batch_size=10, epochs=9, run=tmp_path, verbose=0)
    (run,) = tmp_path.iterdir()
    assert len(open_run(run).history) < 9


def test_a_saver_raises_what_its_thread_raised():
    saver = Saver()
    saver.start(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        saver.wait()
    assert saver.is_free()


@pytest.mark.long
def test_a_finished_run_is_lengthened(recipe, trained, tmp_path):
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"epochs": 6})})
    wanted = train(longer, parent=tmp_path / "whole", verbose=0)
    run = train(recipe, parent=tmp_path / "short", verbose=0).path
    with pytest.raises(RunError, match="add --epochs 8"):
        resume(run, verbose=0)
    again = resume(run, epochs=6, verbose=0)
    assert again.history.epoch == [4, 5]
    assert _bits(run)[0] == _bits(wanted.path)[0]
    assert "epochs = 6" in (run / "recipe.toml").read_text()


def test_a_run_of_fit_is_lengthened_and_a_whole_one_is_only_read(tmp_path):
    def fit(name, **more):
        return kilter.fit(_model(), X, Y, batch_size=10, run=tmp_path / name, verbose=0, **more)

    wanted, _ = fit("whole", epochs=4), fit("short", epochs=2)
    assert fit("short", epochs=2, resume=True).epoch == [0, 1]
    assert fit("short", epochs=4, resume=True).history == wanted.history
    assert len(list((tmp_path / "short").iterdir())) == 1


CHANGED = {
    "y": {"y": Y + 1},
    "x": {"x": X * 2},
    "validation_data": {"validation_data": (X, Y + 1)},
    "batch_size": {"batch_size": 9},
    "shuffle": {"shuffle": False},
    "class_weight": {"class_weight": {0: 2.0}},
}


@pytest.mark.parametrize("case", CHANGED)
def test_other_data_or_options_are_refused(case, tmp_path):
    given = {"x": X, "y": Y, "batch_size": 10, "validation_data": (X, Y), "run": tmp_path, "verbose": 0}
    kilter.fit(_model(), **given)
    with pytest.raises(RunError, match=case):
        kilter.fit(_model(), **(given | CHANGED[case]), epochs=2, resume=True)


RECOMPILED = {"loss": {"loss": "mae"}, "optimizer": {"optimizer": "sgd"}, "dense": {"units": 3}}


@pytest.mark.parametrize("case", RECOMPILED)
def test_another_model_loss_or_optimizer_is_refused_and_named(case, tmp_path):
    kilter.fit(_compiled(), X, Y, run=tmp_path, verbose=0)
    with pytest.raises(RunError, match=case):
        kilter.fit(_compiled(**RECOMPILED[case]), X, Y, run=tmp_path, epochs=2, resume=True, verbose=0)


def test_another_learning_rate_is_said_but_not_one_that_a_callback_set(tmp_path):
    def fit(rate, epochs, **more):
        fitted = _compiled(optimizer=keras.optimizers.Adam(rate))
        kilter.fit(fitted, X, Y, run=tmp_path, epochs=epochs, resume=True, verbose=0, **more)
        return float(fitted.optimizer.learning_rate)

    halved = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    assert fit(0.25, 1, callbacks=[halved]) == 0.125
    assert fit(0.25, 2) == 0.125
    assert fit(0.125, 3) == 0.125
    with pytest.warns(RunWarning, match=r"0\.125.*0\.5"):
        assert fit(0.5, 4) == 0.125


def _compiled(units=2, optimizer="adam", loss="mse"):
    dense = keras.layers.Dense(units, name="dense")
    made = keras.Sequential([keras.Input(X.shape[1:]), dense, keras.layers.Dense(1)], name="net")
    made.compile(optimizer, loss)
    return made


def test_without_a_run_to_go_on_with_a_new_one_begins(tmp_path):
    history = kilter.fit(_model(), X, Y, epochs=2, run=tmp_path, resume=True, verbose=0)
    assert history.epoch == [0, 1]


def test_another_version_is_said_and_noted(tmp_path):
    kilter.fit(_model(), X, Y, run=tmp_path, verbose=0)
    (run,) = tmp_path.iterdir()
    file = run / "environment.json"
    file.write_text(file.read_text().replace('"jax": "', '"jax": "0.1 not '))
    with pytest.warns(RunWarning, match=r"jax .*, was 0\.1 not "):
        kilter.fit(_model(), X, Y, epochs=2, run=tmp_path, resume=True, verbose=0)
    assert any("was 0.1 not" in text for text in open_run(run).journal)


def test_temporary_files_of_a_killed_writer_are_removed(tmp_path):
    kilter.fit(_model(), X, Y, run=tmp_path, verbose=0)
    (run,) = tmp_path.iterdir()
    left = [run / f".model-{'0' * 32}.keras", run / "checkpoints" / ".unfinished" / "state"]
    left[0].touch()
    left[1].mkdir(parents=True)
    kilter.fit(_model(), X, Y, epochs=2, run=tmp_path, resume=True, verbose=0)
    assert not any(Path(one).exists() for one in left)


@pytest.mark.long
def test_a_checkpoint_of_another_run_is_not_used(tmp_path):
    for name in ("one", "other"):
        kilter.fit(_model(), X, Y, run=tmp_path / name, verbose=0)
    (one,), (other,) = ((tmp_path / name).iterdir() for name in ("one", "other"))
    target = one / "checkpoints" / "epoch-000000"
    target.rename(tmp_path / "away")
    (other / "checkpoints" / "epoch-000000").rename(target)
    (one / "history.jsonl").unlink()
    with pytest.raises(RunError, match="of another run"):
        kilter.fit(_model(), X, Y, epochs=2, run=tmp_path / "one", resume=True, verbose=0)
