"""Training runs for all epochs: of a treated model, and of the original one as the user would train it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from kilter._diagnosis.diagnose import diagnose
from kilter._engine.epochs import EpochStages
from kilter._engine.fit import fit
from kilter._engine.history import History
from kilter._engine.training_spec import EarlyStopping
from kilter._models.variables import State, pull, push
from kilter._records import Diagnosis
from kilter._text import first_line
from kilter._treatment.own_measures import judged_in
from kilter._treatment.search import Tools
from kilter._treatment.subject import Subject
from kilter.errors import KilterError


@dataclass(frozen=True, eq=False)
class Trained:
    """A model after its training, and the weights that count. ``failed``: why training was impossible."""

    subject: Subject
    model: keras.Model
    state: State
    history: History
    score: float
    failed: str = ""

    def restored(self) -> keras.Model:
        """The model with these weights: the last and the best weights of a training share one model."""
        push(self.state, self.model)
        return self.model

    @cached_property
    def diagnosis(self) -> Diagnosis:
        """The findings after the training."""
        spec = self.subject.training
        return diagnose(
            self.restored(),
            self.subject.x,
            self.subject.y,
            **spec.arguments("validation_data", "batch_size", "shuffle", "seed"),
            verbose=0,
            steps=0,
            history=self.history.history,
            features=self.subject.features,
        )


@dataclass(frozen=True, eq=False)
class AsGiven:
    """The original model, trained without changes: at the end, at the best validation loss, and untrained."""

    last: Trained
    best: Trained
    before: Trained


class _BestWeights(keras.callbacks.Callback):
    """Keeps the state of the best validation loss; training continues."""

    def __init__(self, trained: keras.Model) -> None:
        super().__init__()
        self.trained = trained
        self.loss = math.inf
        self.state: State | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        loss = float((logs or {}).get("val_loss", math.nan))
        if loss < self.loss:
            self.loss, self.state = loss, pull(self.trained)


class _Lost(keras.callbacks.Callback):
    """Ends a training whose weights are lost: with a NaN in every one of them nothing changes any more."""

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        finite = all(np.isfinite(value).all() for value in (logs or {}).values())
        model: Any = self.model  # Keras has set it before any callback is called
        if not finite and all(np.isnan(one).any() for one in model.trainable_variables):
            model.stop_training = True


def train_in_full(subject: Subject, tools: Tools) -> Trained:
    """A copy of the subject's model, trained; the weights are those of the best validation loss.

    It stops early if the validation loss has not improved for half of the epochs, at least 10.
    """
    policy, stopped = subject.policy.search, subject
    if subject.training.early_stopping is None:
        share = math.ceil(policy.patience_share * subject.training.epochs)
        stopping = EarlyStopping(patience=max(policy.least_patience, share))
        stopped = subject.with_training(early_stopping=stopping)
    trained = _train(stopped, tools, "Full training: epoch")[0]
    return replace(trained, subject=subject)


def train_as_given(original: Subject, tools: Tools) -> AsGiven:
    """The original model, trained with the user's own options for all epochs."""
    last, best = _train(original, tools, "Training the original model unchanged: epoch")
    try:
        model = original.built_copy()
        score = tools.scoring.score(original, model)
    except KilterError:  # data that the model cannot take
        model, score = original.copy(), math.nan
    return AsGiven(last, best, Trained(original, model, pull(model), History(), score))


def _train(subject: Subject, tools: Tools, stage: str) -> tuple[Trained, Trained]:
    """The training at its end, and at the best validation loss.

    A run of few steps uses the program of the trials, which has whole batches only. If the rows are
    shuffled and an epoch has many batches, the rest of the rows is left out, others each time: a program for
    them would take longer to compile than the training takes.
    """
    policy, spec = subject.policy.search, subject.training
    few = spec.epochs * subject.steps_per_epoch <= policy.short_training_steps
    whole = few and spec.shuffle and subject.rows >= policy.many_batches * spec.batch_size
    model = subject.copy()
    best, options = _BestWeights(model), subject.fit_arguments()
    own = () if spec.early_stopping else (best,)
    stages = EpochStages(tools.progress, stage)
    options["callbacks"] = (*options["callbacks"], *own, _Lost(), *tools.deadline.callbacks(), stages)
    try:
        history = fit(
            model,
            **options,
            steps_per_epoch=subject.rows // spec.batch_size if whole else None,
            goes_on=not whole,
            validation_batch_size=judged_in(subject),
        )
        last = Trained(subject, model, pull(model), history, tools.scoring.score(subject, model))
        if best.state is None:  # early stopping has put the best weights back, or no loss was finite
            return last, last
        push(best.state, model)
        return last, Trained(subject, model, best.state, history, tools.scoring.score(subject, model))
    except KilterError as error:  # data that the model cannot take, for example
        nothing = Trained(subject, model, pull(model), History(), math.nan, failed=first_line(error))
        return nothing, nothing
