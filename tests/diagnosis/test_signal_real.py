"""The signal's checks on networks that are read and trained: sound ones pass, each fault has its name."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from kilter._diagnosis.checks import probe as probe_checks
from kilter._diagnosis.checks import training
from kilter._diagnosis.context import checks_in
from kilter._diagnosis.diagnose import read_context
from kilter._engine.measuring import measured_steps, probe
from kilter._engine.training_spec import TrainingSpec

from .programs import blobs, dense

SGD, ADAM = keras.optimizers.SGD, keras.optimizers.Adam


def drawn(deviation):
    return keras.initializers.RandomNormal(0.0, deviation)


SOUND = {
    "relu": ({}, lambda: ADAM(1e-3)),
    "tanh and sgd": ({"activation": "tanh", "init": "glorot_uniform"}, lambda: SGD(0.01)),
    "selu, 12 layers": ({"activation": "selu", "init": "lecun_normal", "depth": 12}, lambda: ADAM(1e-3)),
    "momentum": ({"depth": 3}, lambda: SGD(0.01, momentum=0.9)),
}
FAULTY = {
    "shrinks": ({"activation": "tanh", "init": drawn(0.01), "depth": 8}, lambda: ADAM(), "variance-forward"),
    "sigmoids": (
        {"activation": "sigmoid", "init": "glorot_uniform", "depth": 10},
        lambda: SGD(0.01),
        "variance-backward",
    ),
    "saturates": (
        {"activation": "tanh", "init": drawn(50.0), "depth": 3},
        lambda: SGD(0.01),
        "saturated-units",
    ),
    "leaps": ({}, lambda: SGD(100.0), "rate-too-high"),
    "creeps": ({}, lambda: ADAM(1e-8), "rate-too-low"),
}


def findings(options, optimizer):
    keras.utils.set_random_seed(1)
    model, (x, y) = dense(**options), blobs()
    model.compile(optimizer, "sparse_categorical_crossentropy")
    read = {"probe": probe(model, x, y), "training": measured_steps(model, x, y, steps=48)}
    context = replace(read_context(model, x, y, TrainingSpec()), **read)
    checks = checks_in(probe_checks, training)
    with np.errstate(all="ignore"):
        return [one for check in checks for one in check(context)]


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("options", "optimizer"), SOUND.values(), ids=SOUND)
def test_nothing_severe_is_said_of_a_sound_network(options, optimizer):
    assert [one.code for one in findings(options, optimizer()) if one.severity == "severe"] == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("options", "optimizer", "code"), FAULTY.values(), ids=FAULTY)
def test_the_first_severe_finding_names_the_fault(options, optimizer, code):
    severe = [one.code for one in findings(options, optimizer()) if one.severity == "severe"]
    assert severe[:1] == [code]
