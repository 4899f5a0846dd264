"""diagnose() from end to end, and the checks before training on plain stacks of 2 to 40 layers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tests.diagnosis.programs import blobs, dense, one_hot, program
from tests.diagnosis.test_before_training import findings

import kilter
from kilter._records import SEVERITIES, Diagnosis, Finding
from kilter.errors import DataError, ModelError, OptionError

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


def test_raised_warnings_are_severe_and_nothing_else_changes():
    found = Diagnosis(tuple(Finding(f"{kind}-code", kind, (), (), "", (), "") for kind in SEVERITIES))
    raised = found.raised()
    assert [(one.code, one.severity) for one in raised.findings] == [
        ("severe-code", "severe"),
        ("warning-code", "severe"),
        ("note-code", "note"),
    ]
    assert found.codes("warning") == ("warning-code",)
