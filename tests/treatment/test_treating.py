"""kilter.treat on faulty programs from beginning to end, and on sound ones; what it refuses and returns.

The suite takes the quickest; `make long` takes the others.
"""

import keras
import numpy as np
import pytest

import kilter
from kilter.errors import OptionError
from kilter.recipe import parse_recipe

from . import faulty


def cases(programs, *quick):
    """The programs by name; those that are not quick are marked so."""
    return [
        pytest.param(one, marks=[] if one in quick else pytest.mark.long, id=one.__name__) for one in programs
    ]


def treated(program, epochs=20, **options):
    model, x, y = program()
    weights = [np.asarray(one).copy() for one in model.variables]
    treatment = kilter.treat(model, x, y, epochs=epochs, **options)
    for one, before in zip(model.variables, weights, strict=True):
        np.testing.assert_array_equal(one, before)  # the model given stays as it is
    return treatment


@pytest.mark.parametrize("program", cases(faulty.FAULTY, faulty.zeros, faulty.softmax_of_one))
def test_faulty_programs_are_mended(program):
    remedy, accuracy = faulty.FAULTY[program]
    treatment = treated(program)
    assert not treatment.diagnosis.ok
    assert remedy in [change.remedy for change in treatment.changes]
    assert treatment.trials.verdict == "better"
    assert treatment.after.score >= accuracy
    assert treatment.trials.measure == "val_accuracy"


@pytest.mark.parametrize("program", cases(faulty.HEALTHY, faulty.healthy_blobs))
def test_sound_programs_are_trained_as_they_came(program):
    treatment = treated(program, epochs=80)
    assert treatment.diagnosis.ok
    assert treatment.changes == () == treatment.dropped
    assert treatment.after.score >= 0.9
    assert treatment.snippet() == ""


@pytest.mark.long
def test_what_is_kept_is_not_changed_and_the_treated_model_takes_raw_inputs(tmp_path):
    model, x, y = faulty.unscaled()
    hidden = model.layers[0].path
    refused = kilter.treat(model, x, y, epochs=2, keep=["standardize-inputs", hidden])
    assert "standardize-inputs" not in [change.remedy for change in refused.changes]
    assert not any(hidden in change.where for change in refused.changes)
    treatment = kilter.treat(model, x, y, epochs=20)
    treatment.model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    right = (loaded.predict(x, verbose=0)[:, 0] > 0.5) == y
    assert right.mean() > 0.9
    assert "Normalization" in treatment.snippet()
    recipe = parse_recipe({"data": {"source": "digits", "standardize": False}, "model": {"builder": "mlp"}})
    assert treatment.apply_to(recipe).data.standardize
    page = treatment.report(tmp_path / "report.html").read_text(encoding="utf-8")
    assert "standardize-inputs" in page
    assert "Signal through depth" in page
    assert "sign-flip" in page


@pytest.mark.parametrize(
    "options",
    [
        {"pairs": 5},
        {"budget": -1},
        {"epochs": 0},
        {"keep": ["no such layer"]},
        {"keep": "standardize-inputs"},
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(options):
    model, x, y = faulty.healthy_blobs()
    with pytest.raises(OptionError):
        kilter.treat(model, x, y, **options)


class Stack(keras.Model):
    """As people write them: a constructor with an argument, and no configuration."""

    def __init__(self, units):
        super().__init__()
        self.hidden = keras.layers.Dense(units, activation="relu", kernel_initializer="zeros")
        self.head = keras.layers.Dense(3, activation="softmax")

    def call(self, inputs):
        return self.head(self.hidden(inputs))


@pytest.mark.long
def test_a_class_with_a_call_of_its_own_is_mended():
    x, y = faulty.blobs()
    model = Stack(12)
    model.compile(keras.optimizers.Adam(0.01), faulty.SPARSE)
    treatment = kilter.treat(model, x, y, epochs=10)
    assert "reinitialize-paired" in [change.remedy for change in treatment.changes]
    assert treatment.after.score >= 0.9
    assert not np.asarray(model.hidden.kernel).any()
