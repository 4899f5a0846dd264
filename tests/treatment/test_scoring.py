"""Scores of trained models."""

import math
from dataclasses import replace

import numpy as np
import pytest

from kilter._treatment.policy import Policy, SearchPolicy
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.trial_runner import TrialRunner

from .subjects import LABELS, dense, subject

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
    came = subject(dense(output=output), y=targets, loss=loss)
    assert scoring_of(came).measure == measure


def test_signs_are_scored_as_classes_by_a_sigmoid_too():
    came = subject(dense(1, output="sigmoid"), y=SIGNS)
    answers = came.model.predict(came.x_val, verbose=0)[:, 0] > 0.5
    assert scoring_of(came).score(came, came.model) == np.mean(answers == (came.y_val > 0))


@pytest.mark.parametrize(
    ("shuffle", "small", "rows"), [(True, True, 96), (True, False, 40), (False, True, 40)]
)
def test_a_trial_takes_some_whole_batches_of_rows(shuffle, small, rows):
    policy = Policy(search=SearchPolicy(small_data=1 << 20 if small else 0))
    came = replace(subject(dense(1), shuffle=shuffle), policy=policy)
    some = TrialRunner(came, scoring_of(came), 40)
    assert (some.subject.rows, some.steps, some.rows_per_epoch) == (rows, 2, 32)
    assert (some.subject.x is came.x) == (rows == 96)  # passed on as they are, not copied
    assert TrialRunner(came, scoring_of(came), 7).steps == 1


@pytest.mark.parametrize(
    ("scoring", "score", "behind"),
    [
        (Scoring("val_accuracy", 0.1, 0.9), 0.89, True),
        (Scoring("val_accuracy", 0.1, 0.9), 0.9, False),
        (Scoring("val_accuracy", 0.1, 0.9), math.nan, True),
        (Scoring("val_accuracy", 0.1), 0.2, False),
        (Scoring("val_rmse", 2.0, 0.5), 0.6, True),
        (Scoring("val_rmse", 2.0, 0.5), 0.4, False),
    ],
)
def test_a_score_is_behind_baselines_that_are_better(scoring: Scoring, score: float, behind: bool):
    assert scoring.is_behind(score) == behind
