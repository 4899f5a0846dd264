"""Whose training a treatment ends with: trainings and proofs are made up, so that what is right is known."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from keras import layers

from kilter._compare.looks import Spending
from kilter._diagnosis.diagnose import Examined
from kilter._diagnosis.outcome import Outcome
from kilter._engine.history import History
from kilter._models.variables import pull
from kilter._records import Change, Diagnosis, Finding
from kilter._treatment.course import Round, Steps, _Course, course
from kilter._treatment.deadline import Deadline
from kilter._treatment.full_runs import FullRuns
from kilter._treatment.full_training import AsGiven, Trained
from kilter._treatment.minimal import Minimal
from kilter._treatment.plan import LATE, STRUCTURAL, RemedySet
from kilter._treatment.remedies import REMEDIES, Remedy
from kilter._treatment.result import Part, Trials
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import Choice, Search, Tools
from kilter._treatment.subject import Step, Subject

from .subjects import LABELS, X, dense, subject

SEVERE = Diagnosis((Finding("vanishing-gradients", "severe", ("training",), (), "", (), ""),))

KEPT = ("find-learning-rate",)  # a search takes seconds
SIBLING = Change("change-optimizer", ("optimizer",), "", "", "")


def trials(verdict: str) -> Trials:
    proof: Any = SimpleNamespace(differences=[SimpleNamespace(verdict=verdict)])
    return Trials("val_accuracy", 1, 80, (), proof)


def run(
    chosen: float,
    sibling: float | None,
    *unproven: str,
    full: float = 0.0,
    short: float = 0.8,
    found: Diagnosis = SEVERE,
    baseline: float = np.nan,
    plain: float = 0.1,
    tried: bool = False,
    rows: int = 96,
    fewer: float | None = None,
    examined_rows: Any = None,
    step: str = "shuffle",
    level: float = np.nan,
    tuned: float = np.nan,
):
    """The last subject's remedies, the scores of all full trainings, and the trials.

    ``sibling``: its score; None for no sibling. ``unproven``: whose proof fails, "chosen" or "sibling";
    ``full``: the work of a full training; ``short``: the score of the short trial; ``baseline``: what the
    baselines reach; ``plain``: what the original does. ``fewer``: the score of the chosen one after a change
    was taken out. ``level``: what the sibling reaches in short trials.
    ``tuned``: the skill of the original with the sibling's optimiser, as the diagnosis saw it.
    """
    original = subject(dense(5, activation="relu"), X[:rows], LABELS[:rows])
    mended = original.changed(Change("repair-output", ("output",), "", "", ""))
    best = replace(original.changed(Change(step, ("training",), "", "", "")), steps=(Step(step),))
    sound, less = original.changed(SIBLING), original.changed(Change("unfreeze", ("model",), "", "", ""))
    scoring = Scoring("val_accuracy", 0.1, baseline, slack=0.02)
    scores: list[float] = []

    def trained(one: Subject, score: float) -> Trained:
        return Trained(one, one.model, pull(one.model), History(), score)

    def train(one: Subject, tools: Tools) -> Trained:
        known = {id(best): chosen, id(sound): sibling, id(less): fewer}.get(id(one), 0.5)
        assert known is not None
        scores.append(known)
        return trained(one, known)

    def prove(original: Subject, one: Subject, *_: Any, **__: Any) -> Trials:
        return trials("no evidence" if ("chosen" if one is best else "sibling") in unproven else "better")

    def minimal(original: Subject, one: Subject, *_: Any) -> Minimal:
        part = Part("shuffle", kept=False, loss=0.0, without=0.8, alone=np.nan, pairs=3)
        return Minimal(one) if fewer is None else Minimal(less, (part,))

    search = Search(scoring, 1, 80, 0, 1.0, full=full)
    if np.isfinite(level):
        search.known = {(best, 1, 80): short} | {(sound, epochs, 80): level for epochs in range(1, 100)}
    again = Choice(original, np.nan, None) if found is SEVERE else Choice(best, short, search)
    steps = Steps(
        fewest=lambda *_: Choice(best, short, search),
        further_changes=lambda *_: again,
        persist=lambda choice, *_: choice,
        train=train,
        prove=prove,
        minimal=minimal,
        sibling=lambda *_, **__: None if sibling is None else sound,
        planned=lambda *_: search,
        lengthen=lambda *_: None,
    )
    given = trained(original, plain)
    repair = Remedy(lambda *_: mended)
    remedy_set = RemedySet({**REMEDIES, "repair-output": repair}, KEPT)
    again_of: Any = lambda *_: best  # noqa: E731
    if step != "shuffle":
        remedy_set.again = again_of
    tools = Tools(remedy_set, scoring)
    outcome = Outcome(planned=8, steps=8 if tried else 4, reached=plain, expected=plain)
    if np.isfinite(tuned):
        outcome = replace(outcome, sibling=tuned, tuned=tuned)
    known = Examined(found, outcome, rows=examined_rows)
    as_given = AsGiven(given, given, given)
    last = course(original, found, as_given, tools, Spending(12), steps, examined=known)
    assert last.trained is not None
    assert last.trained.subject is last.subject
    remedies = [change.remedy for change in last.subject.changes]
    return remedies, scores, [one.remedies[-1] for one in search.tried]


CHOSEN, SOUND = ["shuffle"], ["change-optimizer"]


def test_the_sound_sibling_takes_the_place_of_the_fewest_changes_if_it_gets_further():
    assert run(0.80, 0.90) == (SOUND, [0.80, 0.90], ["change-optimizer"])
    assert run(0.80, None) == (CHOSEN, [0.80], [])


@pytest.mark.parametrize(("chosen", "sibling"), [(0.80, 0.80), (0.80, 0.70), (0.80, np.nan)])
def test_else_the_fewest_changes_stay(chosen: float, sibling: float):
    assert run(chosen, sibling)[:2] == (CHOSEN, [chosen, sibling])


def test_what_does_not_reach_the_reference_gives_way_to_whatever_is_better():
    assert run(0.80, 0.805, baseline=0.80)[0] == SOUND  # the sibling is a reference too
    assert run(0.80, 0.80, baseline=0.81)[0] == CHOSEN


def test_a_network_without_findings_is_held_against_the_sibling():
    nothing = Diagnosis(())
    assert run(0.80, 0.90, found=nothing, plain=0.7)[0] == SOUND  # 22 points behind, on the way
    assert run(0.80, 0.90, found=nothing, plain=0.87)[0] == []  # how long to train is its owner's choice
    assert run(0.80, 0.90, "chosen", "sibling", found=nothing, plain=0.7)[0] == []
    assert run(0.05, 0.04, found=nothing)[0] == []  # proven in short trials, worse in full


def test_what_the_diagnosis_has_tried_in_full_is_not_tried_again():
    assert run(0.80, 0.90, found=Diagnosis(()), plain=0.7, tried=True)[:2] == ([], [])
    assert run(0.80, 0.90, found=Diagnosis(()), plain=0.05, tried=True)[0] == SOUND  # it learnt nothing


def test_the_sibling_is_not_trained_where_the_diagnosis_saw_it_get_no_further(monkeypatch):
    monkeypatch.setattr(Outcome, "is_behind_sibling", lambda *_: False)
    monkeypatch.setattr("kilter._treatment.course.skill_of", lambda *_: 0.8)
    rows: Any = object()
    assert run(0.80, 0.90, examined_rows=rows)[:2] == (CHOSEN, [0.80])
    assert run(0.80, 0.90)[0] == SOUND


COSTLY = 1e11


def test_a_costly_training_is_made_once():
    assert run(0.80, 0.82, level=0.85, full=COSTLY)[:2] == (SOUND, [0.82])  # ahead in short trials
    assert run(0.80, 0.82, level=0.805, full=COSTLY)[:2] == (CHOSEN, [0.80])
    assert run(0.80, 0.82, level=0.805, full=1e9)[:2] == (SOUND, [0.80, 0.82])


@pytest.mark.parametrize(("skill", "again"), [(0.9, True), (0.97, False)])
def test_a_costly_training_behind_what_the_diagnosis_saw_of_the_sibling_has_a_second_round(
    skill: float, again: bool, monkeypatch
):
    monkeypatch.setattr("kilter._treatment.course.skill_of", lambda *_: skill)
    rows: Any = object()
    slow = Diagnosis((replace(SEVERE.findings[0], remedies=("shuffle",)),))
    found = run(0.80, 0.9, level=0.7, full=COSTLY, found=slow, tuned=1.0, examined_rows=rows)
    assert found[:2] == ((SOUND, [0.80, 0.9]) if again else (CHOSEN, [0.80]))


def test_of_a_long_training_the_optimizer_is_tried_first_where_it_is_all_it_takes():
    slow = Diagnosis((replace(SEVERE.findings[0], code="rate-too-low", remedies=("find-learning-rate",)),))
    assert run(0.80, 0.90, found=slow, full=3e11, tuned=0.9) == (SOUND, [0.90], [])
    assert run(0.80, 0.90, "sibling", found=slow, full=3e11, tuned=0.9, level=0.7)[0] == CHOSEN


@pytest.mark.parametrize(("longer", "remedies"), [(0.8, ["train-longer"]), (0.705, [])])
def test_a_longer_training_is_judged_by_full_trainings(longer: float, remedies: list[str]):
    assert run(longer, None, "chosen", plain=0.7, step="train-longer")[0] == remedies


def test_what_is_not_proven_is_dropped():
    assert run(0.80, 0.90, "sibling")[0] == CHOSEN
    assert run(0.80, 0.90, "sibling", "chosen")[:2] == ([], [0.80, 0.90])
    assert run(0.98, 0.90, "chosen")[0] == SOUND  # in a second round
    assert run(0.98, None, "chosen")[:2] == ([], [0.98])


def test_no_sibling_is_trained_where_little_is_left_to_learn_or_it_would_take_too_long():
    assert run(0.98, 0.99)[:2] == (CHOSEN, [0.98])
    assert run(0.80, 0.5, full=3e11)[0] == CHOSEN


def test_what_learnt_nothing_in_its_trial_is_trained_in_full_only_without_a_sibling():
    assert run(0.80, 0.99, short=0.1)[:2] == (SOUND, [0.99])
    assert run(0.80, None, short=0.1)[:2] == (CHOSEN, [0.80])


def test_changes_that_do_not_earn_their_place_go_unless_the_full_training_loses_by_it():
    assert run(0.98, None, fewer=0.975) == (["unfreeze"], [0.98, 0.975], [])
    assert run(0.98, None, fewer=0.95) == (CHOSEN, [0.98, 0.95], [])


@pytest.mark.parametrize(
    ("scores", "stay"),
    [
        ({"a": 0.97}, "a"),
        ({"a": 0.7, "ab": 0.8, "abc": 0.96}, "abc"),  # c is put back after b, which helps a bit
        ({"a": 0.7, "ab": 0.69, "ac": 0.96}, "ac"),  # b gains nothing, so it stays out
        ({"a": 0.7, "ab": 0.6, "ac": 0.6, "ad": 0.6, "ae": 0.97}, "abcde"),  # three are tried
    ],
)
def test_removed_changes_are_put_back_one_by_one_if_full_training_loses(scores: dict[str, float], stay: str):
    """Of five changes all but "a" were removed; the effects in short training runs fall from "b" to "e"."""
    original, trained = subject(dense(5, activation="relu"), X, LABELS), list[str]()

    def made(codes: str) -> Subject:
        changes = tuple(Change(code, ("model",), "", "", "") for code in codes)
        return replace(original, changes=changes, steps=tuple(Step(code) for code in codes))

    def train(one: Subject, tools: Tools) -> Trained:
        trained.append("".join(one.remedies))
        return Trained(one, one.model, pull(one.model), History(), scores[trained[-1]])

    parts = [Part(code, False, 0.009 - 0.001 * place, 0.8, np.nan, 3) for place, code in enumerate("bcde")]
    remedy_set: Any = SimpleNamespace(again=lambda _, steps: made("".join(one.code for one in steps)))
    scoring, full = Scoring("val_accuracy", 0.1), made("abcde")
    best = Trained(full, full.model, pull(full.model), History(), 0.97)
    search = Search(scoring, 1, 80, 0, 1.0)
    begin = Round(original, best, trials("better"))
    steps = Steps(train=train, minimal=lambda *_: Minimal(made("a"), tuple(parts), 0.8))
    tools = Tools(remedy_set, scoring)
    found = _Course(begin, SEVERE, tools, Spending(12), steps, Examined(SEVERE))._fewest(
        replace(begin, subject=full), search
    )
    assert "".join(found.subject.remedies) == stay
    assert len(trained) <= 1 + original.policy.search.put_back
    assert {one.remedy for one in found.trials.parts if one.kept} == set(stay) - {"a"}


def test_where_time_ends_before_the_sibling_and_nothing_else_is_to_be_tried_nothing_changes():
    original = subject(dense(5, activation="relu"), X, LABELS)
    given = Trained(original, original.model, pull(original.model), History(), 0.1)
    begin, scoring = Round(original, given, trials("better")), Scoring("val_accuracy", 0.1)
    tools = Tools(RemedySet(REMEDIES), scoring, deadline=Deadline(1e-9))
    steps = Steps(
        sibling=lambda *_, **__: original.changed(SIBLING), planned=lambda *_: Search(scoring, 1, 80, 0, 1.0)
    )
    made = _Course(begin, SEVERE, tools, Spending(12), steps, Examined(SEVERE))
    assert made._settled(Choice(original, np.nan, None)) is begin
    assert tools.deadline.left_out == ["the sound sibling"]


def certain(code: str) -> Diagnosis:
    return Diagnosis((Finding(code, "severe", ("output",), (), "", ("repair-output",), ""),))


@pytest.mark.parametrize("code", [*STRUCTURAL, "vanishing-gradients", "sentinel-values"])
def test_an_output_that_cannot_fit_is_repaired_without_a_proof_where_rows_are_too_few(code: str):
    remedies = run(0.9, 0.9, "chosen", "sibling", found=certain(code), rows=30)[0]
    assert remedies == (["repair-output"] if code in STRUCTURAL else [])


@pytest.mark.parametrize("code", [*LATE, "vanishing-gradients"])
@pytest.mark.parametrize("full", [0.0, 1e12])
def test_a_certain_repair_that_short_trials_do_not_show_is_decided_by_full_training(code: str, full: float):
    found, late = certain(code), code in LATE
    assert run(0.9, None, "chosen", found=found, full=full)[0] == (["repair-output"] if late else [])
    assert run(0.9, None, "chosen", found=found, full=full, plain=0.5)[0] == []  # it gains nothing in full
    assert run(0.9, None, found=found, full=full)[0] == CHOSEN  # proven in short trials


@pytest.mark.parametrize(
    ("first", "again", "rate"), [(0.7, 0.9, 0.0), (0.7, 0.705, 0.2), (0.7, 0.6, 0.2), (0.99, 1.0, 0.2)]
)
def test_a_change_is_made_in_another_way_where_that_gets_clearly_further(
    first: float, again: float, rate: float
):
    def trained(one: Subject, score: float) -> Trained:
        return Trained(one, one.model, pull(one.model), History(), score)

    original = subject(dense(between=(lambda: layers.Dropout(0.9),)))
    remedy_set, scoring = RemedySet(REMEDIES), Scoring("val_accuracy", 0.1)
    eased = remedy_set.give("ease-regularization", original, SEVERE.findings[0])
    assert eased is not None
    begin = Round(original, trained(original, 0.1), trials("better"))
    runs = FullRuns(begin, SEVERE, Tools(remedy_set, scoring), scoring, lambda one, _: trained(one, again))
    found = runs.varied(Round(eased, trained(eased, first), trials("better")))
    assert {one.rate for one in found.subject.model.layers if isinstance(one, layers.Dropout)} == {rate}
    assert found.trained is not None
    assert found.trained.score == (again if rate == 0 else first)
    chosen = [one.outcome.endswith(", chosen") for one in found.trials.tried]
    assert chosen == ([rate == 0] if first < 0.98 else [])
