"""Models of the same structure share programs, others do not, and sharing changes no number."""

from dataclasses import replace

import keras
import numpy as np
import optax
import pytest

import kilter
from kilter._engine.measuring import measured_steps
from kilter._engine.program_cache import shared_programs, shelf
from kilter._engine.structure import structure
from kilter._engine.training_spec import TrainingSpec
from kilter._models.optimizers import compiled_like, fresh_optimizer
from kilter._treatment import trial_runner
from kilter._treatment.scoring import scoring_of
from kilter._treatment.subject import Subject
from kilter._treatment.trial_runner import TrialRunner

X = np.random.default_rng(0).normal(size=(48, 3)).astype("float32")
Y = np.int32(X[:, 0] > 0)


def model(
    *,
    activation="tanh",
    initializer="zeros",
    dropout=0.0,
    trainable=True,
    optimizer="adam",
    loss="binary_crossentropy",
    metrics=(),
):
    keras.utils.set_random_seed(1)
    layers = [
        keras.layers.Dense(
            4, activation=activation, kernel_initializer=initializer, name="hidden", trainable=trainable
        ),
        keras.layers.Dropout(dropout, name="dropout"),
        keras.layers.Dense(1, activation="sigmoid", name="output"),
    ]
    made = keras.Sequential([keras.Input((3,), name="x"), *layers], name="model")
    made.compile(optimizer=optimizer, loss=loss, metrics=list(metrics))
    return made


def test_optax_transformations_are_told_apart_by_what_they_are():
    one, other = (optax.sgd(rate) for rate in (0.1, 0.001))
    first, again, second = (structure(model(optimizer=kilter.OptaxOptimizer(it))) for it in (one, one, other))
    assert first == again != second


@pytest.mark.parametrize(
    "options",
    [
        {"initializer": "he_normal"},
        {"initializer": keras.initializers.RandomNormal(stddev=3.0)},
        {"optimizer": keras.optimizers.Adam(0.5)},
        {"loss": keras.losses.BinaryCrossentropy(), "metrics": []},
    ],
    ids=["initialiser", "its deviation", "rate", "an equal loss"],
)
def test_initialisers_and_rates_make_no_difference(options):
    reference = model() if "loss" not in options else model(loss=keras.losses.BinaryCrossentropy())
    assert structure(model(**options)) == structure(reference)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"dropout": 0.5},
        {"trainable": False},
        {"optimizer": "sgd"},
        {"optimizer": keras.optimizers.Adam(beta_1=0.5)},
        {"optimizer": keras.optimizers.Adam(clipnorm=1.0)},
        {"loss": "mse"},
        {"loss": keras.losses.BinaryCrossentropy(from_logits=True)},
        {"loss": lambda y, p: (y - p) ** 2},
        {"metrics": ["accuracy"]},
    ],
    ids=[
        "activation",
        "dropout",
        "frozen",
        "optimiser",
        "its momentum",
        "clipping",
        "loss",
        "logits",
        "a function",
        "metrics",
    ],
)
def test_whatever_changes_the_program_does(options):
    assert structure(model(**options)) != structure(model())


def test_what_others_wrote_is_alike_to_nothing():
    class Own(keras.layers.Dense):
        def call(self, inputs, training=None):
            return 2 * super().call(inputs)

    made = keras.Sequential([keras.Input((3,)), Own(1)])
    made.compile(loss="mse")
    assert structure(made) is None


@pytest.mark.parametrize("place", ["activation", "regulariser", "lambda"])
def test_functions_of_others_may_share_a_name_and_are_alike_to_nothing(place):
    def mine(x):
        return x * 2

    options = {"activation": mine} if place == "activation" else {}
    if place == "regulariser":
        options = {"kernel_regularizer": mine}
    first = keras.layers.Lambda(lambda x: x * 2) if place == "lambda" else keras.layers.Dense(2, **options)
    made = keras.Sequential([keras.Input((3,)), first, keras.layers.Dense(1)])
    made.compile(loss="mse")
    assert structure(made) is None


def test_a_model_that_was_not_compiled_is_alike_to_nothing():
    assert structure(keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])) is None


def test_a_functional_model_is_alike_to_its_twin():
    def functional(name="hidden"):
        x = keras.Input((3,), name="x")
        hidden = keras.layers.Dense(4, name=name)(x)
        joined = keras.layers.Add(name="add")([hidden, keras.layers.Dense(4, name="other")(x)])
        made = keras.Model(x, keras.layers.Dense(1, name="output")(joined), name="model")
        made.compile(loss="mse")
        return made

    assert structure(functional()) == structure(functional()) is not None
    assert structure(functional("other names")) == structure(functional())


def subject_of(made: keras.Model, **options) -> Subject:
    return Subject(made, X, Y, TrainingSpec(batch_size=16, validation_data=(X, Y), **options))


def fitted(made: keras.Model) -> keras.Model:
    kilter.fit(made, X, Y, epochs=2, batch_size=16, verbose=0)
    return made


@pytest.mark.parametrize(("other", "compiles"), [({"initializer": "ones"}, False), ({"dropout": 0.5}, True)])
def test_programs_of_one_model_serve_others_of_the_same_structure(other, compiles):
    alone = fitted(model(**other))
    seen = model(initializer="he_normal")
    with shared_programs():
        measured_steps(seen, X, Y, steps=2, readings=1, batch_size=16)
        known = dict(shelf(seen).programs)
        sharing = fitted(model(**other))
    assert (shelf(sharing).seconds > 0) == compiles
    for one, another in zip(sharing.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
    assert shelf(seen).programs == known
    assert shelf(fitted(model(**other))).seconds > 0  # nothing is shared afterwards


def test_predictions_are_shared_whatever_the_optimiser():
    with shared_programs():
        kilter.predict(model(), X)
        other = model(optimizer="sgd")
        kilter.predict(other, X)
        assert shelf(other).seconds == 0
        fitted(other)
    assert shelf(other).seconds > 0


def test_a_layer_that_was_changed_after_its_trace_gets_a_program_of_its_own():
    with shared_programs():
        fitted(model(dropout=0.5))
        changed = model(dropout=0.5)
        changed.get_layer("dropout").rate = 0.1
        fitted(changed)
    assert shelf(changed).seconds > 0


def test_sharing_changes_no_bit_of_a_trial():
    original = subject_of(model(initializer="zeros", dropout=0.1))
    scoring = scoring_of(original)
    subjects = [original]
    for initializer, rate in (("he_normal", 1e-3), ("glorot_uniform", 0.1)):
        other = model(initializer=initializer, dropout=0.1)
        other = compiled_like(other, other, optimizer=fresh_optimizer(other, learning_rate=rate))
        subjects.append(replace(original, model=other))

    def runs(subjects):
        runners = [TrialRunner(one, scoring, 48) for one in subjects]
        return [one.run(seed, 2) for seed in (1, 2) for one in runners]

    alone = runs(subjects)
    with shared_programs():
        shared = runs(subjects)
    assert [run.history for run in shared] == [run.history for run in alone]
    assert [run.score for run in shared] == [run.score for run in alone]
    assert len({run.history[-1]["loss"] for run in shared}) == 6


@pytest.mark.parametrize("cycle", [None, 0.05])
def test_runs_together_are_those_one_after_another(cycle, monkeypatch):
    original = replace(subject_of(model(initializer="he_normal")), cycle=cycle)
    scoring = scoring_of(original)
    alone = TrialRunner(original, scoring, 48).runs([1, 2, 3], 2)
    monkeypatch.setattr(trial_runner, "_on_accelerator", lambda: True)
    monkeypatch.setattr(trial_runner, "fit", None)  # nothing is trained alone
    together = TrialRunner(original, scoring, 48).runs([1, 2, 3], 2)
    assert [run.seed for run in together] == [1, 2, 3]
    for one, other in zip(together, alone, strict=True):
        assert one.score == pytest.approx(other.score, abs=1 / 48)
        losses = [[line["loss"] for line in run.history] for run in (one, other)]
        np.testing.assert_allclose(*losses, rtol=1e-4)
    assert len({run.history[-1]["loss"] for run in together}) == 3


@pytest.mark.parametrize(
    "options",
    [{"callbacks": (keras.callbacks.TerminateOnNaN(),)}, {"schedule": lambda step: 0.1 / (step + 1)}],
)
def test_a_training_that_needs_the_host_between_epochs_runs_alone(options, monkeypatch):
    original = subject_of(model(), **options)
    monkeypatch.setattr(trial_runner, "_on_accelerator", lambda: True)
    monkeypatch.setattr(trial_runner, "fit_together", None)
    assert len(TrialRunner(original, scoring_of(original), 48).runs([1, 2], 1)) == 2
