"""Models that are alike share a program, others none, and sharing changes no number."""

from dataclasses import replace

import keras
import numpy as np
import pytest

import kilter
from kilter._engine.measuring import measured_steps
from kilter._engine.program_cache import shelf
from kilter._treatment import trial_runner
from kilter._treatment.scoring import scoring_of
from kilter._treatment.shared_programs import Twins, structure
from kilter._treatment.subject import FitOptions, Subject, compiled_like, fresh_optimizer
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
    assert Twins().of(made) is made


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


def test_a_functional_model_is_alike_to_its_twin():
    def functional():
        x = keras.Input((3,), name="x")
        hidden = keras.layers.Dense(4, name="hidden")(x)
        joined = keras.layers.Add(name="add")([hidden, keras.layers.Dense(4, name="other")(x)])
        made = keras.Model(x, keras.layers.Dense(1, name="output")(joined), name="model")
        made.compile(loss="mse")
        return made

    assert structure(functional()) == structure(functional()) is not None


def test_a_double_begins_as_its_model_is_whoever_was_trained_in_it():
    came = Subject(model(initializer="he_normal"), X, Y, X, Y, options=FitOptions(batch_size=16))
    other = replace(came, model=model(initializer="ones"))
    kept = [weight.tobytes() for weight in came.model.get_weights()]
    assert came.double() is came.double()
    assert came.double().trained is other.double().trained
    for _ in range(2):
        trained = came.double().ready()
        assert [weight.tobytes() for weight in trained.get_weights()] == kept
        assert int(trained.optimizer.iterations.numpy()) == 0
        kilter.fit(trained, X, Y, epochs=1, batch_size=16, verbose=0)
        assert [weight.tobytes() for weight in trained.get_weights()] != kept
    assert [weight.tobytes() for weight in came.model.get_weights()] == kept


@pytest.mark.parametrize(("other", "compiles"), [({"initializer": "ones"}, False), ({"dropout": 0.5}, True)])
def test_programs_that_a_model_was_run_in_serve_those_that_are_alike(other, compiles):
    seen = model(initializer="he_normal")
    measured_steps(seen, X, Y, steps=2, readings=1, batch_size=16)
    known = dict(shelf(seen).programs)
    came = Subject(model(**other), X, Y, X, Y, options=FitOptions(batch_size=16))
    came.twins.saw(seen)
    trained = came.double().ready()
    kilter.fit(trained, X, Y, epochs=2, batch_size=16, verbose=0)
    assert (shelf(trained).seconds > 0) == compiles
    alone = replace(came, twins=Twins()).double().ready()
    kilter.fit(alone, X, Y, epochs=2, batch_size=16, verbose=0)
    for one, another in zip(trained.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)
    assert shelf(seen).programs == known


def test_sharing_changes_no_bit_of_a_trial():
    came = Subject(model(initializer="zeros", dropout=0.1), X, Y, X, Y, options=FitOptions(batch_size=16))
    scoring = scoring_of(came)
    subjects = [came]
    for initializer, rate in (("he_normal", 1e-3), ("glorot_uniform", 0.1)):
        other = model(initializer=initializer, dropout=0.1)
        other = compiled_like(other, other, optimizer=fresh_optimizer(other, learning_rate=rate))
        subjects.append(replace(came, model=other))
    runners = [TrialRunner(one, scoring, 48) for one in subjects]
    shared = [one.run(seed, 2) for seed in (1, 2) for one in runners]
    alone = [
        TrialRunner(replace(one, twins=Twins()), scoring, 48).run(seed, 2)
        for seed in (1, 2)
        for one in subjects
    ]
    assert len({id(one.subject.double().trained) for one in runners}) == 1
    assert [run.history for run in shared] == [run.history for run in alone]
    assert [run.score for run in shared] == [run.score for run in alone]
    assert len({run.history[-1]["loss"] for run in shared}) == 6


@pytest.mark.parametrize("cycle", [None, 0.05])
def test_runs_together_are_those_one_after_another(cycle, monkeypatch):
    options = FitOptions(batch_size=16, cycle=cycle)
    came = Subject(model(initializer="he_normal"), X, Y, X, Y, options=options)
    scoring = scoring_of(came)
    alone = TrialRunner(came, scoring, 48).runs([1, 2, 3], 2)
    monkeypatch.setattr(trial_runner, "_on_accelerator", lambda: True)
    monkeypatch.setattr(trial_runner, "fit", None)  # nothing is trained alone
    together = TrialRunner(replace(came, twins=Twins()), scoring, 48).runs([1, 2, 3], 2)
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
def test_what_needs_the_host_between_epochs_is_run_alone(options, monkeypatch):
    came = Subject(model(), X, Y, X, Y, options=FitOptions(batch_size=16, **options))
    monkeypatch.setattr(trial_runner, "_on_accelerator", lambda: True)
    monkeypatch.setattr(trial_runner, "fit_together", None)
    assert len(TrialRunner(came, scoring_of(came), 48).runs([1, 2], 1)) == 2
