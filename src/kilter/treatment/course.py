"""The course of a treatment: choose, train, hold against sound variants, once more where it falls short."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras

from kilter.engine.bridge import State, pull, push
from kilter.engine.epochs import EpochStages
from kilter.engine.fit import fit
from kilter.engine.history import History
from kilter.errors import KilterError
from kilter.health.diagnosing import diagnose
from kilter.progress import SILENT, Progress
from kilter.records import Diagnosis, Finding, ranked
from kilter.treatment.choosing import IN_FULL, Choice, Means, Search, fewest, further_changes, persist, proven
from kilter.treatment.patient import Patient
from kilter.treatment.scoring import Scoring, whole_batches
from kilter.treatment.sound_variants import SECONDS, sound_variants, within
from kilter.treatment.treatment import Trial, Trials

# Networks may wait on a plateau for long; what an end before the last epoch saves is time alone.
_PATIENCE_SHARE: Final = 0.5
_LEAST_PATIENCE: Final = 10
# Trainings of no more steps are over before a program of their own, compiled well, would have paid.
_FEW_STEPS: Final = 4_000
# Whole batches an epoch from which on the rows of a partial one hardly matter.
_MANY_BATCHES: Final = 16


@dataclass(frozen=True, eq=False)
class Trained:
    """A model trained for all epochs, with the weights of its best validation loss, and what became of it."""

    patient: Patient
    model: keras.Model
    state: State
    history: History
    score: float
    seconds: float

    def restored(self) -> keras.Model:
        """The model with what it had learnt: patients that are alike may have been trained in it since."""
        push(self.state, self.model)
        return self.model

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What is found in it after the training."""
        return _diagnosed_again(self.patient, self.restored(), self.history.history)


Outcome = tuple[Patient, Trained, Trials]
"""The patient as it is best, what its training gave, and the trials that chose its changes."""


@dataclass(frozen=True, eq=False)
class Course:
    """A treatment of the patient as it ``came``, of what was found in it, with the remedies of a cabinet."""

    came: Patient
    diagnosis: Diagnosis
    means: Means
    pairs: int

    @property
    def scoring(self) -> Scoring:
        """The measure of the treatment."""
        return self.means.scoring

    def run(self) -> Outcome:
        """The outcome; where it falls short of plain methods, of two rounds.

        The second round goes on from what the first proved, with longer trials, and takes warnings as severe.
        """
        none = Trials(self.scoring.measure, 0, 0)
        best, done, trials = (self.came, None, none) if self.diagnosis.ok else self._first()
        done = self._train(best) if done is None else done
        # A network with warnings is held to what others are held to.
        sound = not self.diagnosis.codes("severe") and not self.diagnosis.codes("warning")
        if not self.scoring.falls_short(done.score, sound=sound):
            return best, done, trials
        found = _fallen_short(self.diagnosis, done.diagnosis)
        choice = further_changes(best, found, self.means)
        if choice.search is None:
            return best, done, trials
        # Where the first round was left out, sound variants have not been trained yet.
        patient, again, tried = self._settle(choice, found if self.diagnosis.ok else None)
        if tried.verdict != "better":
            return best, done, tried if trials.proof is None else trials
        again = self._train(patient) if again is None else again
        further = self.scoring.better_by(again.score, done.score) > 0
        return (patient, again, tried) if further else (best, done, trials)

    def _first(self) -> tuple[Patient, Trained | None, Trials]:
        """The outcome of the first round: of the fewest changes, or of a sound variant that gets further."""
        choice = fewest(self.came, self.diagnosis, self.means)
        if choice.search is None:
            return self.came, None, Trials(self.scoring.measure, 0, 0)
        if choice.search.full > SECONDS:  # one full training is to do: of what is proven
            choice = persist(choice, self.diagnosis, self.means.cabinet)
        return self._settle(choice, self.diagnosis)

    def _settle(self, choice: Choice, varied: Diagnosis | None) -> tuple[Patient, Trained | None, Trials]:
        """What was chosen, or a sound variant that gets clearly further; as it came where none is proven.

        ``varied``: what variants treat; None for none of them. What has learnt nothing in its short trial is
        only trained in full where there is no variant. Where a training takes long there is none, and nothing
        is trained here.
        """
        search = choice.search
        assert search is not None
        if search.full > SECONDS:
            trials = proven(self.came, choice.patient, search, self.pairs)
            return choice.patient if trials.verdict == "better" else self.came, None, trials
        trained: list[Trained] = []
        if varied is None or not self.scoring.learnt_nothing(choice.score):
            trained = [self._train(choice.patient)]
        if varied is not None and not (trained and self.scoring.leaves_little(trained[0].score)):
            trained += self._variants(search, choice.patient, trained, varied)
        if not trained:
            choice = persist(choice, self.diagnosis, self.means.cabinet)
            trained = [self._train(choice.patient)]
        one, *others = self._ranked(trained)
        trials = proven(self.came, one.patient, search, self.pairs)
        if others and trials.verdict != "better":
            (one,) = others
            trials = proven(self.came, one.patient, search, self.pairs, before=trials)
        return (one.patient, one, trials) if trials.verdict == "better" else (self.came, None, trials)

    def _variants(
        self, search: Search, chosen: Patient, trained: Sequence[Trained], found: Diagnosis
    ) -> list[Trained]:
        """Sound variants, trained, until one leaves little to learn."""
        # Numbers are learnt the longer the rate is high, classes best where it falls to nothing at last.
        cycled = self.scoring.measure == "val_accuracy"
        variants = sound_variants(self.came, chosen, found, self.means.cabinet, cycled=cycled)
        seconds = trained[0].seconds if trained else search.full
        made: list[Trained] = []
        for one in within(variants, seconds, self.means.budget, self._train):
            made.append(one)
            if self.scoring.leaves_little(one.score):
                break
        search.tried += map(_told, made)
        return made

    def _ranked(self, trained: Sequence[Trained]) -> list[Trained]:
        """The best first, then the fewest changes; these alone where nothing gets clearly further."""
        first = trained[0]
        best = max(trained, key=self._rank)
        return [best, first] if best is not first and self._further(best, first) else [first]

    def _further(self, one: Trained, other: Trained) -> bool:
        """Whether ``one`` is clearly better; better at all, where ``other`` does not reach plain methods."""
        gain = self.scoring.better_by(one.score, other.score)
        return gain > (0 if self.scoring.is_behind(other.score) else self.scoring.clear)

    def _rank(self, trained: Trained) -> float:
        return self.scoring.sign * trained.score if math.isfinite(trained.score) else -math.inf

    def _train(self, patient: Patient) -> Trained:
        return train_in_full(patient, self.scoring, self.means.progress)


def _told(trained: Trained) -> Trial:
    remedies = tuple(change.remedy for change in trained.patient.changes)
    epochs = trained.history.seconds
    return Trial(remedies, trained.score, sum(epochs) / max(len(epochs), 1), IN_FULL)


def train_in_full(patient: Patient, scoring: Scoring, progress: Progress = SILENT) -> Trained:
    """A copy of the patient's model, trained; where that takes few steps, in the program of the trials.

    That program has whole batches alone: of rows that are shuffled, an epoch of many leaves out as many as do
    not fill another, each time others. A program for them alone would take longer than the training.
    """
    few = patient.options.epochs * patient.steps_per_epoch <= _FEW_STEPS
    whole = few and patient.options.shuffle and patient.rows >= _MANY_BATCHES * patient.options.batch_size
    patience = max(_LEAST_PATIENCE, math.ceil(_PATIENCE_SHARE * patient.options.epochs))
    given, options = (
        patient,
        replace(
            patient.options,
            patience=patience if patient.options.patience is None else patient.options.patience,
            most_batches=patient.rows // patient.options.batch_size if whole else None,
        ),
    )
    patient = replace(patient, options=options)
    model = patient.double().model if few else patient.copy()
    told = patient.fit_options()
    told["callbacks"].append(EpochStages(progress, "Full training: epoch"))
    began = time.perf_counter()
    try:
        with patient.for_trials() if few else nullcontext():
            trained = patient.double().ready() if few else model
            history = fit(
                trained,
                patient.x,
                patient.y,
                **told,
                most_batches=options.most_batches,
                validation_batch_size=whole_batches(len(keras.tree.flatten(patient.x_val)[0])),
                seed=patient.seed,
                measure=None,
                verbose=0,
            )
            score = scoring.score(patient, trained)
    except KilterError:  # data that the model cannot take: the diagnosis says so, and no remedy helped
        return Trained(given, model, pull(model), History(), math.nan, time.perf_counter() - began)
    return Trained(given, model, pull(trained), history, score, time.perf_counter() - began)


def _diagnosed_again(
    patient: Patient, model: keras.Model, curves: Mapping[str, Sequence[float]]
) -> Diagnosis:
    return diagnose(
        model,
        patient.x,
        patient.y,
        validation_data=patient.validation,
        verbose=0,
        batch_size=patient.options.batch_size,
        shuffle=patient.options.shuffle,
        steps=0,
        history=curves,
        seed=patient.seed,
    )


def _fallen_short(found: Diagnosis, trained: Diagnosis) -> Diagnosis:
    """What was found before and after the training; that it fell short is severe by itself."""
    short = Finding(
        "loss-not-moving",
        "severe",
        ("training",),
        (),
        "After all epochs the answers are no better than a constant, or worse than a plain method's.",
        ("find-learning-rate",),
        "",
    )
    return Diagnosis(ranked([*found.findings, *trained.findings, short])).raised()
