"""Whose training a treatment ends with: trainings and proofs are made up, so that what is right is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kilter.engine.bridge import pull
from kilter.engine.history import History
from kilter.records import Change, Diagnosis, Finding
from kilter.treatment import course as module
from kilter.treatment.choosing import Choice, Means, Search
from kilter.treatment.course import Course, Trained
from kilter.treatment.patient import Patient
from kilter.treatment.plan import Cabinet
from kilter.treatment.remedies import REMEDIES
from kilter.treatment.scoring import Scoring
from kilter.treatment.treatment import Trials

from .patients import dense, patient

SEVERE = Diagnosis((Finding("vanishing-gradients", "severe", ("training",), (), "", (), ""),))


SCORING = Scoring("val_accuracy", 0.1)
KEPT = ("find-learning-rate",)  # a search takes seconds


def trials(verdict: str) -> Trials:
    proof: Any = SimpleNamespace(differences=[SimpleNamespace(verdict=verdict)])
    return Trials("val_accuracy", 1, 80, (), proof)


def run(monkeypatch, chosen: float, variant: float, *unproven: str, seconds: float = 0.0, short: float = 0.8):
    """The last patient's remedies, the scores of all full trainings, and the trials.

    ``unproven``: whose proof fails, "chosen" or "variant"; ``short``: the score of the short trial.
    """
    came = patient(dense(6, activation="relu"))
    best = came.changed(Change("shuffle", ("training",), "", "", ""))
    scores: list[float] = []

    def train(one: Patient, scoring: Scoring) -> Trained:
        score = 0.1 if one is came else chosen if one is best else variant
        scores.append(score)
        return Trained(one, one.model, pull(one.model), History(), score, seconds)

    def proven(came: Patient, one: Patient, *_: Any, **__: Any) -> Trials:
        return trials("no evidence" if ("chosen" if one is best else "variant") in unproven else "better")

    search = Search(SCORING, 1, 80, 0, 1.0, full=seconds)
    monkeypatch.setattr(module, "train_in_full", train)
    monkeypatch.setattr(module, "fewest", lambda *_, **__: Choice(best, short, search))
    monkeypatch.setattr(module, "persist", lambda choice, *_: choice)
    monkeypatch.setattr(module, "further_changes", lambda *_, **__: Choice(came, np.nan, None))
    monkeypatch.setattr(module, "proven", proven)
    last, done, _ = Course(came, SEVERE, Means(Cabinet(REMEDIES, KEPT), SCORING, 1.0, 0), 6).run()
    assert done.patient is last
    return [change.remedy for change in last.changes], scores, [one.remedies[-1] for one in search.tried]


PLAIN = ["replace-activation", "change-optimizer"]


def test_a_sound_variant_that_gets_further_takes_the_place_of_the_fewest_changes(monkeypatch):
    remedies, scores, tried = run(monkeypatch, 0.80, 0.82)
    assert remedies == PLAIN
    assert scores == [0.80, 0.82, 0.82]
    assert tried == ["change-optimizer"] * 2
    assert run(monkeypatch, 0.80, 0.98)[1] == [0.80, 0.98]  # nothing is left for a second one


@pytest.mark.parametrize(("chosen", "variant"), [(0.80, 0.805), (0.80, 0.70), (0.80, np.nan)])
def test_else_the_fewest_changes_stay(monkeypatch, chosen: float, variant: float):
    remedies, scores, _ = run(monkeypatch, chosen, variant)
    assert remedies == ["shuffle"]
    assert len(scores) == 3


def test_what_is_not_proven_is_dropped(monkeypatch):
    assert run(monkeypatch, 0.80, 0.90, "variant")[0] == ["shuffle"]
    remedies, scores, _ = run(monkeypatch, 0.80, 0.90, "variant", "chosen")
    assert remedies == []
    assert scores[-1] == 0.1
    assert run(monkeypatch, 0.98, 0.90, "chosen")[:2] == ([], [0.98, 0.1])


def test_no_variant_is_trained_where_little_is_left_to_learn_or_it_would_take_too_long(monkeypatch):
    assert run(monkeypatch, 0.98, 0.99)[:2] == (["shuffle"], [0.98])
    assert run(monkeypatch, 0.80, 0.99, seconds=20.0)[:2] == (["shuffle"], [0.80])


def test_what_learnt_nothing_in_its_trial_is_trained_in_full_only_where_there_is_no_time_for_a_variant(
    monkeypatch,
):
    assert run(monkeypatch, 0.80, 0.99, short=0.1)[:2] == (PLAIN, [0.99])
    assert run(monkeypatch, 0.80, 0.90, short=0.1)[:2] == (PLAIN, [0.90, 0.90])
    assert run(monkeypatch, 0.80, 0.90, short=0.1, seconds=20.0)[:2] == (["shuffle"], [0.80])
