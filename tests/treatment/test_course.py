"""Whose training a treatment ends with: trainings and proofs are made up, so that what is right is known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from kilter._compare.looks import Spending
from kilter._engine.history import History
from kilter._models.variables import pull
from kilter._records import Change, Diagnosis, Finding
from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.plan import RemedySet
from kilter._treatment.remedies import REMEDIES
from kilter._treatment.result import Trials
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import Choice, Search, Tools
from kilter._treatment.subject import Subject
from kilter._treatment.treat import Steps, course

from .subjects import dense, subject

SEVERE = Diagnosis((Finding("vanishing-gradients", "severe", ("training",), (), "", (), ""),))

KEPT = ("find-learning-rate",)  # a search takes seconds


def trials(verdict: str) -> Trials:
    proof: Any = SimpleNamespace(differences=[SimpleNamespace(verdict=verdict)])
    return Trials("val_accuracy", 1, 80, (), proof)


def run(
    chosen: float,
    variant: float,
    *unproven: str,
    full: float = 0.0,
    short: float = 0.8,
    found: Diagnosis = SEVERE,
    baseline: float = np.nan,
):
    """The last subject's remedies, the scores of all full trainings, and the trials.

    ``unproven``: whose proof fails, "chosen" or "variant"; ``full``: the work of a full training; ``short``:
    the score of the short trial; ``baseline``: what the baselines reach.
    """
    original = subject(dense(5, activation="relu"))
    best = original.changed(Change("shuffle", ("training",), "", "", ""))
    scoring = Scoring("val_accuracy", 0.1, baseline)
    scores: list[float] = []

    def trained(one: Subject, score: float) -> Trained:
        return Trained(one, one.model, pull(one.model), History(), score)

    def train(one: Subject, tools: Tools) -> Trained:
        scores.append(chosen if one is best else variant)
        return trained(one, scores[-1])

    def prove(original: Subject, one: Subject, *_: Any, **__: Any) -> Trials:
        return trials("no evidence" if ("chosen" if one is best else "variant") in unproven else "better")

    search = Search(scoring, 1, 80, 0, 1.0, full=full)
    again = Choice(original, np.nan, None) if found is SEVERE else Choice(best, short, search)
    steps = Steps(
        fewest=lambda *_: Choice(best, short, search),
        further_changes=lambda *_: again,
        persist=lambda choice, *_: choice,
        train=train,
        prove=prove,
    )
    given = trained(original, 0.1)
    tools = Tools(RemedySet(REMEDIES, KEPT), scoring)
    last = course(original, found, AsGiven(given, given, given), tools, Spending(6), steps)
    assert last.trained is not None
    assert last.trained.subject is last.subject
    remedies = [change.remedy for change in last.subject.changes]
    return remedies, scores, [one.remedies[-1] for one in search.tried]


PLAIN = ["replace-activation", "change-optimizer"]


def test_a_sound_variant_that_gets_further_takes_the_place_of_the_fewest_changes():
    remedies, scores, tried = run(0.80, 0.82)
    assert remedies == PLAIN
    assert scores == [0.80, 0.82, 0.82]
    assert tried == ["change-optimizer", "one-cycle"]
    assert run(0.80, 0.98)[1] == [0.80, 0.98]  # nothing is left for a second one


@pytest.mark.parametrize(("chosen", "variant"), [(0.80, 0.805), (0.80, 0.70), (0.80, np.nan)])
def test_else_the_fewest_changes_stay(chosen: float, variant: float):
    remedies, scores, _ = run(chosen, variant)
    assert remedies == ["shuffle"]
    assert len(scores) == 3


def test_what_does_not_reach_the_baselines_gives_way_to_whatever_is_better():
    assert run(0.80, 0.805, baseline=0.80)[0] == ["shuffle"]
    assert run(0.80, 0.805, baseline=0.81)[0] == PLAIN
    assert run(0.80, 0.80, baseline=0.81)[0] == ["shuffle"]


def test_a_network_that_looked_sound_and_falls_short_is_held_against_variants_too():
    nothing = Diagnosis(())
    remedies, scores, _ = run(0.80, 0.90, found=nothing)
    assert remedies[-2:] == PLAIN  # after what is found in the network itself
    assert scores == [0.80, 0.90, 0.90]
    assert run(0.80, 0.70, found=nothing)[0] == ["shuffle"]
    assert run(0.80, 0.90, "chosen", "variant", found=nothing)[0] == []
    assert run(0.05, 0.04, found=nothing)[0] == []  # proven in short trials, worse in full


def test_what_is_not_proven_is_dropped():
    assert run(0.80, 0.90, "variant")[0] == ["shuffle"]
    remedies, scores, _ = run(0.80, 0.90, "variant", "chosen")
    assert remedies == []
    assert scores == [0.80, 0.90, 0.90]
    assert run(0.98, 0.90, "chosen")[:2] == ([], [0.98])


def test_no_variant_is_trained_where_little_is_left_to_learn_or_it_would_take_too_long():
    assert run(0.98, 0.99)[:2] == (["shuffle"], [0.98])
    assert run(0.80, 0.99, full=3e11)[:2] == (["shuffle"], [0.80])


def test_what_learnt_nothing_in_its_trial_is_trained_in_full_only_where_there_is_no_time_for_a_variant():
    assert run(0.80, 0.99, short=0.1)[:2] == (PLAIN, [0.99])
    assert run(0.80, 0.90, short=0.1)[:2] == (PLAIN, [0.90, 0.90])
    assert run(0.80, 0.90, short=0.1, full=3e11)[:2] == (["shuffle"], [0.80])
