"""Batches from every kind of source, as Keras takes them."""

import threading
import time
from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine import batch_feed
from kilter._engine.batch_feed import BatchFeed
from kilter._engine.fit import fit
from kilter._engine.inference import evaluate, predict
from kilter.errors import DataError, OptionError

from .cases import BATCH, agree, classifier, difference
from .sources import AS_THEY_STAND, BATCHES, ONCE, SOURCES, Endless, Loader, Numbered, X, Y


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_gives_what_keras_makes_of_its_batches(name: str):
    ours, theirs = classifier("adam"), classifier("adam")
    got = fit(ours, SOURCES[name](), epochs=2, shuffle=False, verbose=0).history
    expected = theirs.fit(Numbered(), epochs=2, shuffle=False, verbose=0).history
    agree(got, expected)
    assert difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_can_be_the_validation(name: str):
    ours, theirs = classifier(), classifier()
    got = fit(ours, X, Y, validation_data=SOURCES[name](), shuffle=False, verbose=0).history
    expected = theirs.fit(X, Y, validation_data=Numbered(), shuffle=False, verbose=0).history
    agree(got, expected)


@pytest.mark.parametrize("name", [*SOURCES, *ONCE])
def test_every_source_can_be_evaluated_and_predicted(name: str):
    make = (SOURCES | ONCE)[name]
    model = classifier(output="softmax")
    expected = model.evaluate(Numbered(), verbose=0, return_dict=True)
    assert evaluate(model, make()) == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(predict(model, make()), model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)


def test_predictions_of_batches_read_no_targets():
    model = classifier()
    batches = [(x, np.full(len(x), "unknown"), np.full(len(x), np.nan)) for x, _ in BATCHES]
    ragged = [*batches, (X[:5], None), X[:3]]
    got = predict(model, ragged[:-1])
    np.testing.assert_allclose(got[:64], model.predict(X, verbose=0), rtol=1e-5, atol=1e-6)
    assert len(predict(model, Loader(ragged))) == 64 + 5 + 3
    many = [BATCHES[0]] * 70  # two full blocks and six batches
    np.testing.assert_allclose(predict(model, many), np.tile(predict(model, X[:BATCH]), (70, 1)), rtol=1e-6)


def test_what_cannot_be_evaluated_or_predicted_is_refused():
    with pytest.raises(DataError, match="labels 0 to 2"):
        evaluate(classifier(), [(X, Y + 7)])
    with pytest.warns(UserWarning, match="x has 1 NaN"):
        predict(classifier(), [(np.where(np.arange(64 * 12).reshape(64, 12) == 3, np.nan, X),)])
    with pytest.raises(DataError, match="shape"):
        predict(classifier(), [(X[:, :5], Y)])
    with pytest.raises(OptionError, match="together with y"):
        evaluate(classifier(), BATCHES, Y)


def test_a_validation_in_a_list_is_x_and_y_as_in_keras():
    got = fit(classifier(), X, Y, validation_data=[X, Y], verbose=0).history
    assert got == fit(classifier(), X, Y, validation_data=(X, Y), verbose=0).history


def test_batches_of_more_parts_are_refused():
    with pytest.raises(DataError, match="4 parts"):
        fit(classifier(), Loader([(X, Y, Y, Y)]), verbose=0)


@pytest.mark.parametrize(
    "batch", [(3.0, Y), (X, Y[:3]), (X[:0], Y[:0])], ids=["number", "lengths", "no rows"]
)
def test_batches_that_are_none_are_refused(batch: Any):
    with pytest.raises(DataError):
        fit(classifier(), [BATCHES[0], batch], verbose=0)


def test_a_source_is_told_of_epochs_and_asked_for_batches_as_keras_does():
    ours, theirs = Numbered(), Numbered()
    fit(classifier(), ours, epochs=2, shuffle=False, verbose=0)
    classifier().fit(theirs, epochs=2, shuffle=False, verbose=0)
    assert ours.log == theirs.log


def test_the_batches_of_a_dataset_are_shuffled_by_seed_and_epoch():
    def epochs(**how: Any) -> list[list[int]]:
        source = Numbered([BATCHES[0]] * 8)
        fit(classifier(), source, verbose=0, **how)
        return source.epochs()[1:]

    first, second = epochs(epochs=2, seed=5)
    assert sorted(first) == sorted(second) == list(range(8))
    assert first != second
    assert first != sorted(first)
    assert epochs(epochs=2, seed=5) == [first, second]
    assert epochs(epochs=2, initial_epoch=1, seed=5) == [second]
    assert epochs(seed=6) != [first]
    validation = Numbered([BATCHES[0]] * 8)
    fit(classifier(), BATCHES, validation_data=validation, verbose=0)
    assert validation.epochs() == [list(range(8))]


@pytest.mark.parametrize("make", [Numbered, Loader])
def test_the_example_reads_one_batch(make: Any):
    source = make(BATCHES)
    BatchFeed(source).example()
    time.sleep(0.05)
    assert (source.epochs() == [[0]]) if isinstance(source, Numbered) else (source.read == 1)


def test_batches_are_read_by_as_many_threads_as_a_dataset_has_workers():
    both = threading.Barrier(2, timeout=20)

    class Together(Numbered):
        def __getitem__(self, index: int) -> Any:
            if index > 0:  # the first is read alone
                both.wait()
            return BATCHES[index % len(BATCHES)]

    feed = BatchFeed(Together([None] * 9, workers=2), AS_THEY_STAND)
    assert sum(block.steps for block in feed.blocks(0)) == 9


def blocks(feed: BatchFeed) -> list[tuple[int, int]]:
    """Rows and used batches of each block."""
    return [(len(block.data[0]), block.steps) for block in feed.blocks(0)]


def test_a_block_holds_so_many_bytes_and_no_more_is_read_ahead(monkeypatch: pytest.MonkeyPatch):
    size = sum(part.nbytes for part in BATCHES[0])
    many, huge = [BATCHES[0]] * 10, (np.tile(X, (4, 1)), np.tile(Y, 4))
    assert blocks(BatchFeed(many)) == [(32 * BATCH, 10)]
    monkeypatch.setattr(batch_feed, "BLOCK_BYTES", 4 * size)
    assert blocks(BatchFeed([*many, huge, BATCHES[0]])) == [
        (4 * BATCH, 4),
        (4 * BATCH, 4),
        (4 * BATCH, 2),
        (256, 1),
        (BATCH, 1),
    ]
    source = Numbered([BATCHES[0]] * 40)
    running = BatchFeed(source, AS_THEY_STAND).blocks(0)
    next(running)
    time.sleep(0.1)
    assert 4 <= len(source.epochs()[0]) <= 4 + 4 + 1
    few = Numbered([BATCHES[0]] * 40, max_queue_size=1)
    running = BatchFeed(few, AS_THEY_STAND).blocks(0)
    next(running)
    time.sleep(0.1)
    assert 4 <= len(few.epochs()[0]) <= 4 + 1 + 1


def test_rows_that_are_not_finite_are_counted_once_and_numbered_from_the_epochs_start():
    batches = [(X[:4].copy(), Y[:4]) for _ in range(40)]
    batches[2][0][1, 0] = np.nan
    with pytest.raises(DataError, match=r"1 NaN .* in 1 row; first rows \[9\]"):
        fit(classifier(), batches[:3], check="strict", verbose=0)
    later = [*batches[3:], batches[2]]
    with pytest.raises(DataError, match=r"1 NaN .* in 1 row; first rows \[149\]"):
        fit(classifier(), later, check="strict", verbose=0)


def test_labels_outside_the_classes_are_refused_where_they_come():
    bad = [*BATCHES[:3], (X[:BATCH], np.where(np.arange(BATCH) == 2, 7, Y[:BATCH]))]
    words = r"labels 0 to 2.*1 row outside; first rows \[50\] with labels \[7\]"
    model = classifier()
    before = model.get_weights()
    with pytest.raises(DataError, match=words):
        fit(model, bad, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    with pytest.raises(DataError, match=words):
        fit(classifier(), X, Y, validation_data=bad, verbose=0)
    with pytest.raises(DataError, match="numbers"):
        fit(classifier(), [*BATCHES, (X[:2], np.array(["a", "b"]))], verbose=0)


@pytest.mark.parametrize("as_batches", [True, False])
def test_a_validation_that_a_model_without_declared_inputs_cannot_take_is_refused(as_batches: bool):
    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.out = keras.layers.Dense(3, activation="softmax")

        def call(self, x: Any) -> Any:
            return self.out(x)

    model = Own()
    model.compile("sgd", "sparse_categorical_crossentropy")
    held = [(X[:, :5], Y)] if as_batches else (X[:, :5], Y)
    with pytest.raises(DataError, match="pass rows with 12 features"):
        fit(model, X, Y, validation_data=held, verbose=0)


def test_a_source_that_comes_to_its_end_is_told_of():
    class Once(Loader):
        def __iter__(self) -> Any:
            batches, self.batches = self.batches, []
            return iter(batches)

    source = Once(BATCHES)
    with pytest.raises(DataError, match="exhausted iterable"):
        fit(classifier(), source, epochs=2, verbose=0)
    with pytest.raises(DataError, match="empty"):
        fit(classifier(), [], verbose=0)


def test_a_dataset_without_end_is_refused():
    with pytest.raises(DataError, match="endless"):
        fit(classifier(), Endless(), verbose=0)
