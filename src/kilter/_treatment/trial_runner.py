"""Short training runs of one subject from the weights of one seed after another, in one compiled program."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import jax
import keras
import numpy as np

from kilter._compare.comparison import OwnMeasure, PairedRun
from kilter._engine.arrays import pick
from kilter._engine.feed import Order, must_stream
from kilter._engine.fit import fit
from kilter._engine.parallel import Logs, fit_together
from kilter._engine.program_cache import shelf
from kilter._engine.step_cost import StepCost
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import State, draw_weights, pull, push
from kilter._treatment.own_measures import judged_in
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter.errors import KilterError
from kilter.nn.unit_variance import lsuv

# Operations of a step that could not be traced; the model fails anyway.
_SOME_OPERATIONS = 100


class TrialRunner:
    """Trains a copy of a subject's model for a few epochs, again and again.

    The copy is reset in place for each seed. The weights of a model that was trained before are not drawn
    again: the seed then sets the order of the rows alone.

    Attributes:
        subject: with the rows and validation rows of a trial.
        steps: of an epoch, whole batches.
    """

    def __init__(self, subject: Subject, scoring: Scoring, rows: int) -> None:
        self.scoring = scoring
        self.subject = _part(subject, rows)
        batch = subject.training.batch_size
        self.steps = max(1, min(rows, self.subject.rows) // batch)

    @property
    def rows_per_epoch(self) -> int:
        """The number of rows an epoch trains on."""
        return min(self.subject.rows, self.steps * self.subject.training.batch_size)

    @cached_property
    def _copy(self) -> tuple[keras.Model, State]:
        """The model to train, and the state in which it begins."""
        model = self.subject.built_copy()
        return model, pull(model)

    def cost(self) -> StepCost:
        """The cost of a training step, from its trace; from the weights alone if it cannot be traced."""
        try:
            model = self._start(self.subject.seed)
            options = self.subject.fit_arguments(1, validated=False)
            fit(model, **{**options, "callbacks": ()}, steps_per_epoch=1)
            found = shelf(model).cost("train")
        except KilterError:
            found = None
        weights = self.subject.model.count_params()
        return found or StepCost(3.0 * weights * self.subject.training.batch_size, _SOME_OPERATIONS)

    def runs(
        self, seeds: Sequence[int], epochs: int, begin: Callable[[], object] = lambda: None
    ) -> list[PairedRun]:
        """A run from the weights of each seed: one after another on a CPU, together on an accelerator.

        They run together only if the device holds the rows and no callback or schedule needs the host between
        epochs. ``begin`` is called before each run.
        """
        if len(seeds) < 2 or not _on_accelerator() or not self._is_plain:
            made = []
            for seed in seeds:
                begin()
                made.append(self.run(seed, epochs, own=True))
            return made
        for _ in seeds:
            begin()
        try:
            trained = self._together(seeds, epochs)
        except KilterError:
            return [_run(seed, math.nan) for seed in seeds]
        model, made = self._copy[0], []
        for seed, (state, logs) in zip(seeds, trained, strict=True):
            push(state, model)
            scores = self.scoring.score(self.subject, model), self.scoring.own(self.subject, model)
            made.append(_run(seed, *scores, 0.0, logs))
        return made

    @property
    def _is_plain(self) -> bool:
        own = self.subject.training
        asked = own.callbacks or own.schedule is not None or own.augment is not None
        return not asked and own.sample_weight is None and not must_stream(self.subject.x)

    def _together(self, seeds: Sequence[int], epochs: int) -> list[tuple[State, Logs]]:
        own = self.subject.training
        return fit_together(
            self._copy[0],
            [pull(self._start(seed)) for seed in seeds],
            self.subject.x,
            self.subject.y,
            [Order(own.batch_size, own.shuffle, seed, self.steps) for seed in seeds],
            rates=self.subject.rates(epochs),
            class_weight=own.class_weight,
        )

    def run(self, seed: int, epochs: int, *, own: bool = False) -> PairedRun:
        """Train from the weights of ``seed``. A model that cannot be trained counts as diverged.

        ``own``: also take each output's own measures.
        """
        try:
            model = self._start(seed)
            options = {**self.subject.fit_arguments(epochs, validated=False), "seed": seed}
            judged = judged_in(self.subject)
            options |= {"steps_per_epoch": self.steps, "goes_on": False, "validation_batch_size": judged}
            history = fit(model, **options)
            score = self.scoring.score(self.subject, model)
            measures = self.scoring.own(self.subject, model) if own else {}
        except KilterError:
            return _run(seed, math.nan)
        # A metric of a number for each class, such as F1Score(), has no line.
        single = {name: seen for name, seen in history.history.items() if not any(map(np.ndim, seen))}
        logs = tuple(
            dict(zip(single, map(float, line), strict=True)) for line in zip(*single.values(), strict=True)
        )
        return _run(seed, score, measures, sum(history.seconds) / max(len(logs), 1), logs)

    def _start(self, seed: int) -> keras.Model:
        """The model to train, with the weights of ``seed`` in it."""
        model, begin = self._copy
        push(begin, model)
        if not self.subject.trained:
            draw_weights(model._flatten_layers(include_self=False), seed)
        if self.subject.unit_variance:
            lsuv(model, self.subject.x, seed=seed)
        return model


def _on_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def _run(
    seed: int,
    score: float,
    own: Mapping[str, OwnMeasure] | None = None,
    seconds: float = 0.0,
    logs: Logs = (),
) -> PairedRun:
    """The run as a record; without logs one that could not be trained."""
    last = len(logs) - 1 if math.isfinite(score) else None
    return PairedRun(seed, score, last, seconds, logs, "", own or {})


def _part(subject: Subject, rows: int) -> Subject:
    """The subject with the rows and validation rows of a trial.

    Where it shuffles small data, it keeps all rows: an epoch takes some of them, others each time, in the
    program of a training run on all. Else rows are drawn with the subject's seed, and stay in their order.
    """
    most = subject.policy.search.trial_validation_rows
    judged = slice(most - most % (fixed_batch_size(subject.model) or 1))
    part = subject.with_training(validation_data=pick(tuple(subject.training.validation_data), judged))
    if rows >= subject.rows or (subject.training.shuffle and subject.is_small):
        return part
    order = np.sort(np.random.default_rng(subject.seed).permutation(subject.rows)[:rows])
    x, y, weights = pick((subject.x, subject.y, subject.training.sample_weight), order)
    return replace(part, x=x, y=y).with_training(sample_weight=weights)
