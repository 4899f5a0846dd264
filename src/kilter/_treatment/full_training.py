"""Trainings for all epochs: of a treated model, and of the given one as the person would have trained it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import keras

from kilter._diagnosis.diagnose import diagnose
from kilter._engine.epochs import EpochStages
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._models.variables import State, pull, push
from kilter._progress import SILENT, Progress
from kilter._records import Diagnosis
from kilter._treatment.own_measures import judged_in
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter.errors import KilterError

# Networks may wait on a plateau for long; an early stop saves nothing but time.
_PATIENCE_SHARE: Final = 0.5
_LEAST_PATIENCE: Final = 10
# Trainings of no more steps are over before a program of their own, compiled well, would have paid.
_FEW_STEPS: Final = 4_000
# Whole batches an epoch from which on the rows of a partial one hardly matter.
_MANY_BATCHES: Final = 16


@dataclass(frozen=True, eq=False)
class Trained:
    """A model after its training, the weights that count, and what became of it."""

    subject: Subject
    model: keras.Model
    state: State
    history: History
    score: float
    seconds: float

    def restored(self) -> keras.Model:
        """The model with what it had learnt: subjects that are alike may have been trained in it since."""
        push(self.state, self.model)
        return self.model

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """What is found in it after the training."""
        return _diagnosed_again(self.subject, self.restored(), self.history.history)


@dataclass(frozen=True, eq=False)
class AsGiven:
    """The given model, trained for all epochs without any change and without early stopping.

    ``last``: with the weights of the last epoch, what the person would have. ``best``: with those of the best
    validation loss. ``before``: not trained any further, with the weights it came with.
    """

    last: Trained
    best: Trained
    before: Trained


class _BestWeights(keras.callbacks.Callback):
    """Keeps the state of the best validation loss; the training goes on."""

    def __init__(self, trained: keras.Model) -> None:
        super().__init__()
        self.trained = trained
        self.loss = math.inf
        self.state: State | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("val_loss", math.nan))
        if loss < self.loss:
            self.loss, self.state = loss, pull(self.trained)


def train_in_full(subject: Subject, scoring: Scoring, progress: Progress = SILENT) -> Trained:
    """A copy of the subject's model, trained; the weights are those of the best validation loss.

    It stops early where the validation loss has not improved for half of the epochs, 10 at least.
    """
    patience = max(_LEAST_PATIENCE, math.ceil(_PATIENCE_SHARE * subject.options.epochs))
    if subject.options.patience is not None:
        patience = subject.options.patience
    stages = EpochStages(progress, "Full training: epoch")
    return _train(subject, replace(subject.options, patience=patience), scoring, stages)[0]


def train_as_given(came: Subject, scoring: Scoring, progress: Progress = SILENT) -> AsGiven:
    """The given model, trained as the person would have: all epochs, their options, no early stopping."""
    stages = EpochStages(progress, "Training the given model without changes: epoch")
    last, best = _train(came, came.options, scoring, stages)
    double = came.double()
    push(double.begin, double.model)
    try:
        score = scoring.score(came, double.model)
    except KilterError:  # data that the model cannot take
        score = math.nan
    return AsGiven(last, best, Trained(came, double.model, double.begin, History(), score, 0.0))


def _train(given: Subject, options: Any, scoring: Scoring, stages: EpochStages) -> tuple[Trained, Trained]:
    """The training at its end, and at the best validation loss.

    A training of few steps runs in the program of the trials, which has whole batches only: where the rows
    are shuffled and an epoch has many batches, the rows that do not fill one are left out, each time others.
    A program for them would take longer to compile than the training takes.
    """
    few = options.epochs * given.steps_per_epoch <= _FEW_STEPS
    whole = few and options.shuffle and given.rows >= _MANY_BATCHES * options.batch_size
    subject = replace(
        given, options=replace(options, most_batches=given.rows // options.batch_size if whole else None)
    )
    model = subject.double().model if few else subject.copy()
    began = time.perf_counter()
    try:
        with subject.for_trials() if few else nullcontext():
            trained = subject.double().ready() if few else model
            best = _BestWeights(trained)
            own = subject.fit_options()
            watching = [best] if options.patience is None else []
            history = fit(
                trained,
                subject.x,
                subject.y,
                **{**own, "callbacks": [*own["callbacks"], *watching, stages]},
                most_batches=subject.options.most_batches,
                validation_batch_size=judged_in(subject),
                seed=subject.seed,
                measure=None,
                verbose=0,
            )
            seconds = time.perf_counter() - began
            last = Trained(given, model, pull(trained), history, scoring.score(subject, trained), seconds)
            if best.state is None:  # early stopping has put the best weights back, or no loss was finite
                return last, last
            push(best.state, trained)
            score = scoring.score(subject, trained)
            return last, Trained(given, model, best.state, history, score, seconds)
    except KilterError:  # data that the model cannot take: the diagnosis says so, and no remedy helped
        nothing = Trained(given, model, pull(model), History(), math.nan, time.perf_counter() - began)
        return nothing, nothing


def _diagnosed_again(
    subject: Subject, model: keras.Model, curves: Mapping[str, Sequence[float]]
) -> Diagnosis:
    return diagnose(
        model,
        subject.x,
        subject.y,
        validation_data=subject.validation,
        verbose=0,
        batch_size=subject.options.batch_size,
        shuffle=subject.options.shuffle,
        steps=0,
        history=curves,
        seed=subject.seed,
    )
