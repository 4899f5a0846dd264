"""Keras's own ``model.fit`` on the backend that KERAS_BACKEND names; the loop is kilter's peer too."""

from __future__ import annotations

import importlib.metadata
import itertools
import time
from collections.abc import Callable, Iterable
from typing import Any

import keras

from peers.conversation import Conversation, load, options
from peers.keras_model import compiled_model

BACKENDS = ("jax", "jaxlib", "tensorflow", "tensorflow-cpu", "torch")


class EpochClock(keras.callbacks.Callback):
    """Wall time from an epoch's beginning to its end, when its loss has been read from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = self.seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self.begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self.begin


def serve(fit: Callable[..., Any], *libraries: str) -> None:
    """Call ``fit`` for the next epoch of the same model whenever the driver asks.

    The epochs are numbered on, so that each has an order of its own where that follows from its number.

    ``fit`` is ``keras.Model.fit`` or takes the same arguments. The epoch is timed between its callbacks, as
    a long ``fit`` would spend it; the whole call, which also hands over the data, is reported beside it.
    """
    talk, chosen = Conversation(), options()
    x, y = load(chosen.workload, chosen.data, compact=chosen.compact)
    model = compiled_model(
        chosen.workload, steps_per_execution=chosen.steps_per_execution, compact=chosen.compact
    )
    talk.ready("keras", "numpy", *libraries)
    fixed = {"batch_size": chosen.workload.batch_size, "verbose": 0}
    for epoch in itertools.takewhile(lambda _: talk.epoch_wanted(), itertools.count()):
        clock = EpochClock()
        begin = time.perf_counter()
        history = fit(model, x, y, initial_epoch=epoch, epochs=epoch + 1, callbacks=[clock], **fixed)
        talk.report(
            seconds=clock.seconds,
            loss=float(history.history["loss"][-1]),
            call_seconds=time.perf_counter() - begin,
            compile_seconds=getattr(history, "compile_seconds", None),  # kilter's History only
        )


def installed(names: Iterable[str]) -> list[str]:
    """Those of the distributions that this environment holds."""
    present = {distribution.name.replace("_", "-") for distribution in importlib.metadata.distributions()}
    return [name for name in names if name in present]


if __name__ == "__main__":
    serve(keras.Model.fit, *installed(BACKENDS))
