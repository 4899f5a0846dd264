"""What a training says of itself afterwards: History.findings."""

from __future__ import annotations

import keras
import numpy as np
from tests.diagnosis.programs import blobs, dense, program

import kilter
from kilter._engine.history import History


def codes(history: History) -> list[str]:
    return [one.code for one in history.findings if one.severity == "severe"]


def test_a_sound_training_has_nothing_severe_and_one_that_stays_has():
    sound = program()
    history = kilter.fit(sound.model, sound.x, sound.y, epochs=6, verbose=0)
    assert codes(history) == []
    stuck = program(dense(12, "sigmoid", "glorot_uniform"), optimizer=keras.optimizers.SGD(0.01))
    history = kilter.fit(stuck.model, stuck.x, stuck.y, epochs=6, measure=1, verbose=0)
    assert history.findings is history.findings  # asked once
    assert "vanishing-gradients" in codes(history)


def test_without_arrays_the_curves_are_judged():
    x, y = blobs()
    batches = [(x[:64], y[:64]), (x[64:128], y[64:128])]
    case = program(optimizer=keras.optimizers.SGD(1e9))
    history = kilter.fit(case.model, batches, epochs=6, verbose=0)
    assert codes(history)
    assert not np.isfinite(history.history["loss"][-1]) or history.history["loss"][-1] > 2


def test_a_history_that_nobody_filled_has_no_findings():
    assert History().findings == ()
