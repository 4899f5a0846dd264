"""The optimisers: how soon each is where plain gradient descent ends, and how good it gets."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable

from kilter import _backend  # noqa: F401

# isort: split
import keras

from bench.pages import Table, between
from compared.task import Task, compiled
from compared.training import RATE_SEED, Factory, Outcome, Trainer, compare_in_turns, differences
from kilter._compare.comparison import Comparison, PairedRun

# How far around find_lr's suggestion the rate is looked for.
FACTORS = (0.1, 0.3, 1.0, 3.0)


@dataclasses.dataclass(frozen=True)
class Contender:
    """An optimiser by its rate, and the textbook's stars for convergence and quality (1 to 3)."""

    make: Callable[[float], keras.optimizers.Optimizer]
    convergence: str
    quality: str


# The stars: A. Géron, Hands-On Machine Learning, chapter 11, optimisers compared.
OPTIMIZERS = {
    "SGD": Contender(lambda rate: keras.optimizers.SGD(rate), "*", "***"),
    "momentum": Contender(lambda rate: keras.optimizers.SGD(rate, momentum=0.9), "**", "***"),
    "Nesterov": Contender(lambda rate: keras.optimizers.SGD(rate, momentum=0.9, nesterov=True), "**", "***"),
    "AdaGrad": Contender(lambda rate: keras.optimizers.Adagrad(rate), "***", "* (stops too early)"),
    "RMSprop": Contender(lambda rate: keras.optimizers.RMSprop(rate), "***", "** or ***"),
    "Adam": Contender(lambda rate: keras.optimizers.Adam(rate), "***", "** or ***"),
    "AdaMax": Contender(lambda rate: keras.optimizers.Adamax(rate), "***", "** or ***"),
    "Nadam": Contender(lambda rate: keras.optimizers.Nadam(rate), "***", "** or ***"),
    "AdamW": Contender(lambda rate: keras.optimizers.AdamW(rate), "***", "** or ***"),
}


def compare_optimizers(task: Task) -> Outcome:
    """Find a rate for each, then train each with it on the same seeds."""
    trainers = {name: Trainer(task, _factory(task, one)) for name, one in OPTIMIZERS.items()}
    rates = {name: _best_rate(trainer) for name, trainer in trainers.items()}
    comparison = compare_in_turns(trainers, rates, pairs=task.size.pairs)
    goal = statistics.median(_losses(run)[-1] for run in comparison.baseline.runs)
    reached = {one.name: [_reached(run, goal) for run in one.runs] for one in comparison.candidates}
    figures = {
        "rates": rates,
        "loss to reach": goal,
        "epochs to it": reached,
        "comparison": comparison.to_json(),
    }
    return Outcome(_table(task, comparison, rates, goal, reached), figures, comparison.plot())


def _factory(task: Task, one: Contender) -> Factory:
    return lambda rate, seed: compiled(task.network(task.size.layers, seed=seed), one.make(rate))


def _best_rate(trainer: Trainer) -> float:
    """The rate of the best run among some around :func:`kilter.find_lr`'s suggestion."""
    suggested = trainer.suggested_rate()
    rates = [float(f"{suggested * factor:.2g}") for factor in FACTORS]
    return max(rates, key=lambda rate: trainer.run(rate, RATE_SEED).score)


def _losses(run: PairedRun) -> list[float]:
    return [logs["val_loss"] for logs in run.history]


def _reached(run: PairedRun, goal: float) -> int | None:
    """The first epoch, from 1, with a validation loss of at most ``goal``."""
    return next((epoch for epoch, loss in enumerate(_losses(run), start=1) if loss <= goal), None)


def _table(
    task: Task,
    comparison: Comparison,
    rates: dict[str, float],
    goal: float,
    reached: dict[str, list[int | None]],
) -> Table:
    told = differences(comparison)
    rows = []
    for one in comparison.candidates:
        epochs = [epoch for epoch in reached[one.name] if epoch is not None]
        middle = statistics.median(epochs) if len(epochs) > len(one.runs) / 2 else None
        second = statistics.median(run.seconds / len(run.history) for run in one.runs)
        scores = [100 * score for score in one.scores]
        rows.append(
            (
                one.name,
                f"{rates[one.name]:g}",
                "–" if middle is None else f"{middle:g} ({len(epochs)} of {len(one.runs)})",
                "–" if middle is None else f"{middle * second:.2f}",
                f"{statistics.median(scores):.2f}",
                between(scores),
                told[one.name],
                OPTIMIZERS[one.name].convergence,
                OPTIMIZERS[one.name].quality,
            )
        )
    size = task.size
    notes = (
        f"Fashion-MNIST, {size.rows:,} rows, {size.layers} hidden layers of 100 (ELU, He), batches of "
        f"{size.batch_size}, {size.epochs} epochs, a constant rate; {size.pairs} pairs of seeds. The rate: "
        f"the best of {', '.join(f'{factor:g}' for factor in FACTORS)} times what kilter.find_lr suggests by "
        "the validation accuracy of one further seed. Convergence: epochs, and seconds without compilation, "
        f"until the validation loss is at most {goal:.4f}, the median of plain SGD's at its end: medians of "
        "the runs that reach it, where most do. Quality: validation accuracy in per cent at the lowest "
        f"validation loss ({size.validation:,} rows), median and range. Difference: mean against SGD, exact "
        "sign-flip test, corrected for the number of optimisers (Holm).",
    )
    header = (
        "optimiser", "rate", "epochs to SGD's loss", "seconds to it", "accuracy %", "range", "against SGD",
        "textbook: convergence", "textbook: quality",
    )  # fmt: skip
    return Table("Optimisers", header, tuple(rows), notes)
