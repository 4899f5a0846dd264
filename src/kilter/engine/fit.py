"""``fit``: what ``model.fit`` gives, in one compiled call an epoch."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kilter import backend  # noqa: F401

# isort: split
import keras
from keras.src.utils.python_utils import is_default

from kilter.engine.batches import check_batch_size, collect, is_array, split
from kilter.engine.bridge import build
from kilter.engine.checks import check_inputs, check_targets
from kilter.engine.feed import Feed, Order, ResidentFeed
from kilter.engine.history import History
from kilter.engine.loop import Session
from kilter.engine.step import Schedule
from kilter.engine.stream import BatchFeed, StreamFeed, must_stream
from kilter.errors import OptionError


def fit(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    validation_data: Any = None,
    validation_split: float = 0.0,
    batch_size: int = 32,
    epochs: int = 1,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] | keras.callbacks.Callback = (),
    schedule: Schedule | None = None,
    initial_epoch: int = 0,
    validation_batch_size: int | None = None,
    validation_freq: int = 1,
    seed: int = 0,
    verbose: str | int = "auto",
) -> History:
    """Train a compiled Keras model; see :func:`kilter.fit` for the parameters."""
    _check_options(batch_size, epochs, initial_epoch, validation_freq)
    if validation_split and validation_data is None:
        (x, y, sample_weight), validation_data = split(x, y, sample_weight, validation_split)
    feed = training_feed(x, y, sample_weight, class_weight, Order(batch_size, shuffle, seed))
    _prepare(model, feed)
    validation = None
    if validation_data is not None:
        validation = validation_feed(validation_data, validation_batch_size or batch_size)
        _check(model, validation)
    history = History()
    told = _callback_list(model, history, callbacks, verbose, epochs, feed.steps)
    Session(
        model=model,
        feed=feed,
        callbacks=told,
        history=history,
        epochs=epochs,
        initial_epoch=initial_epoch,
        validation=validation,
        validation_every=validation_freq,
        schedule=schedule,
        tell_batches=_wants_batches(told),
    ).run()
    return history


def training_feed(
    x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None, order: Order
) -> Feed:
    """The feed that fits the kind of data: resident arrays, arrays too large for the device, or batches."""
    if not is_array(x):
        return BatchFeed(x)
    if must_stream(x):
        return StreamFeed.of(x, y, sample_weight, class_weight, order)
    return ResidentFeed(collect(x, y, sample_weight, class_weight), order)


def validation_feed(data: Any, batch_size: int) -> Feed:
    """The feed of ``validation_data``: ``(x, y)``, ``(x, y, sample_weight)`` or an iterable of batches."""
    order = Order(batch_size, shuffle=False, seed=0)
    if isinstance(data, tuple) and len(data) in (2, 3):
        return training_feed(data[0], data[1], data[2] if len(data) == 3 else None, None, order)
    if is_array(data):
        return training_feed(data, None, None, None, order)
    return BatchFeed(data)


def _prepare(model: keras.Model, feed: Feed) -> None:
    if isinstance(feed, ResidentFeed):
        check_inputs(model, feed.rows)
    build(model, feed.example())
    _check(model, feed)


def _check(model: keras.Model, feed: Feed) -> None:
    if isinstance(feed, ResidentFeed):
        check_inputs(model, feed.rows)
        check_targets(model, feed.rows)


def _check_options(batch_size: int, epochs: int, initial_epoch: int, validation_freq: int) -> None:
    check_batch_size(batch_size)
    for name, value, least in (
        ("epochs", epochs, 0),
        ("initial_epoch", initial_epoch, 0),
        ("validation_freq", validation_freq, 1),
    ):
        if not isinstance(value, int) or value < least:
            raise OptionError(
                expected=f"{name} as a whole number, at least {least}",
                received=f"{name}={value!r}",
                remedy=f"pass {name} as an int",
            )


def _callback_list(
    model: keras.Model, history: History, callbacks: Any, verbose: str | int, epochs: int, steps: int | None
) -> keras.callbacks.CallbackList:
    given = list(callbacks) if isinstance(callbacks, Sequence) else [callbacks]
    shown = _verbosity(verbose)
    return keras.callbacks.CallbackList(
        [*given, history], add_progbar=shown != 0, verbose=shown, model=model, epochs=epochs, steps=steps
    )


def _verbosity(verbose: str | int) -> int:
    """0 silent, 1 a bar, 2 a line an epoch; "auto" is a bar on a terminal and lines elsewhere."""
    if verbose == "auto":
        return 1 if sys.stdout.isatty() else 2
    return int(verbose)


def _wants_batches(callbacks: keras.callbacks.CallbackList) -> bool:
    moments = ("begin", "end")
    hooks = [f"on_{mode}batch_{moment}" for mode in ("", "train_", "test_") for moment in moments]
    # Asked of the instance: a LambdaCallback carries its hooks as attributes.
    return any(not is_default(getattr(callback, hook)) for callback in callbacks.callbacks for hook in hooks)
