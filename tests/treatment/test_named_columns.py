"""The findings of a treatment name a table's columns, before and after the training."""

from __future__ import annotations

from dataclasses import replace

import keras
import numpy as np

import kilter
from kilter._diagnosis.diagnose import Asked, examined
from kilter._engine.training_spec import TrainingSpec
from kilter._models.variables import pull
from kilter._progress import SILENT
from kilter._treatment.full_training import Trained
from kilter._treatment.policy import Policy
from kilter._treatment.request import subject_of


def test_findings_name_columns_before_and_after_training():
    rows = np.random.default_rng(0).normal(size=(24, 3)).astype(np.float32)
    rows[:, 1] = 5
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    spec = TrainingSpec(validation_data=(rows[:8], rows[:8, :1]))
    asked = replace(
        subject_of(model, rows, rows[:, :1], spec, Policy()), features=("width", "height", "depth")
    )
    found = examined(model, asked.x, asked.y, asked.training, SILENT, Asked(steps=0, features=asked.features))
    history = kilter.fit(model, rows, rows[:, :1], epochs=1, verbose=0)
    trained = Trained(asked, model, pull(model), history, 0.0)
    for diagnosis in (found.diagnosis, trained.diagnosis):
        (one,) = [each for each in diagnosis.findings if each.code == "constant-columns"]
        assert one.explanation.endswith("row: height.")
