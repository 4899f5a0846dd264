"""Scores of trained models."""

import math
from dataclasses import replace

import keras
import numpy as np
import pytest

from kilter import _measures
from kilter._treatment.policy import Policy, SearchPolicy
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.trial_runner import TrialRunner
from kilter.errors import OptionError

from .subjects import LABELS, RNG, X, dense, subject

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


def test_several_outputs_have_a_finite_chance_and_the_mean_of_their_skills():
    kind, price = keras.layers.Dense(1, "sigmoid", name="kind"), keras.layers.Dense(1, name="price")
    inputs = keras.Input((6,))
    came = subject(
        keras.Model(inputs, [kind(inputs), price(inputs)]),
        y=[LABELS, 100 * X[:, :1]],
        loss=["binary_crossentropy", "mse"],
        metrics=(),
        validation_data=(X, [LABELS, 100 * X[:, :1]]),
    )
    scoring = scoring_of(came)
    assert scoring.measure == "val_skill_score"
    assert 0 < scoring.chance < 0.3
    kind.set_weights([np.zeros((6, 1)), np.array([-9.0])])
    price.set_weights([np.zeros((6, 1)), np.array([100 * X[:, 0].mean()])])
    assert scoring.learnt_nothing(scoring.score(came, came.model))
    kind.set_weights([np.eye(6)[:, :1] * 100, np.zeros(1)])
    assert not scoring.learnt_nothing(half := scoring.score(came, came.model))
    price.set_weights([np.eye(6)[:, :1] * 100, np.zeros(1)])
    assert scoring.score(came, came.model) == pytest.approx(1.0) != half
    assert {one.partition(" of ")[2] for one in scoring.own(came, came.model)} == {"kind", "price"}
    only = scoring_of(came, "rmse of price")
    assert (only.measure, only.direction) == ("val_rmse", "min")
    assert only.score(came, came.model) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("metric", [one.name for one in _measures.REGISTRY])
def test_every_measure_of_the_registry_decides_if_asked_or_is_refused(metric: str):
    kind = next(one.kind for one in _measures.REGISTRY if one.name == metric)
    masks = (RNG.random((96, 4, 4, 1)) > 0.7).astype("float32")
    came = {
        "classes": lambda: subject(dense()),
        "numbers": lambda: subject(dense(output=None), y=X[:, 0], loss="mse"),
        "masks": lambda: subject(
            keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(1, 1, activation="sigmoid")]),
            masks + RNG.normal(size=masks.shape),
            masks,
        ),
    }[kind]()
    if metric in ("precision", "recall"):  # a constant answer can have a perfect one
        with pytest.raises(OptionError, match="f1"):
            scoring_of(came, metric)
        return
    scoring = scoring_of(came, metric)
    assert scoring.measure == f"val_{metric}" == scoring_of(came, f"val_{metric}").measure
    assert scoring.direction == _measures.direction_of(metric)
    assert math.isfinite(scoring.chance)
    assert math.isfinite(scoring.score(came, came.model))
    assert metric in scoring.own(came, came.model)


def test_a_metric_of_another_kind_is_refused_with_those_that_fit():
    with pytest.raises(OptionError, match="balanced_accuracy"):
        scoring_of(subject(dense()), "rmse")


@pytest.mark.parametrize("one_hot", [False, True])
def test_masks_of_classes_are_judged_by_iou_as_kilter_train_does(one_hot):
    masks = np.digitize(RNG.random((96, 4, 4)), [0.6, 0.9])
    came = subject(
        keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(3, 1, activation="softmax")]),
        masks[..., None] + RNG.normal(size=(96, 4, 4, 1)),
        np.eye(3)[masks] if one_hot else masks,
        loss=f"{'' if one_hot else 'sparse_'}categorical_crossentropy",
    )
    scoring = scoring_of(came)
    assert scoring.measure == "val_iou"
    given = np.asarray(came.model.predict(came.x_val, verbose=0)).argmax(axis=-1)
    wanted = np.asarray(came.y_val)
    answers = _measures.Answers("masks", wanted.argmax(-1) if one_hot else wanted, given, classes=3)
    assert scoring.own(came, came.model)["iou"].value == pytest.approx(_measures.value("iou", answers))


def test_a_rare_class_is_judged_by_balanced_accuracy():
    rare = (np.arange(96) % 12 == 0).astype("int32")
    assert scoring_of(subject(dense(), y=rare)).measure == "val_balanced_accuracy"
