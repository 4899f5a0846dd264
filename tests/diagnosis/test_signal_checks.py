"""Checks of a probe, of some steps and of curves, on numbers: each code from faulty ones, none from sound."""

import numpy as np
import pytest

from kilter._diagnosis.catalogue import CATALOGUE
from kilter._diagnosis.checks import dynamics as curve_checks
from kilter._diagnosis.checks import probe, training
from kilter._diagnosis.context import checks_in
from kilter._diagnosis.entries import compile_and_fit, fit_to_data, pictures, sequences
from kilter._diagnosis.thresholds import Thresholds

from .synthetic import context, readings

FALLING = np.geomspace(1.0, 0.4, 8)
STILL = np.full(8, 0.7)
EPOCHS = 0.1 + 0.9 * np.exp(-np.arange(20) / 3)
NOISE = np.random.default_rng(0).normal(size=20)


def geometric(rate, depth=4):
    return rate ** np.arange(depth)


def steps(loss=FALLING, after=None, **values):
    return context(readings(depth=values.get("depth", 4)), readings(loss, after, **values))


def curves(loss=EPOCHS, normalised=False, **others):
    return context(history={"loss": loss, **others}, normalised=normalised)


def over(begin, end):
    """A value for each of 8 readings that changes from begin to end, the same for all 4 layers."""
    return np.linspace(begin, end, 8)[:, None] * np.ones(4)


BAD = np.array([0.0, 0.0, np.nan, np.nan])

# code, severity, context
PROBES = [
    ("non-finite", "severe", context(readings([np.nan]))),
    ("non-finite", "severe", context(readings(std=1 + BAD))),
    ("variance-forward", "severe", context(readings(std=geometric(0.05)))),
    ("variance-forward", "severe", context(readings(std=geometric(15.0)))),
    ("variance-forward", "severe", context(readings(std=[1.0, 0.5, 0.1, 0.0]))),
    ("variance-forward", "warning", context(readings(std=geometric(0.25)))),
    ("variance-backward", "severe", context(readings(gradient_std=geometric(20.0)))),
    ("variance-backward", "severe", context(readings(gradient_std=geometric(0.05)))),
    ("variance-backward", "warning", context(readings(gradient_std=geometric(4.0)))),
    ("saturated-units", "severe", context(readings(saturated=0.9))),
    ("saturated-units", "warning", context(readings(saturated=[0.5, 0, 0, 0]))),
    ("dead-units", "severe", context(readings(dead=[0, 0.9, 0, 0]))),
    ("dead-units", "warning", context(readings(dead=[0.4, 0.5, 0, 0]))),
    ("disconnected-layer", "severe", context(readings(weight_gradient_norm=[1, 0, 1, 1]))),
    ("disconnected-layer", "severe", context(readings(weight_gradient_norm=[0, 1, 1, 1]))),
    (
        "disconnected-layer",
        "severe",
        context(readings(gradient_std=[0, 1, 1, 1], weight_gradient_norm=[0, 1, 1, 1])),
    ),
]
TRAININGS = [
    ("non-finite", "severe", steps([1.0, np.nan], [2.0, np.nan])),
    ("non-finite", "severe", steps([1.0, 1.0], [1.0, np.inf])),
    ("vanishing-gradients", "severe", steps(gradient_std=geometric(30.0))),
    ("vanishing-gradients", "severe", steps(gradient_std=[0, 1, 1, 1])),
    ("exploding-gradients", "severe", steps(gradient_std=geometric(1 / 30))),
    ("exploding-gradients", "severe", steps(gradient_std=[1e6, 1, 1, 1])),
    ("dying-units", "severe", steps(dead=over(0.1, 1.0))),
    ("dying-units", "severe", steps(dead=over(0.85, 0.95))),
    ("saturating-units", "severe", steps(saturated=over(0.0, 0.95))),
    ("saturating-units", "severe", steps(saturated=over(0.85, 0.95))),
    ("rate-too-high", "severe", steps(np.geomspace(1, 50, 8))),
    ("rate-too-high", "severe", steps(STILL + 0.3 * NOISE[:8], update_ratio=0.5)),
    ("rate-too-high", "severe", steps([1, 1.3, 1.1, 1.5, 1.2, 1.4, 1.3, 1.6], [2.0] * 8)),
    ("rate-too-high", "severe", steps(np.r_[2.5, 3.2, STILL[2:]], update_ratio=over(3, 0), dead=over(0, 1))),
    ("rate-too-low", "severe", steps(STILL, update_ratio=1e-7)),
    ("rate-too-low", "severe", steps(STILL * np.linspace(1, 0.999, 8), update_ratio=1e-6)),
    ("rate-too-low", "warning", steps(STILL, update_ratio=5e-5)),
    ("loss-not-moving", "severe", steps(STILL, weight_gradient_norm=0.0, update_ratio=0.0)),
    ("loss-not-moving", "severe", steps(STILL, gradient_std=geometric(30.0))),
    ("loss-not-moving", "warning", steps(STILL)),
]
CURVES = [
    ("non-finite", "severe", curves([1.0, 0.9, np.nan])),
    ("non-finite", "severe", curves([np.inf])),
    ("rate-too-high", "severe", curves(np.geomspace(1, 9, 10))),
    ("rate-too-high", "severe", curves([1, 5, 4, 6, 3, 8, 5])),
    ("loss-not-moving", "severe", curves(0.69 + 0.001 * NOISE)),
    ("loss-not-moving", "severe", curves(0.69 + 0.001 * NOISE, accuracy=0.5 + 0.05 * NOISE)),
    ("collapsed-output", "severe", curves(2.3 + 0.001 * NOISE, accuracy=np.full(20, 0.1))),
    ("collapsed-output", "severe", curves(np.full(6, 0.69), accuracy=[0.3, 0.5, 0.5, 0.5, 0.5, 0.5])),
    ("overfitting", "warning", curves(val_loss=0.5 + 0.02 * np.abs(np.arange(20) - 6))),
    ("overfitting", "warning", curves(val_loss=np.r_[np.geomspace(1, 0.2, 8), np.geomspace(0.2, 0.6, 12)])),
    ("oscillating-loss", "warning", curves(0.6 + 0.3 * (-1.0) ** np.arange(20))),
    ("oscillating-loss", "warning", curves(EPOCHS + 0.5 * (-1.0) ** np.arange(20))),
    ("slow-convergence", "warning", curves(np.linspace(1, 0.5, 20))),
    ("slow-convergence", "warning", curves(np.linspace(2.3, 2.0, 30))),
    ("underfitting", "note", curves(np.linspace(1, 0.1, 20) ** 1.8)),
    ("underfitting", "note", curves(1 / (1 + 0.2 * np.arange(20)))),
    ("stale-batch-norm", "warning", curves(train_loss=np.full(20, 0.9), normalised=True)),
    ("stale-batch-norm", "warning", curves(train_loss=EPOCHS * 5, normalised=True)),
]
FAULTY = [
    *((probe, *case) for case in PROBES),
    *((training, *case) for case in TRAININGS),
    *((curve_checks, *case) for case in CURVES),
]
SOUND = {
    "nothing was read": context(),
    "probe": context(readings()),
    "probe of one layer": context(readings(depth=1, std=1e-3)),
    "probe of no hidden layer": context(readings(depth=0)),
    "tanh units, where 0 is steepest": context(readings(dead=[0, 0.9, 0, 0]), activation="tanh"),
    "relu units, some dead": context(readings(dead=[0.25, 0.2, 0.1, 0.3])),
    "40 layers, 10 % a layer": context(readings(depth=40, std=geometric(0.93, 40))),
    "steps": steps(),
    "a hundredth of the loss": steps(np.linspace(1.0, 0.99, 8)),
    "a loss that rises on single steps": steps(FALLING + 0.02 * NOISE[:8]),
    "large steps that help": steps(np.geomspace(1.0, 0.1, 8), update_ratio=0.3),
    "below zero": steps(FALLING - 2.0),
    "trained before": steps(1e-3 * FALLING),
    "too few steps to judge": steps(STILL, every=1),
    "one reading": context(None, readings([0.7])),
    "noise in a loss near its floor": curves(np.r_[1.0, 0.01 + 0.001 * NOISE]),
    "curve": curves(val_loss=EPOCHS + 0.05, train_loss=EPOCHS, accuracy=1 - EPOCHS / 2),
    "noisy curve": curves(EPOCHS + 0.01 * NOISE, val_loss=EPOCHS + 0.05 + 0.01 * NOISE),
    "short curve": curves([0.7, 0.7, 0.7]),
    "nearly perfect from the start": curves(0.01 + 1e-5 * NOISE, accuracy=np.full(20, 0.99)),
    "dropout": curves(train_loss=EPOCHS * 0.7, normalised=True),
    "no normalisation": curves(train_loss=EPOCHS * 5),
}
ALL = checks_in(probe, training)


def found(checks, given):
    return [one for check in checks for one in check(given)]


@pytest.mark.parametrize(
    ("family", "code", "severity", "given"), FAULTY, ids=[f"{case[1]}-{i}" for i, case in enumerate(FAULTY)]
)
def test_a_fault_is_named(family, code, severity, given):
    findings = found(checks_in(family), given)
    assert (code, severity) in [(one.code, one.severity) for one in findings]
    named = next(one for one in findings if one.code == code)
    assert named.where
    assert named.remedies == CATALOGUE[code].remedies or code == "loss-not-moving"
    for evidence in named.evidence:
        assert (evidence.threshold is None) == (evidence.source == "")


@pytest.mark.parametrize("given", SOUND.values(), ids=SOUND)
def test_nothing_is_said_of_what_is_sound(given):
    assert found(ALL, given) == []


def test_every_code_of_the_catalogue_is_held_to_two_cases():
    cases = [case[1] for case in FAULTY]
    # Those of test_causes, test_sequences, test_generative and test_dynamics.
    elsewhere = {
        *fit_to_data.PROBE,
        *compile_and_fit.PROBE,
        *sequences.PROBE,
        *pictures.PROBE,
        *compile_and_fit.TRAINING,
    }
    for code, entry in CATALOGUE.items():
        if entry.family in ("probe", "training") and code not in elsewhere:
            assert cases.count(code) >= 2, code


@pytest.mark.parametrize("place", [0, 1, 3])
def test_the_first_layer_that_is_not_finite_is_named(place):
    values = np.ones((3, 4))
    values[1:, place:] = np.nan
    (named,) = training.check_finite(steps([1.0, 2.0, np.nan], std=values))
    assert named.where == (f"hidden_{place}",)
    assert "step 9" in named.explanation


def test_no_rate_is_blamed_where_the_gradient_is_lost():
    lost = steps(STILL, gradient_std=geometric(30.0), update_ratio=1e-8)
    findings = found(checks_in(training), lost)
    assert [one.code for one in findings] == ["vanishing-gradients", "loss-not-moving"]
    assert findings[1].remedies == CATALOGUE["vanishing-gradients"].remedies


def test_the_rate_that_units_die_of_comes_before_them():
    dying = steps(np.r_[2.5, 3.2, STILL[2:]], update_ratio=over(3, 0), dead=over(0, 1))
    assert [one.code for one in found(checks_in(training), dying)] == ["rate-too-high", "dying-units"]


def test_a_saturated_probe_explains_a_loss_that_stays():
    given = context(readings(saturated=0.95), readings(STILL, saturated=0.95, update_ratio=1e-8))
    (still,) = found(checks_in(training), given)
    assert (still.code, still.remedies) == ("loss-not-moving", CATALOGUE["saturated-units"].remedies)


def test_what_vanished_is_not_called_disconnected():
    lost = context(readings(gradient_std=[0, 1e-30, 1e-9, 1], weight_gradient_norm=[0, 1, 1, 1]))
    assert [one.code for one in found(checks_in(probe), lost)] == ["variance-backward"]


def test_thresholds_are_the_contexts_own():
    given = context(readings(dead=0.2))
    assert found(checks_in(probe), given) == []
    strict = type(given)(**{**vars(given), "thresholds": Thresholds(unit_share=0.1)})
    assert [one.severity for one in found(checks_in(probe), strict)] == ["severe"]


@pytest.mark.parametrize("checks", [ALL, checks_in(curve_checks)], ids=["signal", "curves"])
def test_numbers_at_their_ends_raise_nothing(checks):
    for value in (0.0, np.inf, -np.inf, np.nan, 1e300, -1.0):
        for given in (
            context(readings([value], std=value, gradient_std=value, dead=value, saturated=value)),
            steps(np.full(8, value), gradient_std=value, update_ratio=value, weight_gradient_norm=value),
            curves(np.full(8, value), val_loss=np.full(8, value), accuracy=np.full(8, value)),
        ):
            with np.errstate(all="ignore"):
                found(checks, given)
