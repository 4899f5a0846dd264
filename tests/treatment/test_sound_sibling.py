"""The sound sibling as a repair: what it changes, part by part, and every layer beside which it is made."""

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from tests.nn.every_layer import COMPOSITE, every_layer, model_of

import kilter
from kilter._diagnosis.sibling import PARTS
from kilter._engine.training_spec import TrainingSpec
from kilter._records import Diagnosis, Finding
from kilter._treatment.plan import RemedySet, sibling_of
from kilter._treatment.program import program
from kilter._treatment.remedies import REMEDIES
from kilter._treatment.sound_sibling import CODES, sound_sibling
from kilter._treatment.subject import Subject

from .subjects import LABELS, X, dense, finding, runs_as_written, subject

NOTHING = Diagnosis(())


def made(came: Subject, *codes: str, keep: Any = ()) -> Subject:
    found = sound_sibling(came, keep, codes or CODES)
    assert found is not None
    return found


def faulty(part: str) -> Subject:
    """A subject with a fault that this part mends."""
    penalty = keras.regularizers.L2(1.0)
    flat = [layers.Dense(6, "relu", kernel_regularizer=penalty), layers.Dense(1, "sigmoid")]
    axis = [layers.Dense(6), layers.BatchNormalization(momentum=0.999), layers.Dense(1, "sigmoid")]
    models = {
        "standardize-inputs": lambda: subject(dense(), 100 * X),
        "repair-output": lambda: subject(dense(output="softmax")),
        "rescale-outputs": lambda: subject(dense(output=None), y=1000 * X[:, 0], loss="mse"),
        "reinitialize-paired": lambda: subject(dense(initializer="zeros")),
        "replace-activation": lambda: subject(dense(activation="sigmoid")),
        "ease-regularization": lambda: subject(keras.Sequential([keras.Input((6,)), *flat])),
        "repair-batch-norm": lambda: subject(keras.Sequential([keras.Input((6,)), *axis])),
        "insert-batch-norm": lambda: subject(dense(6)),
        "change-optimizer": lambda: subject(dense(), optimizer="adagrad"),
    }
    return models[part]()


BY_NADAM = REMEDIES["change-optimizer"].apply


@pytest.mark.parametrize(
    "change", [lambda came: made(came, "change-optimizer"), lambda came: BY_NADAM(came, finding())]
)
@pytest.mark.parametrize("several", [False, True])
def test_another_optimizer_averages_weights_as_the_given_one(change, several: bool):
    own = keras.optimizers.SGD(0.01, use_ema=True, ema_momentum=0.9)
    if several:
        own = keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(own))
    came = subject(dense(), optimizer=own, callbacks=[kilter.ExponentialMovingAverage()])
    changed = change(came)
    assert (changed.model.optimizer.use_ema, changed.model.optimizer.ema_momentum) == (True, 0.9)
    assert "ema_momentum=0.9" in changed.changes[0].snippet
    kilter.fit(
        changed.copy(), **changed.fit_arguments()
    )  # the callback refuses an optimiser without an average


@pytest.mark.parametrize("part", CODES)
def test_each_part_is_a_change_of_its_own_that_trains(part: str):
    came = faulty(part)
    whole, alone = made(came), made(came, part)
    assert part in whole.remedies
    assert alone.remedies == (part,)
    assert [one.code for one in alone.steps] == [part]
    assert alone.changes[0].where
    assert alone.changes[0].before != alone.changes[0].after
    runs_as_written(alone.changes[0].snippet, came)
    runs_as_written(program(came, whole), came)
    assert alone.model.compiled
    alone.copy().fit(came.x, came.y, epochs=1, verbose=0)
    without = sound_sibling(came, (), [code for code in CODES if code != part])
    assert without is None or part not in without.remedies


def test_the_parts_are_those_of_the_diagnosis_and_the_optimiser():
    assert (*PARTS, "change-optimizer") == CODES
    assert set(CODES) <= set(REMEDIES)


def test_steps_lead_to_the_same_subject_again():
    came, remedy_set = faulty("replace-activation"), RemedySet(REMEDIES)
    sibling = sibling_of(came, NOTHING, remedy_set)
    assert sibling is not None
    again = remedy_set.again(came, sibling.steps)
    assert again is not None
    assert again.changes == sibling.changes
    for one, other in zip(again.model.get_weights(), sibling.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    fewer = remedy_set.again(came, [one for one in sibling.steps if one.code != "replace-activation"])
    assert fewer is not None
    assert set(sibling.remedies) - set(fewer.remedies) == {"replace-activation"}


def test_it_stands_on_data_and_training_that_are_mended():
    found = Diagnosis((Finding("not-shuffled", "severe", ("training",), (), "", ("shuffle",), ""),))
    came = subject(dense(), shuffle=False)
    sibling = sibling_of(came, found, RemedySet(REMEDIES))
    assert sibling is not None
    assert sibling.training.shuffle
    assert sibling.steps[0].finding == found.findings[0]


def test_what_is_kept_is_left_out():
    came = faulty("replace-activation")
    assert "replace-activation" not in made(came, keep=["replace-activation"]).remedies
    assert "replace-activation" not in made(came, keep=[came.layers[0].path]).remedies
    assert sound_sibling(came, CODES) is None
    assert sibling_of(came, NOTHING, RemedySet({})) is None


@pytest.mark.parametrize(
    "losses", [["mse", "binary_crossentropy"], {"price": "mse", "kind": "bce"}], ids=type
)
def test_of_several_outputs_each_quantity_is_scaled_and_weighted(losses: Any):
    inputs = keras.Input((6,))
    named = {
        "price": layers.Dense(1, name="price")(inputs),
        "kind": layers.Dense(1, "sigmoid", name="kind")(inputs),
    }
    model = keras.Model(inputs, named if isinstance(losses, dict) else list(named.values()))
    price = 1000 * X[:, :1]
    y = {"price": price, "kind": LABELS} if isinstance(losses, dict) else [price, LABELS]
    model.compile("sgd", losses)
    came = Subject(model, X, y, TrainingSpec(epochs=1, batch_size=16, validation_data=(X, y)))
    scaled = made(came, "rescale-outputs").copy()
    history = scaled.fit(X, y, epochs=1, verbose=0)
    assert history.history["loss"][0] < 10  # not a million
    outputs = scaled.predict(X, verbose=0)
    found = outputs["price"] if isinstance(outputs, dict) else outputs[0]
    assert 100 < np.std(found) < 10_000


@pytest.mark.parametrize("name", every_layer(*COMPOSITE))
def test_it_is_made_or_refused_beside_every_layer(name: str):
    model, x, y = model_of(name)
    came = Subject(model, x, y, TrainingSpec(epochs=2, batch_size=8, validation_data=(x, y)))
    given = {id(layer) for layer in model._flatten_layers()}
    sibling = sound_sibling(came)
    assert sibling is None or sibling.model.compiled
    if sibling is not None:
        assert not given & {id(layer) for layer in sibling.model._flatten_layers()}
        assert sibling.facts[1][0].loss is not None  # it can be called
