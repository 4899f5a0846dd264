"""Variants that are sound throughout: what they change, in which order, and how long they may take."""

from dataclasses import replace

import keras
import numpy as np
import pytest

from kilter._models.variables import pull
from kilter._records import Change, Diagnosis, Finding
from kilter._treatment.full_training import train_in_full
from kilter._treatment.plan import RemedySet, sound_variants
from kilter._treatment.remedies import REMEDIES, Remedy
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.search import Tools
from kilter._treatment.subject import Subject

from . import faulty
from .subjects import dense, subject

NOTHING = Diagnosis(())
PLAIN = ["replace-activation", "change-optimizer"]
CYCLED = [*PLAIN, "find-learning-rate", "one-cycle"]
NORMALIZED = ["replace-activation", "insert-batch-norm", *CYCLED[1:]]


def _rate(subject: Subject, finding: Finding) -> Subject:
    """In the place of a search, which takes seconds."""
    return subject.changed(Change("find-learning-rate", ("optimizer",), "", "", ""))


def remedy_set(*keep: str) -> RemedySet:
    return RemedySet({**REMEDIES, "find-learning-rate": Remedy(_rate)}, keep)


def variants(came: Subject, best: Subject | None = None, found: Diagnosis = NOTHING, keep=(), cycled=True):
    made = sound_variants(came, best or came, found, remedy_set(*keep), cycled=cycled)
    return [[change.remedy for change in one.changes] for one in made]


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_they_have_smooth_activations_and_nadam_then_a_cycle_and_deep_ones_normalisation(activation: str):
    assert variants(subject(dense(6, activation=activation))) == [NORMALIZED]
    came = subject(dense(5, activation=activation))
    assert variants(came) == [PLAIN, CYCLED]
    made = next(sound_variants(came, came, NOTHING, remedy_set(), cycled=True))
    assert variants(came, cycled=False) == [PLAIN, CYCLED[:-1]]
    assert set(activations(made)) == {"elu"}
    assert made.optimizer.name == "nadam"


def activations(made: Subject) -> list[str | None]:
    return [one.activation for one in made.layers if one.is_weighted and not one.is_output]


@pytest.mark.parametrize("severity", ["severe", "warning"])
def test_what_is_sound_already_stays_and_what_is_found_is_treated_too(severity: str):
    smooth = subject(dense(2, activation="gelu"), optimizer="nadam")
    assert variants(smooth) == [["find-learning-rate", "one-cycle"]]
    assert variants(smooth, keep=["find-learning-rate", "one-cycle"]) == []
    found = Diagnosis((Finding("non-finite", severity, ("training",), (), "", ("clip-gradients",), ""),))
    known = variants(smooth, found=found, keep=["find-learning-rate", "one-cycle"])
    assert known == [["clip-gradients"]]


def test_layers_that_a_finding_names_are_treated_beside_those_that_may_saturate():
    model = dense(3, activation="linear")
    model.layers[0].activation = keras.activations.tanh
    model.layers[2].activation = keras.activations.gelu
    came = subject(model)
    named = came.layers[1].path
    found = Finding("linear-hidden", "severe", (named,), (), "", ("replace-activation",), "")
    made = next(sound_variants(came, came, Diagnosis((found,)), remedy_set(), cycled=True))
    assert activations(made) == ["elu", "elu", "gelu"]


def test_what_is_refused_or_chosen_already_is_left_out():
    came = subject(dense(6, activation="relu"))
    assert variants(came, keep=["insert-batch-norm"]) == [CYCLED]
    assert variants(came, keep=[*NORMALIZED]) == []
    first = next(sound_variants(came, came, NOTHING, remedy_set(), cycled=True))
    assert variants(came, best=first) == []


@pytest.mark.long
def test_a_training_outlives_those_of_subjects_that_are_alike():
    model, x, y = faulty.healthy_blobs()
    model.compile(keras.optimizers.SGD(0.05), faulty.SPARSE)
    spec = replace(subject(dense(1)).training, validation_data=(x[400:], y[400:]))
    came = Subject(model, x[:400], y[:400], spec)
    scoring = scoring_of(came)
    tools = Tools(remedy_set(), scoring)
    first = train_in_full(came, tools)
    kept = [np.asarray(one) for one in pull(first.restored()).trainable]
    train_in_full(came.with_training(seed=7), tools)
    for before, after in zip(kept, pull(first.restored()).trainable, strict=True):
        np.testing.assert_array_equal(after, before)
    assert scoring.score(came, first.restored()) == first.score


@pytest.mark.parametrize(
    ("scoring", "score", "little"),
    [
        (Scoring("val_accuracy", 0.1), 0.98, True),
        (Scoring("val_accuracy", 0.1), 0.97, False),
        (Scoring("val_rmse", 2.0), 0.27, True),
        (Scoring("val_rmse", 2.0), 0.29, False),
        (Scoring("val_loss", np.inf), 0.3, True),
        (Scoring("val_accuracy", 0.1), np.nan, False),
        (Scoring("val_rmse", 2.0), np.nan, False),
    ],
)
def test_how_much_is_left_to_learn(scoring: Scoring, score: float, little: bool):
    assert scoring.leaves_little(score) == little
