"""Keras's callbacks mean what they mean in ``model.fit``; with ``chunk="fast"``, by batch at chunk ends."""

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine import loop
from kilter._engine.fit import fit

from .cases import BATCH, agree, assert_parity, classifier, difference, rows

callbacks = keras.callbacks
QUIET = {"batch_size": BATCH, "shuffle": False, "verbose": 0}


def overfitting() -> keras.Model:
    return classifier(keras.optimizers.Adam(0.1))


def both(make_callback: Any, epochs: int = 12) -> tuple[Any, Any, Any, Any]:
    """Two fits of one model with a callback each: (our model, our callback, Keras's model, its callback)."""
    x, y = rows()
    validation = rows(23, seed=1)  # of other labels: its loss soon rises
    ours, theirs, mine, other = overfitting(), overfitting(), make_callback(), make_callback()
    how = {"epochs": epochs, "validation_data": validation, **QUIET}
    got = fit(ours, x, y, callbacks=[mine], **how)
    expected = theirs.fit(x, y, callbacks=[other], **how)
    agree(got.history, expected.history, 1e-3)
    assert difference(ours, theirs) < 1e-3
    return ours, mine, theirs, other


def test_early_stopping_gives_the_best_weights_back():
    ours, mine, _, other = both(lambda: callbacks.EarlyStopping(patience=2, restore_best_weights=True))
    assert 0 < mine.stopped_epoch == other.stopped_epoch < 11
    assert mine.best_epoch == other.best_epoch
    x, y = rows(23, seed=1)
    assert ours.evaluate(x, y, verbose=0, return_dict=True)["loss"] == pytest.approx(mine.best, rel=1e-5)


def test_the_rate_is_reduced_on_a_plateau():
    ours, _, theirs, _ = both(lambda: callbacks.ReduceLROnPlateau(factor=0.3, patience=1, min_lr=1e-4))
    assert float(ours.optimizer.learning_rate) == pytest.approx(float(theirs.optimizer.learning_rate))
    assert float(ours.optimizer.learning_rate) < 0.1


def test_the_learning_rate_scheduler_sets_the_rate_by_epoch():
    _, mine, _, _ = both(lambda: callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5), epochs=4)
    assert float(mine.model.optimizer.learning_rate) == pytest.approx(0.1 / 16)


def test_a_checkpoint_a_epoch_holds_the_weights_of_its_epoch(tmp_path: Path):
    x, y = rows()
    model, seen = overfitting(), []
    remember = callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(model.get_weights()))
    saving = callbacks.ModelCheckpoint(str(tmp_path / "{epoch:02d}.weights.h5"), save_weights_only=True)
    fit(model, x, y, epochs=3, callbacks=[saving, remember], **QUIET)
    for epoch, weights in enumerate(seen, start=1):
        model.load_weights(str(tmp_path / f"{epoch:02d}.weights.h5"))
        for kept, expected in zip(model.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(kept, expected)


@pytest.mark.long
def test_only_the_best_checkpoint_is_kept(tmp_path: Path):
    def make() -> keras.callbacks.Callback:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.keras"
        path.touch()
        return callbacks.ModelCheckpoint(str(path), save_best_only=True, monitor="val_loss")

    _, mine, _, other = both(make, epochs=5)
    assert mine.best == pytest.approx(other.best, rel=1e-3)
    saved, reference = (keras.models.load_model(callback.filepath) for callback in (mine, other))
    assert difference(saved, reference) < 1e-3


def test_the_csv_log_is_keras_own(tmp_path: Path):
    names = iter(("ours", "theirs"))
    both(lambda: callbacks.CSVLogger(str(tmp_path / next(names))), epochs=3)
    ours, theirs = (list(csv.reader((tmp_path / name).open())) for name in ("ours", "theirs"))
    assert ours[0] == theirs[0]
    np.testing.assert_allclose(np.array(ours[1:], float), np.array(theirs[1:], float), rtol=1e-3, atol=1e-6)


def test_training_ends_on_a_loss_that_is_not_a_number():
    x, y = rows()
    model = classifier(keras.optimizers.SGD(1e30), loss="mse")
    history = fit(model, x * 1e30, np.eye(3)[y], epochs=5, callbacks=[callbacks.TerminateOnNaN()], **QUIET)
    assert len(history.epoch) == 1
    assert not np.isfinite(history.history["loss"][-1])


def test_a_callback_can_stop_the_training_after_an_epoch():
    x, y = rows()
    model = overfitting()

    def stop(epoch: int, logs: Any) -> None:
        model.stop_training = epoch == 1

    history = fit(model, x, y, epochs=9, callbacks=callbacks.LambdaCallback(on_epoch_end=stop), **QUIET)
    assert history.epoch == [0, 1]


class Batches(keras.callbacks.Callback):
    """Keeps what it is told about batches and the weights it sees then."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.logs: list[dict[str, float]] = []
        self.kernels: list[np.ndarray] = []
        self.stop_at = stop_at

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.begun.append(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.ended.append(batch)
        self.logs.append(dict(logs))
        self.kernels.append(self.model.get_weights()[0])
        if batch == self.stop_at:
            self.model.stop_training = True


@pytest.fixture
def two_steps_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)  # one step a chunk after the first
    monkeypatch.setattr(loop.Runner, "__init__", _of_steps(2))


_as_ever = loop.Runner.__init__


def _of_steps(count: int) -> Any:
    def made(self: Any, *arguments: Any, **options: Any) -> None:
        _as_ever(self, *arguments, **{**options, "steps_a_chunk": count})

    return made


@pytest.mark.usefixtures("two_steps_a_chunk")
def test_batch_hooks_are_called_at_the_end_of_each_chunk_with_the_model_as_it_is_then():
    x, y = rows(50)
    ours, theirs, mine, other = overfitting(), overfitting(), Batches(), Batches()
    fit(ours, x, y, callbacks=[mine], chunk="fast", **QUIET)
    theirs.fit(x, y, callbacks=[other], **QUIET)
    assert mine.ended == [1, 2, 3]
    assert mine.begun == [0, 2, 3]
    for place, batch in enumerate(mine.ended):
        np.testing.assert_allclose(mine.kernels[place], other.kernels[batch], rtol=1e-4, atol=1e-6)
        for name, value in mine.logs[place].items():
            assert value == pytest.approx(other.logs[batch][name], rel=1e-4), name


@pytest.mark.usefixtures("two_steps_a_chunk")
def test_what_a_callback_does_to_the_weights_between_chunks_stays():
    x, y = rows(48)
    model = overfitting()

    class Reset(keras.callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.model.optimizer.learning_rate = 0.0
            self.model.layers[0].kernel.assign(np.full((12, 8), 0.25))

    fit(model, x, y, callbacks=[Reset()], chunk="fast", **QUIET)
    np.testing.assert_array_equal(model.get_weights()[0], np.full((12, 8), 0.25, "float32"))


@pytest.mark.usefixtures("two_steps_a_chunk")
def test_a_callback_can_stop_the_training_within_an_epoch():
    x, y = rows(50)
    seen = Batches(stop_at=1)
    history = fit(overfitting(), x, y, epochs=4, callbacks=[seen], chunk="fast", **QUIET)
    assert seen.ended == [1]
    assert history.epoch == [0]


@pytest.mark.usefixtures("two_steps_a_chunk")
def test_batch_hooks_given_as_functions_are_called():
    x, y = rows(48)
    ended: list[int] = []
    hook = callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: ended.append(batch))
    fit(overfitting(), x, y, callbacks=[hook], chunk="fast", **QUIET)
    assert ended == [1, 2]


@pytest.mark.usefixtures("two_steps_a_chunk")
def test_where_the_chunks_are_cut_changes_no_bit():
    x, y = rows()
    cut, whole = overfitting(), overfitting()
    fit(cut, x, y, epochs=2, callbacks=[Batches()], chunk="fast", **QUIET)
    loop.Runner.__init__ = _of_steps(1000)  # undone by the fixture
    fit(whole, x, y, epochs=2, **QUIET)
    for one, other in zip(cut.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(one.value), np.asarray(other.value))


class Order(keras.callbacks.Callback):
    """Keeps the order in which the epoch's hooks are called, and the names in the logs."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []


def _hook(name: str) -> Any:
    def told(self: Order, *arguments: Any, **options: Any) -> None:
        *place, logs = (*arguments, *options.values()) or (None,)
        self.calls.append((name, *place, sorted(logs or {})))

    return told


for _name in ("train_begin", "train_end", "epoch_begin", "epoch_end", "test_begin", "test_end"):
    setattr(Order, f"on_{_name}", _hook(_name))


def test_the_hooks_are_called_in_keras_order_with_keras_logs():
    _, mine, _, other = both(Order, epochs=2)
    assert mine.calls == other.calls


def test_the_callbacks_know_model_and_parameters():
    _, mine, _, other = both(callbacks.Callback, epochs=1)
    assert mine.params["epochs"] == other.params["epochs"] == 1
    assert mine.params["steps"] == other.params["steps"] == 4


@pytest.mark.long
def test_a_swap_of_averaged_weights_for_the_validation():
    x, y = rows()
    validation = rows(23, seed=1)

    def make() -> keras.Model:
        return classifier(keras.optimizers.Adam(0.05, use_ema=True, ema_momentum=0.9))

    ours, theirs = make(), make()
    how = {"epochs": 3, "validation_data": validation, **QUIET}
    got = fit(ours, x, y, callbacks=[callbacks.SwapEMAWeights()], **how)
    agree(got.history, theirs.fit(x, y, callbacks=[callbacks.SwapEMAWeights()], **how).history, 1e-3)


def test_the_history_has_the_seconds_of_every_epoch():
    x, y = rows()
    model = overfitting()
    history = fit(model, x, y, epochs=3, **QUIET)
    assert len(history.seconds) == 3
    assert all(seconds > 0 for seconds in history.seconds)
    assert history.compile_seconds > 0
    assert fit(model, x, y, epochs=1, **QUIET).compile_seconds == 0.0
    assert [line.name for line in history.plot().data] == ["accuracy", "loss"]
    assert_parity(overfitting, x, y, epochs=1)


def test_a_backup_goes_on_at_the_epoch_where_it_was(tmp_path: Path):
    x, y = rows()

    def backup() -> keras.callbacks.Callback:
        return callbacks.BackupAndRestore(str(tmp_path), delete_checkpoint=False)

    fit(classifier(), x, y, epochs=2, callbacks=[backup()], **QUIET)
    assert fit(classifier(), x, y, epochs=3, callbacks=[backup()], **QUIET).epoch == [2]
