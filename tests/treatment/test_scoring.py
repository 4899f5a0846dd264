"""What a trained model is held to."""

import numpy as np
import pytest

from kilter.treatment.bench import Bench
from kilter.treatment.scoring import scoring_of
from kilter.treatment.twins import Twins

from .patients import LABELS, dense, patient

SIGNS = np.where(LABELS > 0, 1, -1)


@pytest.mark.parametrize(
    ("targets", "output", "loss", "measure"),
    [
        (LABELS, "sigmoid", "binary_crossentropy", "val_accuracy"),
        (SIGNS, "tanh", "hinge", "val_accuracy"),
        (SIGNS, "sigmoid", "binary_crossentropy", "val_accuracy"),  # wrong, and classes all the same
        (SIGNS, "tanh", "mse", "val_rmse"),
        (SIGNS * 1.5, None, "mse", "val_rmse"),
    ],
)
def test_the_measure_is_of_what_the_targets_are(targets, output, loss, measure):
    came = patient(dense(output=output), y=targets, loss=loss)
    assert scoring_of(came).measure == measure


def test_signs_are_scored_as_classes_by_a_sigmoid_too():
    came = patient(dense(1, output="sigmoid"), y=SIGNS, optimizer="adam", epochs=30)
    bench = Bench(came, scoring_of(came), came.rows, Twins())
    assert 0.0 <= bench.run(0, 1).score <= 1.0


@pytest.mark.parametrize(("shuffle", "rows"), [(True, 96), (False, 40)])
def test_a_trial_takes_some_whole_batches_of_rows_in_the_program_of_all(shuffle, rows):
    came = patient(dense(1), shuffle=shuffle)
    some = Bench(came, scoring_of(came), 40, Twins()).patient
    assert (some.rows, some.steps_per_epoch, some.rows_per_epoch) == (rows, 2, 32)
    few = Bench(came, scoring_of(came), 7, Twins()).patient
    assert few.steps_per_epoch == 1
