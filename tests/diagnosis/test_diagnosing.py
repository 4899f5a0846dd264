"""diagnose() from end to end, and the checks before training on plain stacks of 2 to 40 layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tests.diagnosis.programs import blobs, dense, images, one_hot, program
from tests.diagnosis.test_before_training import findings

import kilter
from kilter._records import SEVERITIES, Diagnosis, Finding
from kilter.data.augmentation import Mixup, Shift
from kilter.errors import DataError, KilterError, ModelError, OptionError

DEPTHS = (2, 5, 10, 20, 40)
WIDTHS = (8, 24)
SOUND = (
    ("relu", "he_normal"),
    ("relu", "he_uniform"),
    ("elu", "he_normal"),
    ("selu", "lecun_normal"),
    ("swish", "he_normal"),
)
# Activation, initialiser, what is found from which depth on, and from which depth on that is severe.
FAULTS = (
    ("relu", "glorot_uniform", "unpaired-initializer", 5, 20),
    ("relu", keras.initializers.RandomNormal(0, 0.01), "unpaired-initializer", 5, 5),
    ("relu", keras.initializers.RandomNormal(0, 5.0), "unpaired-initializer", 2, 5),
    ("sigmoid", "glorot_normal", "saturating-deep", 5, 10),
    ("tanh", "ones", "constant-initializer", 2, 2),
    ("exponential", "glorot_uniform", "exponential-hidden", 2, 2),
)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("activation", "init"), SOUND)
def test_sound_stacks_of_any_depth_are_let_pass(activation: str, init: str, depth: int):
    for units in WIDTHS:
        found = findings(program(dense(depth, activation, init, units), optimizer="nadam"))
        assert [one.code for one in found if one.severity != "note"] == []


@pytest.mark.sampled(2)
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize(("activation", "init", "code", "least", "severe"), FAULTS)
def test_faulty_stacks_of_any_depth_are_named(
    activation: str, init: object, code: str, least: int, severe: int, depth: int
):
    for units in WIDTHS:
        found = {one.code: one for one in findings(program(dense(depth, activation, init, units)))}
        if depth >= least:
            assert code in found, sorted(found)
        if depth >= severe:
            assert found[code].severity == "severe"


def test_a_sound_model_is_read_and_trained_and_stays_as_it_is():
    case = program()
    before = [variable.numpy() for variable in case.model.variables]
    found = kilter.diagnose(case.model, case.x, case.y, steps=16)
    assert found.ok, found.codes()
    after = [variable.numpy() for variable in case.model.variables]
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def test_a_deep_sigmoid_stack_is_severe_before_and_in_the_probe():
    case = program(dense(10, "sigmoid", "glorot_uniform"))
    found = kilter.diagnose(case.model, case.x, case.y, steps=0)
    assert {"saturating-deep", "variance-backward"} <= set(found.codes("severe"))


def test_where_a_finding_says_why_there_can_be_no_probe_nothing_is_raised():
    x, y = blobs()
    case = program(data=(x, one_hot(y)))
    assert kilter.diagnose(case.model, case.x, case.y).codes() == ("targets-loss",)


def test_what_cannot_be_diagnosed_is_refused():
    case = program()
    with pytest.raises(ModelError, match=r"compile\(\)"):
        kilter.diagnose(dense(), case.x, case.y)
    with pytest.raises(DataError):
        kilter.diagnose(case.model, case.x[:, :3], case.y)
    with pytest.raises(DataError):
        kilter.diagnose(case.model, case.x, case.y[:-1])
    with pytest.raises(OptionError, match="steps"):
        kilter.diagnose(case.model, case.x, case.y, steps=-1)


@pytest.mark.parametrize(("inputs", "targets"), [(0, 0), (5, 4)])
def test_validation_rows_that_cannot_be_scored_are_refused(inputs, targets):
    case = program()
    held = case.x[:inputs], case.y[:targets]
    with pytest.raises(DataError, match=r"0 rows|validation_data"):
        kilter.diagnose(case.model, case.x, case.y, validation_data=held, epochs=1, verbose=0)


def test_the_steps_are_those_of_the_training_that_is_asked_for():
    case, ones = program(), {0: 1.0, 1: 1.0, 2: 1.0}
    plain = kilter.diagnose(case.model, case.x, case.y, steps=32)
    assert plain.ok
    same = {"class_weight": ones}, {"sample_weight": np.ones(len(case.y))}, {"schedule": lambda step: 1e-3}
    for options in same:
        assert kilter.diagnose(case.model, case.x, case.y, steps=32, **options) == plain, options
    slow = kilter.diagnose(case.model, case.x, case.y, steps=32, schedule=lambda step: 1e-9)
    assert {"learning-rate-range", "rate-too-low"} <= set(slow.codes("severe"))
    still = kilter.diagnose(case.model, case.x, case.y, steps=32, sample_weight=np.zeros(len(case.y)))
    assert "loss-not-moving" in still.codes()


def test_the_steps_see_augmented_rows():
    x, y = images()
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4, "softmax")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    losses = {
        name: kilter.measured_steps(model, x, y, steps=8, augment=augment).loss
        for name, augment in {"plain": None, "shifted": Shift(0.5)}.items()
    }
    assert losses["plain"][0] == losses["shifted"][0]  # before the first step
    assert losses["plain"][-1] != losses["shifted"][-1]
    assert kilter.diagnose(model, x, y, steps=32, augment=Shift(0.1)).ok
    fresh = keras.models.clone_model(model)
    fresh.compile("adam", "sparse_categorical_crossentropy")  # whose loss is not built yet
    cycle = kilter.schedules.one_cycle(1e-3, length=200, momentum=None)
    assert kilter.diagnose(fresh, x, y, steps=32, augment=Mixup(0.2), schedule=cycle).ok


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": 0.1},
        {"augment": "flip"},
        {"augment": Shift(0.1)},
        {"sample_weight": np.ones(3)},
        {"sample_weight": np.ones(400), "class_weight": {0: 1.0, 1: 2.0, 2: 1.0}},
        {"seed": -1},
    ],
    ids=["schedule", "augment", "augment of rows", "weights", "two weights", "seed"],
)
def test_options_that_fit_refuses_are_refused(options):
    case = program()
    with pytest.raises(KilterError):
        kilter.diagnose(case.model, case.x, case.y, **options)


def test_classes_that_weights_balance_are_not_imbalanced():
    x, y = blobs()
    rows = np.concatenate([np.flatnonzero(y > 0), np.flatnonzero(y == 0)[:5]])
    case = program(data=(x[rows], y[rows]))
    weights = np.where(y[rows] == 0, 25.0, 1.0)
    assert "class-imbalance" in kilter.diagnose(case.model, case.x, case.y, steps=0).codes()
    for options in {"sample_weight": weights}, {"class_weight": {0: 25.0, 1: 1.0, 2: 1.0}}:
        found = kilter.diagnose(case.model, case.x, case.y, steps=0, **options)
        assert "class-imbalance" not in found.codes(), options


def test_raised_warnings_are_severe_and_nothing_else_changes():
    found = Diagnosis(tuple(Finding(f"{kind}-code", kind, (), (), "", (), "") for kind in SEVERITIES))
    raised = found.raised()
    assert [(one.code, one.severity) for one in raised.findings] == [
        ("severe-code", "severe"),
        ("warning-code", "severe"),
        ("note-code", "note"),
    ]
    assert found.codes("warning") == ("warning-code",)
