"""The registry of measures: every one against its definition, and what is chosen for rare classes."""

import numpy as np
import pytest
from sklearn import metrics as sk

from kilter import _measures
from kilter._measures import Answers

RNG = np.random.default_rng(0)
TWO = RNG.integers(0, 2, 60)
THREE = RNG.integers(0, 3, 60)
MASK, GUESS = RNG.random((5, 40)) < 0.2, RNG.random((5, 40)) < 0.3
NUMBERS = RNG.normal(size=(30, 2))
GIVEN = NUMBERS + RNG.normal(size=(30, 2))


def classes(true, count, positive=1):
    shares = RNG.dirichlet(np.ones(count), len(true))
    return Answers("classes", true, shares.argmax(axis=1), shares, positive)


TWO_CLASSES, FLIPPED, MANY = classes(TWO, 2), classes(TWO, 2, positive=0), classes(THREE, 3)
NUMERIC, MASKS = Answers("numbers", NUMBERS, GIVEN), Answers("masks", MASK, GUESS)

# The measure, the answers, and the value by another way of computing it.
CASES = [
    ("accuracy", MANY, sk.accuracy_score(THREE, MANY.given)),
    ("balanced_accuracy", MANY, sk.balanced_accuracy_score(THREE, MANY.given)),
    ("average_precision", TWO_CLASSES, sk.average_precision_score(TWO, TWO_CLASSES.shares[:, 1])),
    ("average_precision", FLIPPED, sk.average_precision_score(1 - TWO, FLIPPED.shares[:, 0])),
    ("average_precision", MANY, sk.average_precision_score(np.eye(3)[THREE], MANY.shares)),
    ("roc_auc", TWO_CLASSES, sk.roc_auc_score(TWO, TWO_CLASSES.shares[:, 1])),
    ("roc_auc", MANY, sk.roc_auc_score(THREE, MANY.shares, multi_class="ovr")),
    ("precision", TWO_CLASSES, sk.precision_score(TWO, TWO_CLASSES.given)),
    ("precision", MANY, sk.precision_score(THREE, MANY.given, average="macro")),
    ("recall", FLIPPED, sk.recall_score(TWO, FLIPPED.given, pos_label=0)),
    ("recall", MANY, sk.recall_score(THREE, MANY.given, average="macro")),
    ("f1", TWO_CLASSES, sk.f1_score(TWO, TWO_CLASSES.given)),
    ("f1", MANY, sk.f1_score(THREE, MANY.given, average="macro")),
    ("rmse", NUMERIC, np.sqrt(((NUMBERS - GIVEN) ** 2).mean())),
    ("mae", NUMERIC, np.abs(NUMBERS - GIVEN).mean()),
    ("r2", NUMERIC, sk.r2_score(NUMBERS, GIVEN)),
    ("iou", MASKS, sk.jaccard_score(MASK.ravel(), GUESS.ravel())),
    ("dice", MASKS, sk.f1_score(MASK.ravel(), GUESS.ravel())),
    ("pixel_accuracy", MASKS, (MASK == GUESS).mean()),
]


@pytest.mark.parametrize(("name", "answers", "expected"), CASES)
def test_every_measure_has_its_definition(name, answers, expected):
    assert _measures.value(name, answers) == pytest.approx(expected)
    assert _measures.measured(answers)[name] == pytest.approx(expected)
    assert type(_measures.value(name, answers)) is float  # a numpy.bool of comparisons breaks text


def test_no_measure_is_without_a_case():
    assert {one.name for one in _measures.REGISTRY} == {name for name, _, _ in CASES}


def test_outputs_that_are_not_finite_have_no_measure():
    broken = Answers("numbers", NUMBERS, np.where(NUMBERS.max() == NUMBERS, np.nan, GIVEN))
    assert all(np.isnan(value) for value in _measures.measured(broken).values())


@pytest.mark.parametrize(
    ("counts", "rare", "fitting"),
    [
        ([93, 7], 1, "average_precision"),
        ([7, 93], 0, "average_precision"),
        ([80, 20], None, "accuracy"),
        ([50, 40, 10], 2, "balanced_accuracy"),
        ([50] * 10, None, "accuracy"),
        ([50, 0, 40], None, "accuracy"),
    ],
)
def test_a_rare_class_is_never_judged_by_accuracy(counts, rare, fitting):
    assert _measures.rare_class(np.array(counts)) == rare
    assert _measures.fitting("classes", np.array(counts)) == fitting


def test_the_threshold_separates_what_can_be_separated():
    true = np.repeat([False, True], [90, 10])
    shares = np.concatenate([np.linspace(0, 0.2, 90), np.linspace(0.3, 0.4, 10)])
    assert 0.1 < _measures.best_threshold(true, shares, 0.1) <= 0.3
    assert _measures.best_threshold(true[:93], shares[:93], 0.1) is None, "three rows tell nothing"
    assert _measures.best_threshold(true, np.full(100, np.nan), 0.1) is None
