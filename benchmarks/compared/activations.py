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
from compared.training import Factory, Outcome, Trainer, compare_in_turns, differences
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
    trainers = {name: Trainer(task, _factory(task, name)) for name in order}
    rates = {name: trainer.suggested_rate(seeds=3) for name, trainer in trainers.items()}
    comparison = compare_in_turns(trainers, rates, pairs=task.size.pairs)
    predicting, stepping = _latencies(task, {name: one.model for name, one in trainers.items()})
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


def _factory(task: Task, name: str) -> Factory:
    preset = "self-normalizing" if name == "selu" else "standard"
    layers = task.size.layers + EXTRA_LAYERS

    def make(rate: float, seed: int) -> keras.Model:
        network = task.network(layers, seed=seed, preset=preset, activation=name)
        return compiled(network, keras.optimizers.Nadam(rate))

    return make


def _latencies(
    task: Task, models: dict[str, keras.Model]
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Milliseconds of predicting the validation rows and microseconds of a training step, round by round."""
    size = task.size
    steps = -(-size.rows // size.batch_size)

    def predict(model: keras.Model) -> Callable[[], np.ndarray]:
        return lambda: kilter.predict(model, task.x_val, batch_size=PREDICTED_AT_ONCE)

    def train(model: keras.Model) -> Callable[[], float]:
        def epoch() -> float:
            how: dict[str, Any] = {"batch_size": size.batch_size, "verbose": 0, "measure": None}
            return kilter.fit(model, task.x, task.y, **how).seconds[0]

        return epoch

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
        f"Prediction: {size.validation:,} rows by kilter.predict, {PREDICTED_AT_ONCE} at once. Step: an "
        f"epoch of kilter.fit over its steps. Medians and ranges of {size.rounds} rounds in turns. RReLU "
        "draws a slope for every element in training and none at inference.",
    )
    return Table("Activations", header, tuple(rows), notes)
