"""The activations with the initialisers that fit them: accuracy, and what a step and a prediction cost."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import kilter

# isort: split
import keras
import numpy as np

from bench.pages import Table, between
from bench.turns import in_turns
from compared.task import Task, compiled
from compared.training import RATE_SEED, Factory, Outcome, compare_factories, differences
from kilter.nn.pairing import pairing_of

ACTIVATIONS = (
    "sigmoid", "tanh", "relu", "leaky_relu", "prelu", "rrelu", "elu", "selu", "gelu", "swish", "mish",
)  # fmt: skip
# Deeper than the optimisers' network, so that it matters what an activation does to the signal.
EXTRA_LAYERS = 5
PREDICTED_AT_ONCE = 256
BASELINE = "relu"


def compare_activations(task: Task) -> Outcome:
    """Train each with Nadam at a rate of its own on the same seeds; then time all in turns."""
    order = sorted(ACTIVATIONS, key=lambda name: name != BASELINE)
    rates = {name: _rate(task, name) for name in order}
    comparison = compare_factories(task, {name: _factory(task, name, rates[name]) for name in order})
    predicting, stepping = _latencies(task)
    told = differences(comparison)
    rows = []
    for one in comparison.candidates:
        scores = [100 * score for score in one.scores]
        rows.append(
            (
                one.name,
                pairing_of(one.name).default,
                f"{rates[one.name]:.2g}",
                f"{statistics.median(scores):.2f}",
                between(scores),
                told[one.name],
                *_times(predicting, one.name, ".1f"),
                *_times(stepping, one.name, ".0f"),
            )
        )
    figures: dict[str, Any] = {
        "rates": rates,
        "prediction, ms": predicting,
        "step, us": stepping,
        "comparison": comparison.to_json(),
    }
    return Outcome(_table(task, rows), figures, comparison.plot())


def _network(task: Task, name: str, seed: int) -> keras.Model:
    preset = "self-normalizing" if name == "selu" else "standard"
    return task.network(task.size.layers + EXTRA_LAYERS, seed=seed, preset=preset, activation=name)


def _factory(task: Task, name: str, rate: float) -> Factory:
    return lambda seed: compiled(_network(task, name, seed), keras.optimizers.Nadam(rate))


def _rate(task: Task, name: str) -> float:
    model = _factory(task, name, 1e-3)(RATE_SEED)
    found = kilter.find_lr(model, task.x, task.y, batch_size=task.size.batch_size, seed=RATE_SEED, seeds=3)
    return float(f"{found.suggestion:.2g}")


def _latencies(task: Task) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of predicting the validation rows and microseconds of a training step, round by round."""
    models = {name: _factory(task, name, 1e-4)(0) for name in ACTIVATIONS}
    size = task.size
    steps = -(-size.rows // size.batch_size)

    def predict(model: keras.Model) -> Callable[[], np.ndarray]:
        return lambda: kilter.predict(model, task.x_val, batch_size=PREDICTED_AT_ONCE)

    def train(model: keras.Model) -> Callable[[], object]:
        return lambda: kilter.fit(model, task.x, task.y, batch_size=size.batch_size, verbose=0, measure=None)

    predicting = in_turns({name: predict(model) for name, model in models.items()}, size.rounds)
    stepping = in_turns({name: train(model) for name, model in models.items()}, size.rounds)
    return (
        {name: [1e3 * one for one in seconds] for name, seconds in predicting.items()},
        {name: [1e6 * one / steps for one in seconds] for name, seconds in stepping.items()},
    )


def _times(times: dict[str, list[float]], name: str, form: str) -> tuple[str, str]:
    """Median with range, and the median over the baseline's."""
    middle = statistics.median(times[name])
    ratio = middle / statistics.median(times[BASELINE])
    return f"{middle:{form}} ({between(times[name], form)})", f"{ratio:.2f}"


def _table(task: Task, rows: list[tuple[str, ...]]) -> Table:
    size = task.size
    header = (
        "activation", "initialiser", "rate", "accuracy %", "range", f"against {BASELINE}",
        "prediction, ms", f"× {BASELINE}", "step, µs", f"× {BASELINE}",
    )  # fmt: skip
    notes = (
        f"Fashion-MNIST, {size.rows:,} rows, {size.layers + EXTRA_LAYERS} hidden layers of 100, Nadam at the "
        f"rate that kilter.find_lr suggests for each (median of 3), batches of {size.batch_size}, "
        f"{size.epochs} epochs, {size.pairs} pairs of seeds; accuracy and differences as for the optimisers.",
        f"Prediction: {size.validation:,} rows by kilter.predict, {PREDICTED_AT_ONCE} at once. Step: a "
        f"kilter.fit of one epoch over its steps. Medians and ranges of {size.rounds} rounds in turns. RReLU "
        "draws a slope for every element in training and none at inference.",
    )
    return Table("Activations", header, tuple(rows), notes)
