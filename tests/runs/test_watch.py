"""The watch agrees with Keras's EarlyStopping wherever the values are finite, and NaN is never the best."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter.runs.best_epoch import Watch, direction_of

# Eighths are exact in binary: value, threshold and difference compare alike however they are written.
EIGHTHS = st.integers(-16, 16).map(lambda number: number / 8)


def _keras_stops_after(values, mode, patience, min_delta):
    """Keras's own callback, driven by hand: the epoch it stops in, None if it does not."""
    callback = keras.callbacks.EarlyStopping(
        monitor="measure", mode=mode, patience=patience, min_delta=min_delta
    )
    model = SimpleNamespace(stop_training=False)
    callback._model = model
    callback.on_train_begin()
    for epoch, value in enumerate(values):
        callback.on_epoch_end(epoch, {"measure": value})
        if model.stop_training:
            return epoch
    return None


@settings(deadline=None)  # the first call pays for imports
@given(
    values=st.lists(EIGHTHS, min_size=1, max_size=20),
    mode=st.sampled_from(["min", "max"]),
    patience=st.integers(0, 5),
    min_delta=st.sampled_from([0.0, 0.125, 1.0]),
)
def test_it_stops_when_keras_stops_and_the_best_is_the_first_best(values, mode, patience, min_delta):
    watch, stopped = Watch("measure", mode, patience, min_delta), None
    for epoch, value in enumerate(values):
        watch = watch.saw(epoch, {"measure": value})
        if watch.has_waited_enough:
            stopped = epoch
            break
    assert stopped == _keras_stops_after(values, mode, patience, min_delta)
    seen = values[: len(values) if stopped is None else stopped + 1]
    best = min(seen) if mode == "min" else max(seen)
    assert watch.best == best
    assert watch.best_epoch == seen.index(best)


def test_nan_and_infinity_are_never_the_best():
    watch = Watch("loss", "min", patience=2)
    for epoch, value in enumerate([math.nan, 3.0, math.inf]):
        watch = watch.saw(epoch, {"loss": value})
    assert (watch.best, watch.best_epoch, watch.waited) == (3.0, 1, 1)
    assert not watch.is_best
    watch = watch.saw(3, {"loss": -math.inf})
    assert watch.has_waited_enough
    assert watch.best == 3.0


def test_an_epoch_without_the_measure_changes_nothing_but_the_epoch():
    watch = Watch("val_loss", "min", patience=1).saw(0, {"val_loss": 1.0})
    later = watch.saw(1, {"loss": 5.0})
    assert (later.waited, later.best_epoch, later.last_epoch) == (0, 0, 1)
    assert math.isnan(later.score)


@pytest.mark.parametrize("metric", ["Accuracy", "AUC", "Precision", "Recall", "F1Score", "R2Score"])
def test_measures_of_which_more_is_better(metric):
    made = getattr(keras.metrics, metric)()
    assert direction_of(made.name) == direction_of(f"val_{made.name}") == "max"


@pytest.mark.parametrize("name", ["loss", "val_loss", "mae", "rmse", "mean_squared_error", "kl_divergence"])
def test_measures_of_which_less_is_better(name):
    assert direction_of(name) == "min"
