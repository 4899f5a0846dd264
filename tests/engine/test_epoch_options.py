"""Options of an epoch mean what they mean in Keras: steps, executions, validation and Keras's limits."""

import contextlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.feed import Order
from kilter.errors import OptionError

from .cases import classifier, difference, rows


class Seen(keras.callbacks.Callback):
    def __init__(self) -> None:
        super().__init__()
        self.batches: list[tuple[str, int]] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.batches.append(("begin", batch))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append(("end", batch))


@pytest.mark.sampled(8)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 6, 7, 9, 12])
@pytest.mark.parametrize("hooked", [False, True])
def test_a_pass_over_arrays_goes_on_in_the_next_epoch(steps: int, every: int, hooked: bool):
    x, y = rows(6 * 8 + 3)  # seven batches
    ours, theirs = classifier("adam"), classifier("adam")
    how = {"batch_size": 8, "epochs": 5, "steps_per_epoch": steps, "shuffle": False, "verbose": 0}
    mine, other = Seen(), Seen()
    ours.steps_per_execution = theirs.steps_per_execution = every
    got = kilter.fit(ours, x, y, callbacks=[mine] if hooked else [], **how)
    expected = theirs.fit(x, y, callbacks=[other] if hooked else [], **how)
    assert mine.batches == other.batches
    assert got.params["steps"] == expected.params["steps"]
    assert int(ours.optimizer.iterations) == int(theirs.optimizer.iterations)
    np.testing.assert_allclose(got.history["loss"], expected.history["loss"], rtol=1e-4)
    assert difference(ours, theirs) < 1e-4


def test_a_shuffled_pass_takes_every_row_before_a_new_order():
    count, order = 51, Order(8, shuffle=True, seed=3, most=3, goes_on=True)
    passes = []
    for first in (0, 3):
        taken = [
            order.rows(count, epoch)[: order.whole(count, epoch) * 8].tolist()
            + (order.rows(count, epoch)[48:].tolist() if order.rest(count, epoch) else [])
            for epoch in range(first, first + 3)
        ]
        assert [len(part) for part in taken] == [24, 24, 3]
        passes.append(list(itertools.chain.from_iterable(taken)))
        assert sorted(passes[-1]) == list(range(count))
    assert passes[0] != passes[1]
    assert passes[0] == Order(8, shuffle=True, seed=3).rows(count, 0).tolist()


def test_streamed_rows_go_on_as_those_in_memory(tmp_path: Any):
    x, y = rows(51)
    np.save(tmp_path / "x.npy", x)
    stored = np.load(tmp_path / "x.npy", mmap_mode="r")
    how = {"batch_size": 8, "epochs": 4, "steps_per_epoch": 3, "verbose": 0}
    one, other = classifier("adam"), classifier("adam")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kilter.fit(one, x, y, **how)
        kilter.fit(other, stored, y, **how)
    assert difference(one, other) == 0.0


def test_an_epoch_cut_short_by_the_end_of_the_pass_is_said():
    x, y = rows(51)
    with pytest.warns(UserWarning, match="ended after 1 of 3 batches"):
        kilter.fit(classifier(), x, y, batch_size=8, epochs=3, steps_per_epoch=3, verbose=0)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("frequency", [[1, 4], 1, (2, 3), [3], 2])
def test_validation_frequency(frequency: Any):
    x, y = rows()
    how = {"epochs": 4, "validation_data": rows(23, seed=1), "verbose": 0, "shuffle": False}
    got = kilter.fit(classifier(), x, y, validation_freq=frequency, **how)
    keras_own = list(frequency) if isinstance(frequency, tuple) else frequency
    expected = classifier().fit(x, y, validation_freq=keras_own, **how)
    np.testing.assert_allclose(got.history["val_loss"], expected.history["val_loss"], rtol=1e-4)


@pytest.mark.parametrize("frequency", [0, [0], "1", 1.5, [1.5]])
def test_a_wrong_validation_frequency_is_refused(frequency: Any):
    with pytest.raises(OptionError, match="validation_freq"):
        kilter.fit(classifier(), *rows(), validation_freq=frequency)


@pytest.mark.parametrize(
    ("steps", "of_validation", "batch_size", "trained"),
    [(None, None, None, 2), (3, None, None, 3), (None, 2, None, 2), (2, 3, None, 2), (2, 2, 10, 2)],
)
def test_no_batch_size_is_keras_own(
    steps: int | None, of_validation: int | None, batch_size: int | None, trained: int
):
    x, y = rows(70)
    ours, theirs = classifier("adam"), classifier("adam")
    how = {"batch_size": batch_size, "shuffle": False, "verbose": 0, "validation_split": 0.5}
    how |= {"steps_per_epoch": steps, "validation_steps": of_validation}
    losses = kilter.fit(ours, x, y, **how).history["val_loss"]
    assert losses == pytest.approx(theirs.fit(x, y, **how).history["val_loss"], rel=1e-5)
    assert difference(ours, theirs) < 1e-4
    assert int(ours.optimizer.iterations) == trained
    how = {"batch_size": batch_size, "steps": steps, "verbose": 0}
    loss = theirs.evaluate(x, y, return_dict=True, **how)["loss"]
    assert kilter.evaluate(ours, x, y, **how)["loss"] == pytest.approx(loss, rel=1e-5)
    assert len(kilter.predict(ours, x, **how)) == len(theirs.predict(x, **how))


@contextlib.contextmanager
def limited(setter: Callable[[Any], None], value: int) -> Iterator[None]:
    setter(value)
    try:
        yield
    finally:
        setter(None)


def test_keras_limits_of_epochs_and_steps_are_honoured():
    x, y = rows(70)
    how = {"batch_size": 8, "epochs": 5, "validation_data": rows(40, seed=1), "shuffle": False, "verbose": 0}
    ours, theirs = classifier("adam"), classifier("adam")
    with limited(keras.config.set_max_epochs, 2), limited(keras.config.set_max_steps_per_epoch, 3):
        with pytest.warns(UserWarning, match="Limiting epochs to 2"):
            got = kilter.fit(ours, x, y, **how)
        expected = theirs.fit(x, y, **how)
        assert got.params == expected.params
        found = kilter.evaluate(ours, x, y, batch_size=8, verbose=0)
        other = theirs.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
        assert found == pytest.approx(other, rel=1e-3)
        assert len(kilter.predict(ours, x, batch_size=8, verbose=0)) == 24
    for name, values in expected.history.items():
        np.testing.assert_allclose(got.history[name], values, rtol=1e-4)
    assert difference(ours, theirs) < 1e-4
