"""Short trainings of one subject, again and again from other weights, in one compiled program."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import jax
import keras
import numpy as np

from kilter._compare.comparison import OwnMeasure, PairedRun
from kilter._engine.arrays import pick
from kilter._engine.feed import Order
from kilter._engine.fit import fit
from kilter._engine.parallel import Logs, fit_together
from kilter._engine.stream import must_stream
from kilter._models.reinitialize import draw_weights
from kilter._models.tracing import fixed_batch_size
from kilter._models.variables import State, pull, push, share_weights
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter.errors import KilterError
from kilter.nn.unit_variance import lsuv

# More validation rows than this tell a trial nothing more.
_VALIDATION_ROWS = 4096


class TrialRunner:
    """A copy of a subject's model, trained for a few epochs from the weights of one seed after another.

    The copy is reset in place: its programs are compiled once, and once for all subjects that are alike and
    share their twins. The weights of a model that had been trained when it came are not drawn anew: the seed
    then sets the order of the rows alone.
    """

    def __init__(self, subject: Subject, scoring: Scoring, rows: int) -> None:
        self.subject = _part(subject, rows)
        self.scoring = scoring
        self.draws = not subject.trained

    def runs(
        self, seeds: Sequence[int], epochs: int, begin: Callable[[], object] = lambda: None
    ) -> list[PairedRun]:
        """A run from the weights of each seed: one after another on a CPU, together on an accelerator.

        Together they need rows that the device holds, and an epoch that needs nothing of the host but a rate.
        ``begin`` is called before each run.
        """
        if len(seeds) < 2 or not _on_accelerator() or not self._is_plain:
            return [self._begun(seed, epochs, begin) for seed in seeds]
        for _ in seeds:
            begin()
        began = time.perf_counter()
        try:
            trained = self._together(seeds, epochs)
        except KilterError:
            return [PairedRun(seed, math.nan, None, 0.0, (), "") for seed in seeds]
        seconds = (time.perf_counter() - began) / (epochs * len(seeds))
        model, made = self.subject.double().trained, []
        for seed, (state, logs) in zip(seeds, trained, strict=True):
            push(state, model)
            scores = self.scoring.score(self.subject, model), self.scoring.own(self.subject, model)
            made.append(_told(seed, *scores, seconds, logs))
        return made

    def _begun(self, seed: int, epochs: int, begin: Callable[[], object]) -> PairedRun:
        begin()
        return self.run(seed, epochs, own=True)

    @property
    def _is_plain(self) -> bool:
        own = self.subject.options
        asked = own.callbacks or own.schedule is not None or own.augment is not None
        return not asked and not must_stream(self.subject.x)

    def _together(self, seeds: Sequence[int], epochs: int) -> list[tuple[State, Logs]]:
        own = self.subject.options
        orders = [Order(own.batch_size, own.shuffle, seed, own.most_batches) for seed in seeds]
        states = [pull(self._start(seed)) for seed in seeds]
        return fit_together(
            self.subject.double().trained,
            states,
            self.subject.x,
            self.subject.y,
            orders,
            rates=self.subject.rates(epochs),
            class_weight=own.class_weight,
        )

    def run(self, seed: int, epochs: int, *, own: bool = False) -> PairedRun:
        """Train from the weights of ``seed``; what cannot be trained counts as diverged.

        ``own``: with each output's own measures.
        """
        with self.subject.for_trials():
            return self._run(seed, epochs, own)

    def _run(self, seed: int, epochs: int, own: bool) -> PairedRun:
        began = time.perf_counter()
        try:
            model = self._start(seed)
            history = fit(
                model,
                self.subject.x,
                self.subject.y,
                **{**self.subject.fit_options(epochs), "validation_data": None},
                most_batches=self.subject.options.most_batches,
                seed=seed,
                measure=None,
                verbose=0,
            )
            score = self.scoring.score(self.subject, model)
            measures = self.scoring.own(self.subject, model) if own else {}
        except KilterError:
            return PairedRun(seed, math.nan, None, time.perf_counter() - began, (), "")
        lines = zip(*history.history.values(), strict=True)
        logs = tuple(dict(zip(history.history, map(float, line), strict=True)) for line in lines)
        return _told(seed, score, measures, sum(history.seconds) / max(len(logs), 1), logs)

    def _start(self, seed: int) -> keras.Model:
        """The model to train, with the weights of ``seed`` in it."""
        model, begin, twin = self.subject.double()
        push(begin, model)
        if self.draws:
            draw_weights(model._flatten_layers(include_self=False), seed)
        if self.subject.unit_variance:
            lsuv(model, self.subject.x, seed=seed)
        if twin is not model:
            share_weights(model, twin)
        return twin


def _on_accelerator() -> bool:
    return jax.default_backend() != "cpu"


def _told(seed: int, score: float, own: Mapping[str, OwnMeasure], seconds: float, logs: Logs) -> PairedRun:
    last = len(logs) - 1 if math.isfinite(score) else None
    return PairedRun(seed, score, last, seconds, logs, "", own)


def _part(subject: Subject, rows: int) -> Subject:
    """The subject with epochs of about so many training rows, whole batches of them; unstopped.

    Where it shuffles small data, an epoch takes some of all rows, others each time, in the program of a
    training on all of them. Else rows are drawn with the subject's seed, and stay in their order.
    """
    options = replace(subject.options, patience=None, most_batches=max(1, rows // subject.options.batch_size))
    judged = slice(_VALIDATION_ROWS - _VALIDATION_ROWS % (fixed_batch_size(subject.model) or 1))
    part = replace(
        subject, x_val=pick(subject.x_val, judged), y_val=pick(subject.y_val, judged), options=options
    )
    # Each trial hands its rows over anew.
    if rows >= subject.rows or (subject.options.shuffle and subject.is_small):
        return part
    order = np.sort(np.random.default_rng(subject.seed).permutation(subject.rows)[:rows])
    return replace(part, x=pick(subject.x, order), y=pick(subject.y, order))
