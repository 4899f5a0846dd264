"""``treat``: find what is wrong with a model, change it, prove the changes, and train the result.

The course, from top to bottom: diagnosis → candidates and short trials (:mod:`search`) → full training
(:mod:`full_training`) → proof (:mod:`proof`) → result. Each step is a function of the records before it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import keras

from kilter._array_types import Arrays, HeldOut
from kilter._compare.looks import Spending
from kilter._diagnosis.diagnose import examined
from kilter._engine.augmenting import Augment
from kilter._engine.measuring import probe
from kilter._engine.program_cache import shared_programs
from kilter._engine.scheduling import Schedule
from kilter._engine.training_spec import TrainingSpec
from kilter._progress import Verbose, shown
from kilter._records import Diagnosis, Measurements, ranked
from kilter._treatment.deadline import Deadline
from kilter._treatment.full_training import AsGiven, Trained, train_as_given, train_in_full
from kilter._treatment.plan import RemedySet, sound_variants, symptom
from kilter._treatment.policy import Policy
from kilter._treatment.proof import proven
from kilter._treatment.remedies import REMEDIES, Remedy
from kilter._treatment.request import check_numbers, kept, readable, subject_of
from kilter._treatment.result import Evaluation, Treatment, Trial, Trials
from kilter._treatment.safeguard import Returned, safest
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.search import Choice, Search, Tools, fewest, further_changes, persist
from kilter._treatment.subject import Subject
from kilter.errors import KilterError
from kilter.schedules import Performance


def treat(
    model: keras.Model,
    x: Arrays,
    y: Arrays,
    *,
    validation_data: tuple[HeldOut, ...] | None = None,
    batch_size: int = 32,
    epochs: int = 10,
    shuffle: bool = True,
    class_weight: Mapping[int, float] | None = None,
    sample_weight: Arrays | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    schedule: Schedule | Performance | None = None,
    augment: Augment | None = None,
    budget: float = 1.0,
    pairs: int = 6,
    seed: int = 0,
    keep: Collection[str] = (),
    remedies: Mapping[str, Remedy] = REMEDIES,
    policy: Policy | None = None,
    max_seconds: float | None = None,
    verbose: Verbose = "auto",
) -> Treatment:
    """Find what is wrong with a model, change it, prove the changes, and train the result.

    The model is diagnosed (:func:`kilter.diagnose`). Sets of remedies for its severe findings are tried in
    short trainings, causes before symptoms. The smallest set that suffices is trained for ``epochs``,
    stopped early at the best validation loss. If much is left to learn and the budget allows, variants that
    are sound throughout are trained too. The best result is tested on paired seeds against the original
    model; changes that are not proven, or that make any output's own measure worse, are dropped. A model
    without severe findings is trained as it is; it is treated only if it then falls short of the baselines.

    The returned model is not worse than the original one. The original model is trained too, with exactly the
    training given here, and both are scored on the same validation rows, by every measure of every output:
    accuracy for classes (balanced accuracy too if a class has less than a fifth of the rows), accuracy and
    IoU for binary elements, root mean squared error for numbers, and compiled metrics. If the treated model
    is worse on any of them by more than one standard error of the paired difference (a jackknife over 20
    groups of rows), the original model is returned, and ``.kept`` says why. A model that has learnt
    something already is returned untrained if more training makes it worse.

    Unless ``max_seconds`` is given, no clock decides anything: the same call with the same seed gives the
    same result on the same machine.

    Args:
        model: compiled; it is not changed, the treated model is a copy.
        x, y: training data, arrays or nests of arrays.
        validation_data: (x, y) or (x, y, sample_weight). Without it a fifth of the rows, drawn with
            ``seed``, is held out.
        batch_size, epochs, shuffle, class_weight, sample_weight, callbacks, schedule, augment: as for
            :func:`kilter.fit`; every training uses them, short trials too. Callbacks are copied for each
            training. A model made for one batch size is trained and scored with whole batches of that size.
        budget: scales the work of trials, as a multiple of the full training's.
        pairs: the number of paired seeds of a proof, at least 6: fewer cannot reach a p of 0.05.
        seed: of weights, orders and searches.
        keep: codes of remedies that are not used, and names of layers that are not changed.
        remedies: the remedies to choose from, by code.
        policy: every number that decides, see :class:`kilter.Policy`.
        max_seconds: when to stop early: after the epoch, short trial or part of the proof that is running
            then. Changes that are not proven by then are dropped; ``.stopped`` says what was left out.
        verbose: as for :func:`kilter.diagnose`.

    Raises what :func:`kilter.diagnose` raises, and :class:`~kilter.errors.OptionError` for pairs below 6, a
    negative budget, a max_seconds that is not above 0, options that :func:`kilter.fit` refuses, and names in
    ``keep`` that are neither a remedy nor a layer.
    """
    began = time.perf_counter()  # for the report; nothing depends on it
    policy = Policy() if policy is None else policy
    check_numbers(pairs, budget, policy.search.level, max_seconds)
    deadline = Deadline(max_seconds)
    spec = TrainingSpec(
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        validation_data=validation_data,
        class_weight=class_weight,
        sample_weight=sample_weight,
        schedule=schedule,
        augment=augment,
        callbacks=tuple(callbacks) if isinstance(callbacks, Sequence) else (callbacks,),
        seed=seed,
    )
    asked = subject_of(model, x, y, spec, policy)
    with shown(verbose) as progress, shared_programs():
        found = examined(model, asked.x, asked.y, asked.training, progress)
        original = readable(asked)
        remedy_set = RemedySet(remedies, kept(model, keep, remedies))
        progress.stage("Treating: measuring what nearest neighbours and ridge regression reach")
        tools = Tools(remedy_set, scoring_of(original), budget, progress, deadline)
        given = train_as_given(original, tools)
        spending = Spending(pairs, policy.search.level)
        noise = found.noise and tools.scoring.learnt_nothing(given.best.score)
        if noise:
            best = unchanged(original, given, tools)
        else:
            best = course(original, found.diagnosis, given, tools, spending)
        treated = None if best.subject is original else best.trained
        returned = safest(original, treated, given, tools.scoring)
        progress.stage("Diagnosing the trained model")
        result = _result(original, found.diagnosis, best.trials, returned, tools, began)
        return replace(result, noise=_noise(found.diagnosis)) if noise else result


def _noise(diagnosis: Diagnosis) -> str:
    """The finding that says that there is nothing to learn, in words."""
    return next(one.explanation for one in diagnosis.findings if one.code == "shuffled-labels")


@dataclass(frozen=True, eq=False)
class Round:
    """The best subject so far, its full training if there was one, and the trials that chose its changes."""

    subject: Subject
    trained: Trained | None
    trials: Trials


@dataclass(frozen=True)
class Steps:
    """The functions that search, train and prove; others in tests of the course itself."""

    fewest: Callable[..., Choice] = fewest
    further_changes: Callable[..., Choice] = further_changes
    persist: Callable[..., Choice] = persist
    train: Callable[..., Trained] = train_in_full
    prove: Callable[..., Trials] = proven


def course(
    original: Subject,
    diagnosis: Diagnosis,
    given: AsGiven,
    tools: Tools,
    spending: Spending,
    steps: Steps | None = None,
) -> Round:
    """The best subject, trained: of one round, or of two if the first falls short of the baselines.

    The second round goes on from what the first one proved, with longer trials, and takes warnings as severe.
    """
    return _Course(unchanged(original, given, tools), diagnosis, tools, spending, steps or Steps()).run()


def unchanged(original: Subject, given: AsGiven, tools: Tools) -> Round:
    """The original model, trained as it came, and no trials."""
    return Round(original, given.best, Trials(tools.scoring.measure, 0, 0))


@dataclass(frozen=True, eq=False)
class _Course:
    unchanged: Round
    diagnosis: Diagnosis
    tools: Tools
    spending: Spending
    steps: Steps

    def run(self) -> Round:
        diagnosis, scoring = self.diagnosis, self.tools.scoring
        first = self.unchanged if diagnosis.ok else self._first_round()
        done = self._trained(first)
        # A network with warnings is expected to reach as much as others.
        sound = not diagnosis.codes("severe") and not diagnosis.codes("warning")
        if not scoring.falls_short(done.score, sound=sound) or self._stops("a second search"):
            return Round(first.subject, done, first.trials)
        found = _shortfall(diagnosis, done.diagnosis)
        choice = self.steps.further_changes(first.subject, found, self.tools)
        if choice.search is None:
            return Round(first.subject, done, first.trials)
        # Without a first round, sound variants have not been trained yet.
        second = self._settled(choice, found if diagnosis.ok else None)
        if not second.trials.proven:
            return Round(first.subject, done, second.trials if first.trials.proof is None else first.trials)
        again = self._trained(second)
        if scoring.better_by(again.score, done.score) > 0:
            return Round(second.subject, again, second.trials)
        return Round(first.subject, done, first.trials)

    def _first_round(self) -> Round:
        """The fewest changes that suffice, or a sound variant that gets further."""
        if self._stops("the search for changes"):
            return self.unchanged
        choice = self.steps.fewest(self.unchanged.subject, self.diagnosis, self.tools)
        if choice.search is None:
            return self.unchanged
        if _is_long(choice.search):  # there will be one full training: of what is proven
            choice = self.steps.persist(choice, self.diagnosis, self.tools.remedy_set)
        return self._settled(choice, self.diagnosis)

    def _settled(self, choice: Choice, varied: Diagnosis | None) -> Round:
        """The chosen subject, or a sound variant that gets clearly further; unchanged if neither is proven.

        ``varied``: what variants treat; None for no variants. A choice that has learnt nothing in its short
        trial is trained in full only if there is no variant. If a training is long, there are no variants,
        and nothing is trained here.
        """
        search, scoring = choice.search, self.tools.scoring
        assert search is not None
        if _is_long(search):
            return self._proven(choice.subject, None, self._tested(choice.subject, search))
        trained: list[Trained] = []
        if varied is None or not scoring.learnt_nothing(choice.score):
            trained = [self.steps.train(choice.subject, self.tools)]
        if varied is not None and not (trained and scoring.leaves_little(trained[0].score)):
            made = list(self._variants(choice.subject, search, varied))
            search.tried += map(_trial, made)
            trained += made
        if not trained:
            choice = self.steps.persist(choice, varied or Diagnosis(()), self.tools.remedy_set)
            trained = [self.steps.train(choice.subject, self.tools)]
        one, *others = _ranked(trained, scoring)
        trials = self._tested(one.subject, search)
        if others and not trials.proven:
            (one,) = others
            trials = self._tested(one.subject, search, before=trials)
        return self._proven(one.subject, one, trials)

    def _proven(self, subject: Subject, trained: Trained | None, trials: Trials) -> Round:
        if trials.proven:
            return Round(subject, trained, trials)
        return Round(self.unchanged.subject, self.unchanged.trained, trials)

    def _trained(self, best: Round) -> Trained:
        return self.steps.train(best.subject, self.tools) if best.trained is None else best.trained

    def _tested(self, chosen: Subject, search: Search, *, before: Trials | None = None) -> Trials:
        """The trials, with the next test of the plan; a test that proves something gives its level back."""
        if self._stops("the proof of the changes"):
            return before or Trials(search.scoring.measure, search.epochs, search.rows, tuple(search.tried))
        test = self.spending.take()
        trials = self.steps.prove(self.unchanged.subject, chosen, search, test, before=before)
        if trials.proven:
            self.spending.give_back(test)
        return trials

    def _variants(self, chosen: Subject, search: Search, found: Diagnosis) -> Iterator[Trained]:
        """Sound variants, trained, until one leaves little to learn or the next would exceed the budget."""
        # Regression benefits from a high learning rate to the end, classification from one that falls to 0.
        cycled = self.tools.scoring.measure == "val_accuracy"
        policy, each = search.policy, search.full + search.cost.compilation
        allowed = policy.variant_work + policy.variant_share * self.tools.budget * search.full
        original, remedy_set = self.unchanged.subject, self.tools.remedy_set
        variants = sound_variants(original, chosen, found, remedy_set, cycled=cycled)
        for one in islice(variants, int(allowed // each)):
            if self._stops("sound variants"):
                return
            trained = self.steps.train(one, self.tools)
            yield trained
            if self.tools.scoring.leaves_little(trained.score):
                return

    def _stops(self, step: str) -> bool:
        return self.tools.deadline.stops(step)


def _is_long(search: Search) -> bool:
    """Whether a full training is more work than all variants together may be."""
    return search.full > search.policy.variant_work


def _ranked(trained: Sequence[Trained], scoring: Scoring) -> list[Trained]:
    """The best one and the fewest changes; these alone if no other training got clearly further."""
    first = trained[0]
    best = max(trained, key=lambda one: scoring.sign * one.score if math.isfinite(one.score) else -math.inf)
    gain = scoring.better_by(best.score, first.score)
    # Where the fewest changes do not reach the baselines, any gain counts.
    further = gain > (0 if scoring.is_behind(first.score) else scoring.clear)
    return [best, first] if best is not first and further else [first]


def _trial(trained: Trained) -> Trial:
    seconds = trained.history.seconds
    each = sum(seconds) / max(len(seconds), 1)
    return Trial(trained.subject.remedies, trained.score, each, "full training: sound variant")


def _shortfall(found: Diagnosis, trained: Diagnosis) -> Diagnosis:
    """The findings before and after the training, and a severe one for its falling short."""
    reached = (
        "After all epochs the model is no better than a constant answer, or clearly worse than a baseline."
    )
    short = symptom(("training",), reached, "find-learning-rate")
    return Diagnosis(ranked([*found.findings, *trained.findings, short])).raised()


def _result(
    original: Subject, diagnosis: Diagnosis, trials: Trials, returned: Returned, tools: Tools, began: float
) -> Treatment:
    """Everything that the report shows, measured now; neither the original model nor the data are kept."""
    done, best = returned.trained, returned.trained.subject
    tried = dict.fromkeys(code for one in trials.tried for code in one.remedies)
    before = _measured(original)
    score, curves = _first_trial(trials)
    after = before if best is original else _measured(best)
    return Treatment(
        model=done.restored(),
        changes=best.changes,
        dropped=tuple(code for code in tried if code not in best.remedies),
        trials=trials,
        before=Evaluation(diagnosis, score, curves, returned.before, before),
        after=Evaluation(done.diagnosis, done.score, done.history.history, returned.after, after),
        seconds=time.perf_counter() - began,
        name=original.model.name,
        skipped={
            code: reason for code, reason in tools.remedy_set.skipped.items() if code not in best.remedies
        },
        checks=returned.checks,
        kept=returned.kept,
        stopped=str(tools.deadline),
    )


def _measured(subject: Subject) -> Measurements | None:
    """One forward and backward pass through the layers; None for data that the model cannot take."""
    try:
        return probe(subject.model, subject.x, subject.y, seed=subject.seed)
    except KilterError:
        return None


def _first_trial(trials: Trials) -> tuple[float, dict[str, list[float]]]:
    """The original model's median score in the proof and the curves of its first run; NaN without a proof."""
    if trials.proof is None:
        return math.nan, {}
    original = trials.proof.baseline
    history = original.runs[0].history
    names = dict.fromkeys(name for line in history for name in line)
    return original.median, {name: [line[name] for line in history if name in line] for name in names}
