"""Runs of one candidate on several seeds with one compilation, as records that kilter compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import kilter

# isort: split
import keras
import plotly.graph_objects as graph_objects

from bench.pages import Table
from compared.task import Task
from kilter._compare.comparison import Candidate, Comparison, PairedRun, judge

Factory = Callable[[float, int], keras.Model]
"""(learning rate, seed) -> compiled model, always of the same shapes."""

LEVEL = 0.05
# Not one of the pairs' seeds, so that a rate is not chosen on what it is judged by.
RATE_SEED = 1_000


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A comparison's table, every figure, and its picture."""

    table: Table
    figures: dict[str, Any]
    picture: graph_objects.Figure


class Trainer:
    """Trains what a factory makes, in one model whose programs are compiled once."""

    def __init__(self, task: Task, factory: Factory) -> None:
        self._task = task
        self._factory = factory
        self.model = factory(1e-3, RATE_SEED)

    def suggested_rate(self, seeds: int = 1) -> float:
        """What :func:`kilter.find_lr` suggests, with two digits; of so many seeds."""
        task = self._task
        found = kilter.find_lr(
            self.model, task.x, task.y, batch_size=task.size.batch_size, seed=RATE_SEED, seeds=seeds
        )
        return float(f"{found.suggestion:.2g}")

    def run(self, rate: float, seed: int) -> PairedRun:
        """Train what the factory makes of these.

        The score is the validation accuracy of the epoch with the lowest validation loss.
        """
        task, size = self._task, self._task.size
        for variable, value in zip(
            _variables(self.model), _variables(self._factory(rate, seed)), strict=True
        ):
            variable.assign(value)
        history = kilter.fit(
            self.model,
            task.x,
            task.y,
            validation_data=(task.x_val, task.y_val),
            epochs=size.epochs,
            batch_size=size.batch_size,
            seed=seed,
            verbose=0,
        )
        names, columns = list(history.history), history.history.values()
        logs = tuple(dict(zip(names, line, strict=True)) for line in zip(*columns, strict=True))
        best = min(range(len(logs)), key=lambda epoch: logs[epoch]["val_loss"])
        return PairedRun(seed, logs[best]["val_accuracy"], best, sum(history.seconds), logs, "")


def compare_in_turns(
    trainers: Mapping[str, Trainer], rates: Mapping[str, float], *, pairs: int
) -> Comparison:
    """What :func:`kilter.compare` gives, of runs one after the other in this process.

    The first is the baseline. Candidates take turns, seed by seed.
    """
    runs: dict[str, list[PairedRun]] = {name: [] for name in trainers}
    for seed in range(pairs):
        for name, trainer in trainers.items():
            runs[name].append(trainer.run(rates[name], seed))
    candidates = [Candidate(name, tuple(found)) for name, found in runs.items()]
    return judge(candidates, "val_accuracy", level=LEVEL, path=Path())


def differences(comparison: Comparison) -> dict[str, str]:
    """Each candidate's difference against the baseline in words, in per cent; a dash for the baseline."""
    told = {
        one.candidate: f"{100 * one.mean:+.2f}, {one.verdict} (p {one.p_corrected:.3f})"
        for one in comparison.differences
    }
    return {comparison.baseline.name: "–"} | told


def _variables(model: keras.Model) -> Iterable[Any]:
    model.optimizer.build(model.trainable_variables)
    return (*model.variables, *model.optimizer.variables)
