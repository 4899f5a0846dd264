"""What single techniques cost or save: augmentation, Monte Carlo dropout, folding of batch normalisation.

Example: ``.venv/bin/python benchmarks/techniques.py --only folding``
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import sys
from collections.abc import Callable
from typing import Any

import kilter

# isort: split
import keras
import numpy as np

from bench.pages import Page, Table, between, options_of
from bench.turns import in_turns
from kilter.data.augmentation import Augmentation, Cutout, Flip, Mixup, Rotate, Shift, Zoom

IMAGE, CLASSES = (32, 32, 3), 10


@dataclasses.dataclass(frozen=True)
class Size:
    """How much: rounds of timing, rows of each part, samples of Monte Carlo dropout."""

    rounds: int
    trained: int
    predicted: int
    folded: int
    samples: int


FULL = Size(rounds=9, trained=4_000, predicted=5_000, folded=20_000, samples=100)
QUICK = Size(rounds=2, trained=256, predicted=256, folded=512, samples=4)


def main() -> int:
    """Measure what the command line asks for, print it, and keep it on one page."""
    options = options_of(__doc__, TECHNIQUES)
    tables, figures = [], {}
    for name in [options.only] if options.only else TECHNIQUES:
        found, seconds = TECHNIQUES[name](QUICK if options.quick else FULL)
        found.show()
        tables.append(found)
        figures[name] = seconds
    page = Page(
        name=options.only or "techniques",
        title="Single techniques",
        introduction="Rows are random numbers of CIFAR-10's shape: only time is measured here.",
        tables=tables,
        figures=figures,
        quick=options.quick,
    )
    print(f"kept in {page.write(options.results)}")
    return 0


def augmentation(size: Size) -> tuple[Table, dict[str, list[float]]]:
    """An epoch of a small convolutional network with transformations in its step, and without."""
    x, y = images(size.trained)
    ways: dict[str, Augmentation | None] = {
        "none": None,
        "flip": Augmentation((Flip(),)),
        "flip, shift": Augmentation((Flip(), Shift(0.125))),
        "flip, shift, rotate, zoom": Augmentation((Flip(), Shift(0.125), Rotate(15), Zoom(0.1))),
        "flip, shift, cutout, mixup": Augmentation((Flip(), Shift(0.125), Cutout(8), Mixup(0.2))),
    }

    def epoch(augment: Augmentation | None) -> Callable[[], float]:
        model = compiled(kilter.nn.cnn(IMAGE, CLASSES, filters=(16, 32), hidden=(100,), seed=0))
        how: dict[str, Any] = {"batch_size": 64, "augment": augment, "measure": None, "verbose": 0}
        return lambda: kilter.fit(model, x, y, **how).seconds[0]

    seconds = in_turns({name: epoch(augment) for name, augment in ways.items()}, size.rounds)
    notes = (
        f"An epoch of kilter.fit on {size.trained:,} rows, batches of 64; convolutions of 16 and 32 "
        "filters, then 100 units, with cross-entropy over classes.",
    )
    return times("Augmentation in the compiled step", seconds, "none", notes), seconds


def monte_carlo(size: Size) -> tuple[Table, dict[str, list[float]]]:
    """Monte Carlo dropout in one call, beside the usual loops that make the same samples."""
    x, _ = images(size.predicted)
    x = x.reshape(len(x), -1)
    model = kilter.nn.mlp(
        x.shape[1:], CLASSES, hidden=(100,) * 20, preset="self-normalizing", dropout=0.1, seed=0
    )
    always = always_dropping(model)

    def one_call() -> np.ndarray:
        return kilter.predict_mc(model, x, samples=size.samples, outputs="logits").mean

    def predict_loop(batch_size: int) -> Callable[[], np.ndarray]:
        def loop() -> np.ndarray:
            made = [always.predict(x, batch_size=batch_size, verbose=0) for _ in range(size.samples)]
            return np.mean([np.asarray(keras.ops.softmax(logits)) for logits in made], axis=0)

        return loop

    def call_loop() -> np.ndarray:
        made = [keras.ops.softmax(model(x, training=True)) for _ in range(size.samples)]
        return np.mean([np.asarray(one) for one in made], axis=0)

    actions = {
        "kilter.predict_mc": one_call,
        "loop of predict, batches of 32": predict_loop(32),
        "loop of predict, batches of 1,024": predict_loop(1024),
        "loop of model(x, training=True)": call_loop,
    }
    seconds = in_turns(actions, min(size.rounds, 3))
    notes = (
        f"{size.samples} samples of {size.predicted:,} rows; 20 hidden layers of 100 (SELU), alpha dropout "
        "of 0.1 after each. The loops are Keras's own on JAX, predict on a copy whose dropout layers are "
        "always in training mode.",
    )
    return times("Monte Carlo dropout", seconds, "kilter.predict_mc", notes), seconds


def always_dropping(model: keras.Model) -> keras.Model:
    """A copy whose dropout is active in ``predict``, as the textbook's MC dropout layer makes it."""

    class Always(keras.layers.AlphaDropout):
        def call(self, inputs: Any, training: bool = True) -> Any:
            return super().call(inputs, training=True)

    def change(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.layers.AlphaDropout):
            return Always(layer.rate, name=layer.name)
        return type(layer).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=change)


def folding(size: Size) -> tuple[Table, dict[str, list[float]]]:
    """Predictions of the 20-layer network with batch normalisation before its activations, and folded."""
    x, y = images(size.folded)
    x = x.reshape(len(x), -1)
    model = compiled(kilter.nn.mlp(x.shape[1:], CLASSES, hidden=(100,) * 20, batch_norm="before", seed=0))
    kilter.fit(model, x[:2_000], y[:2_000], batch_size=100, measure=None, verbose=0)
    folded, record = kilter.fold_batch_norm(model, x[:1_000])
    seconds, rows = {}, []
    for name, (count, predict) in PREDICTING.items():
        some = x[: min(count, len(x))]
        turns = {
            way: functools.partial(predict, one, some)
            for way, one in (("folded", folded), ("as trained", model))
        }
        found = in_turns(turns, size.rounds)
        seconds |= {f"{name}, {way}": values for way, values in found.items()}
        ratios = [one / other for one, other in zip(found["as trained"], found["folded"], strict=True)]
        medians = [statistics.median(values) for values in found.values()]
        cells = [f"{1e6 * median / len(some):.1f}" for median in medians]
        rows.append((name, *cells, f"{medians[1] / medians[0]:.2f}", between(ratios), str(len(ratios))))
    header = ("prediction", "µs a row, folded", "as trained", "× folded", "min–max", "n")
    notes = (
        "Medians; 20 dense layers of 100, batch normalisation before each ELU, after an epoch. "
        f"{len(record.folded)} of {len(record.layers)} folded. Largest difference of an output, relative to "
        f"the largest output, is {record.difference:.1e}.",
    )
    return Table("Batch normalisation folded", header, tuple(rows), notes), seconds


def one_by_one(model: keras.Model, x: np.ndarray) -> None:
    """Each row by itself, as a service answers: the model called as a function."""
    for row in x:
        np.asarray(model(row[None], training=False))


# Name to how many rows, and how they are predicted.
PREDICTING: dict[str, tuple[int, Callable[[keras.Model, np.ndarray], object]]] = {
    "kilter.predict, 1 at once": (1_000, lambda model, x: kilter.predict(model, x, batch_size=1)),
    "kilter.predict, 32 at once": (20_000, lambda model, x: kilter.predict(model, x, batch_size=32)),
    "kilter.predict, 256 at once": (20_000, lambda model, x: kilter.predict(model, x, batch_size=256)),
    "Keras's predict, 32 at once": (5_000, lambda model, x: model.predict(x, batch_size=32, verbose=0)),
    "Keras's model(x), 1 row": (20, one_by_one),
}


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images, float32, and random labels."""
    generator = np.random.default_rng(0)
    return generator.random((count, *IMAGE), np.float32), generator.integers(0, CLASSES, count)


def compiled(model: keras.Model) -> keras.Model:
    """Compile for classes from logits; mixup needs a loss that takes shares of classes."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Nadam(1e-4), loss=loss, metrics=["accuracy"])
    return model


def times(title: str, seconds: dict[str, list[float]], reference: str, notes: tuple[str, ...]) -> Table:
    """Median, range, and the ratio to the reference with its range round by round."""
    base = seconds[reference]
    rows = []
    for name, values in seconds.items():
        ratios = [one / other for one, other in zip(values, base, strict=True)]
        ratio = statistics.median(values) / statistics.median(base)
        cells = (f"{statistics.median(values):.3f}", between(values, ".3f"), str(len(values)))
        rows.append((name, *cells, f"{ratio:.2f}", between(ratios)))
    header = ("what", "seconds", "min–max", "n", f"× {reference}", "min–max")
    return Table(title, header, tuple(rows), notes)


TECHNIQUES = {"augmentation": augmentation, "monte-carlo": monte_carlo, "folding": folding}

if __name__ == "__main__":
    sys.exit(main())
