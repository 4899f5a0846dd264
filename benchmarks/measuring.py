"""What measuring costs: ``kilter.fit`` with ``measure="auto"``, the default, and without it.

On the 20×100 network. The two take turns; a training with readings and the one after it without are a pair.
The wall time of an
epoch runs from its beginning to the next one's, so that a reading counts. The epochs in which something is
compiled do not: the first, and the one that makes the reader.

Example: ``.venv/bin/python benchmarks/measuring.py --pairs 4``
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import kilter

# isort: split
import keras
import numpy as np

from bench import data
from bench.pages import RESULTS, Page, Table, between
from bench.workloads import WORKLOADS, Workload
from peers.keras_model import compiled_model

WAYS: dict[str, Any] = {"with": "auto", "without": None}
# The first epoch compiles the training, the first reading comes after it and compiles the reader.
WARM_UP = 2
# Trainings of less than 20 s are not read by default, so that --quick has to ask for it.
QUICK_ROWS, QUICK_EPOCHS = 2_000, 6


class Clock(keras.callbacks.Callback):
    """When each epoch began, and when the last one ended."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def on_train_end(self, logs: dict | None = None) -> None:
        """Note the time: what came after the last epoch belongs to it."""
        self.times.append(time.perf_counter())

    def epochs(self) -> list[float]:
        """Seconds of each epoch after the warm-up."""
        return [after - before for before, after in itertools.pairwise(self.times)][WARM_UP:]


def main() -> int:
    """Train in turns, print the table, keep it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=6, help="trainings of each kind (default: 6)")
    parser.add_argument("--epochs", type=int, default=12, help="epochs of each (default: 12)")
    parser.add_argument("--quick", action="store_true", help="few rows: does it run? No figures to quote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for what is kept")
    options = parser.parse_args()
    folder, what = data.prepare()
    workload = next(one for one in WORKLOADS if one.name == "mlp-32")
    x, y = rows(folder, QUICK_ROWS if options.quick else workload.rows)
    epochs, ways = options.epochs, WAYS
    if options.quick:
        epochs, ways = QUICK_EPOCHS, WAYS | {"with": 2}
    seconds: dict[str, list[list[float]]] = {name: [] for name in ways}
    readings = []
    for _ in range(options.pairs):
        for name, measure in ways.items():
            clock, history = train(workload, x, y, epochs, measure)
            seconds[name].append(clock.epochs())
            if measure is not None:
                readings.append(0 if history.measurements is None else len(history.measurements))
    found = table(workload, x, what, epochs, seconds, readings, ways)
    found.show()
    figures = {"seconds an epoch": seconds, "readings a training": readings}
    page = Page(
        name="measuring",
        title="The cost of measuring",
        introduction="What readings between epochs add to a training (docs/measurements.md).",
        tables=[found],
        figures=figures,
        quick=options.quick,
    )
    print(f"kept in {page.write(options.results)}")
    return 0


def rows(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """So many rows: float32 [rows, 3072] in 0 to 1, and labels."""
    x = np.load(folder / "x.npy", mmap_mode="r")[:count]
    return np.float32(1 / 255) * x.reshape(len(x), -1), np.load(folder / "y.npy")[:count]


def train(workload: Workload, x: np.ndarray, y: np.ndarray, epochs: int, measure: Any) -> tuple[Clock, Any]:
    """Train a new model of the workload, always the same one."""
    clock = Clock()
    history = kilter.fit(
        compiled_model(workload),
        x,
        y,
        epochs=epochs,
        batch_size=workload.batch_size,
        measure=measure,
        callbacks=[clock],
        verbose=0,
    )
    return clock, history


def table(
    workload: Workload,
    x: np.ndarray,
    what: str,
    epochs: int,
    seconds: dict[str, list[list[float]]],
    readings: list[int],
    ways: dict[str, Any],
) -> Table:
    """Mean seconds an epoch of each training, and the ratio pair by pair."""
    means = {name: [statistics.fmean(one) for one in trained] for name, trained in seconds.items()}
    ratios = [one / other for one, other in zip(means["with"], means["without"], strict=True)]
    cells = [
        (
            f"measure={ways[name]!r}",
            f"{statistics.median(values):.3f}",
            between(values, ".3f"),
            str(len(values)),
            f"{statistics.median(means['with']) / statistics.median(means['without']):.3f}"
            if name == "with"
            else "1",
            between(ratios, ".3f") if name == "with" else "–",
        )
        for name, values in means.items()
    ]
    notes = (
        f"{workload.title}; {what}, {len(x):,} of them used. {epochs} epochs a training, of which the first "
        f"{WARM_UP} do not count; {between(readings, 'd')} readings a training. Seconds: the mean over a "
        "training's epochs, readings included; median and range over the trainings. Ratio: of the medians, "
        "with the range of the ratios pair by pair.",
    )
    header = ("fit", "s/epoch", "min–max", "n", "ratio", "min–max")
    return Table("Epochs with readings and without", header, tuple(cells), notes)


if __name__ == "__main__":
    sys.exit(main())
