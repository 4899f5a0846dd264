"""Whose training a treatment ends with: trainings and proofs are made up, so that what is right is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kilter._engine.history import History
from kilter._models.variables import pull
from kilter._records import Change, Diagnosis, Finding
from kilter._treatment import session as module
from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.plan import RemedySet
from kilter._treatment.remedies import REMEDIES
from kilter._treatment.result import Trials
from kilter._treatment.safeguard import Returned
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import Choice, Means, Search
from kilter._treatment.session import Session
from kilter._treatment.subject import Subject

from .subjects import dense, subject

SEVERE = Diagnosis((Finding("vanishing-gradients", "severe", ("training",), (), "", (), ""),))

KEPT = ("find-learning-rate",)  # a search takes seconds


def trials(verdict: str) -> Trials:
    proof: Any = SimpleNamespace(differences=[SimpleNamespace(verdict=verdict)])
    return Trials("val_accuracy", 1, 80, (), proof)


def run(
    monkeypatch,
    chosen: float,
    variant: float,
    *unproven: str,
    seconds: float = 0.0,
    short: float = 0.8,
    found: Diagnosis = SEVERE,
    plain: float = np.nan,
):
    """The last subject's remedies, the scores of all full trainings, and the trials.

    ``unproven``: whose proof fails, "chosen" or "variant"; ``short``: the score of the short trial;
    ``plain``: what plain methods reach.
    """
    came = subject(dense(5, activation="relu"))
    best = came.changed(Change("shuffle", ("training",), "", "", ""))
    scoring = Scoring("val_accuracy", 0.1, plain)
    scores: list[float] = []

    def train(one: Subject, scoring: Scoring, progress: Any = None) -> Trained:
        score = chosen if one is best else variant
        scores.append(score)
        return Trained(one, one.model, pull(one.model), History(), score, seconds)

    def train_as_given(one: Subject, scoring: Scoring, progress: Any = None) -> AsGiven:
        trained = Trained(one, one.model, pull(one.model), History(), 0.1, seconds)
        return AsGiven(trained, trained, trained)

    def safest(came: Subject, treated: Trained | None, given: AsGiven, scoring: Scoring) -> Returned:
        return Returned(treated or given.best, "", (), {}, {})

    def proven(came: Subject, one: Subject, *_: Any, **__: Any) -> Trials:
        return trials("no evidence" if ("chosen" if one is best else "variant") in unproven else "better")

    search = Search(scoring, 1, 80, 0, 1.0, full=seconds)
    again = Choice(came, np.nan, None) if found is SEVERE else Choice(best, short, search)
    monkeypatch.setattr(module, "train_in_full", train)
    monkeypatch.setattr(module, "train_as_given", train_as_given)
    monkeypatch.setattr(module, "safest", safest)
    monkeypatch.setattr(module, "fewest", lambda *_, **__: Choice(best, short, search))
    monkeypatch.setattr(module, "persist", lambda choice, *_: choice)
    monkeypatch.setattr(module, "further_changes", lambda *_, **__: again)
    monkeypatch.setattr(module, "proven", proven)
    outcome = Session(came, found, Means(RemedySet(REMEDIES, KEPT), scoring, 1.0, 0), 6).run()
    last = outcome.subject
    assert outcome.returned.trained.subject is last
    return [change.remedy for change in last.changes], scores, [one.remedies[-1] for one in search.tried]


PLAIN = ["replace-activation", "change-optimizer"]


def test_a_sound_variant_that_gets_further_takes_the_place_of_the_fewest_changes(monkeypatch):
    remedies, scores, tried = run(monkeypatch, 0.80, 0.82)
    assert remedies == PLAIN
    assert scores == [0.80, 0.82, 0.82]
    assert tried == ["change-optimizer", "one-cycle"]
    assert run(monkeypatch, 0.80, 0.98)[1] == [0.80, 0.98]  # nothing is left for a second one


@pytest.mark.parametrize(("chosen", "variant"), [(0.80, 0.805), (0.80, 0.70), (0.80, np.nan)])
def test_else_the_fewest_changes_stay(monkeypatch, chosen: float, variant: float):
    remedies, scores, _ = run(monkeypatch, chosen, variant)
    assert remedies == ["shuffle"]
    assert len(scores) == 3


def test_what_does_not_reach_plain_methods_gives_way_to_whatever_is_better(monkeypatch):
    assert run(monkeypatch, 0.80, 0.805, plain=0.80)[0] == ["shuffle"]
    assert run(monkeypatch, 0.80, 0.805, plain=0.81)[0] == PLAIN
    assert run(monkeypatch, 0.80, 0.80, plain=0.81)[0] == ["shuffle"]


def test_a_network_that_looked_sound_and_falls_short_is_held_against_variants_too(monkeypatch):
    nothing = Diagnosis(())
    remedies, scores, _ = run(monkeypatch, 0.80, 0.90, found=nothing)
    assert remedies[-2:] == PLAIN  # after what is found in the network itself
    assert scores == [0.80, 0.90, 0.90]
    assert run(monkeypatch, 0.80, 0.70, found=nothing)[0] == ["shuffle"]
    assert run(monkeypatch, 0.80, 0.90, "chosen", "variant", found=nothing)[0] == []
    assert run(monkeypatch, 0.05, 0.04, found=nothing)[0] == []  # proven in short trials, worse in full


def test_what_is_not_proven_is_dropped(monkeypatch):
    assert run(monkeypatch, 0.80, 0.90, "variant")[0] == ["shuffle"]
    remedies, scores, _ = run(monkeypatch, 0.80, 0.90, "variant", "chosen")
    assert remedies == []
    assert scores == [0.80, 0.90, 0.90]
    assert run(monkeypatch, 0.98, 0.90, "chosen")[:2] == ([], [0.98])


def test_no_variant_is_trained_where_little_is_left_to_learn_or_it_would_take_too_long(monkeypatch):
    assert run(monkeypatch, 0.98, 0.99)[:2] == (["shuffle"], [0.98])
    assert run(monkeypatch, 0.80, 0.99, seconds=30.0)[:2] == (["shuffle"], [0.80])


def test_what_learnt_nothing_in_its_trial_is_trained_in_full_only_where_there_is_no_time_for_a_variant(
    monkeypatch,
):
    assert run(monkeypatch, 0.80, 0.99, short=0.1)[:2] == (PLAIN, [0.99])
    assert run(monkeypatch, 0.80, 0.90, short=0.1)[:2] == (PLAIN, [0.90, 0.90])
    assert run(monkeypatch, 0.80, 0.90, short=0.1, seconds=30.0)[:2] == (["shuffle"], [0.80])
