"""Does reuse help? Fashion-MNIST from 8 classes to 2 others, and few labels beside many rows without.

Each experiment is a :func:`kilter.reuse_study` on paired seeds, against training from scratch; results go to
benchmarks/results/ as Markdown and JSON.

Example: ``.venv/bin/python benchmarks/transfer.py sandal-shirt-dense fashion-mnist --pairs 10``
"""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import kilter  # chooses JAX before Keras loads

# isort: split
import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from bench import machine
from kilter._studies.encoders import Pretraining, Way
from kilter._studies.reuse_study import ReuseStudy, StudyProgress

RESULTS = Path(__file__).resolve().parent / "results"
SANDAL, SHIRT = 5, 6
# Model A learns from a part of its classes' rows: enough to be right about most, and soon done.
TASK_A_ROWS, TASK_A_EPOCHS = 24_000, 5
UNLABELLED = 12_000
HEADER = ("labels", "way", "accuracy", "lowest", "highest", "better by", "95 %", "p", "verdict")

Rows = tuple[np.ndarray, np.ndarray]


def main() -> int:
    """Run the experiments that the command line names, and write what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", choices=[*EXPERIMENTS, []], default=list(EXPERIMENTS))
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    for name in options.experiments:
        what, run = EXPERIMENTS[name]
        began = time.perf_counter()
        study = run(options.pairs)
        minutes = (time.perf_counter() - began) / 60
        show(study)
        path = options.results / f"{datetime.date.today()}-reuse-{name}"
        path.with_suffix(".json").write_text(study.to_json() + "\n", encoding="utf-8")
        path.with_suffix(".md").write_text(page(name, what, study, minutes), encoding="utf-8")
        print(f"kept in {path}.md", flush=True)
    return 0


def images(name: str) -> tuple[Rows, Rows]:
    """Training and test part of a data set, pixels from 0 to 1."""
    source = kilter.data.load(name)
    assert source.test is not None
    parts = [(part.x.astype("float32") / 255, np.asarray(part.y)) for part in (source.train, source.test)]
    return parts[0], parts[1]


def sandals_and_shirts(network: Callable[..., keras.Sequential], pairs: int) -> ReuseStudy:
    """A network of 8 classes reused for the other two, of which 200 images are labelled."""
    (x, y), test = images("fashion-mnist")
    of_b = np.isin(y, (SANDAL, SHIRT))
    others = np.setdiff1d(np.unique(y), (SANDAL, SHIRT))

    def untrained(seed: int) -> keras.Sequential:
        return network(x.shape[1:], len(others), seed=seed)

    def task_a(_: np.ndarray, seed: int) -> keras.Model:
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(~of_b))[:TASK_A_ROWS]
        model = untrained(seed)
        model.compile(
            optimizer=keras.optimizers.Nadam(1e-3),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        labels = np.searchsorted(others, y[chosen])
        kilter.fit(model, x[chosen], labels, epochs=TASK_A_EPOCHS, batch_size=128, seed=seed, verbose=0)
        return model

    def encoder(seed: int) -> keras.Model:
        model = untrained(seed)
        return keras.Model(model.inputs, model.layers[-1].input)

    of_test = np.isin(test[1], (SANDAL, SHIRT))
    return kilter.reuse_study(
        x[of_b],
        np.int32(y[of_b] == SHIRT),
        test_data=(test[0][of_test], np.int32(test[1][of_test] == SHIRT)),
        encoder=encoder,
        ways={"8 classes": Way(task_a, keep=-1)},
        labels=(200,),
        pairs=pairs,
        epochs=20,
        batch_size=25,
        progress=say,
    )


def dense(shape: tuple[int, ...], outputs: int, *, seed: int) -> keras.Sequential:
    """Three hidden layers of 100."""
    return kilter.nn.mlp(shape, outputs, hidden=(100, 100, 100), seed=seed)


def convolutional(shape: tuple[int, ...], outputs: int, *, seed: int) -> keras.Sequential:
    """Two convolutions and a hidden layer."""
    return kilter.nn.cnn(shape, outputs, filters=(16, 32), hidden=(64,), seed=seed)


def few_labels(name: str, ways: Sequence[str], labels: Sequence[int], epochs: int, pairs: int) -> ReuseStudy:
    """A data set of which few rows are labelled and 12,000 others are not."""
    (x, y), test = images(name)
    return kilter.reuse_study(
        x,
        y,
        test_data=test,
        ways=ways,
        labels=labels,
        unlabelled=UNLABELLED,
        pairs=pairs,
        stages=(kilter.Stage(20, train="head", learning_rate=1e-2), kilter.Stage(40, learning_rate=3e-4)),
        batch_size=25,
        pretraining=Pretraining(epochs=epochs),
        progress=say,
    )


def say(told: StudyProgress) -> None:
    """A line for each training."""
    now = datetime.datetime.now().strftime("%H:%M:%S")
    run = f"{told.way}, {told.labels} labels, seed {told.run.seed}"
    print(f"{now} {told.done}/{told.total} {run}: {told.run.score:.4f}", flush=True)


def rows_of(study: ReuseStudy) -> list[tuple[str, ...]]:
    """The table, in per cent and points."""
    return [
        (
            f"{row['labels']:,}",
            row["name"],
            *(f"{100 * row[key]:.1f}" for key in ("test_accuracy", "lowest", "highest")),
            *(
                ("–", "–", "–", "baseline")
                if row["verdict"] is None
                else (
                    f"{100 * row['difference']:+.1f}",
                    f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
                    f"{row['p_corrected']:.4f}",
                    row["verdict"],
                )
            ),
        )
        for row in study.table()
    ]


def show(study: ReuseStudy) -> None:
    """Print the table."""
    table = Table(*HEADER)
    for cells in rows_of(study):
        table.add_row(*cells)
    Console().print(table)


def page(name: str, what: str, study: ReuseStudy, minutes: float) -> str:
    """The table as Markdown, with how it was measured."""
    where = machine.describe()
    pairs = len(study.comparisons[0].baseline.runs)
    spent = ", ".join(f"{way} {seconds:.0f} s" for way, seconds in study.pretraining.items())
    cells = [HEADER, ("---:", "---", *["---:"] * 6, "---"), *rows_of(study)]
    return "\n".join(
        [
            f"# Reuse: {name}, {datetime.date.today()}",
            "",
            f"{what} {pairs} pairs; accuracy in per cent of {study.tested:,} test images after the last "
            "epoch, mean over the pairs, lowest and highest; differences in points. p is the exact sign-flip "
            "test's, corrected over the ways at each number of labels.",
            "",
            f"{where.processor}, {where.cores} cores, {where.system}; Python {where.python}, "
            f"kilter {kilter.__version__}. {minutes:.0f} minutes in all; before any labels (median of the "
            f"pairs): {spent}. Other programs ran on the machine, so that these times say little.",
            "",
            *("| " + " | ".join(line) + " |" for line in cells),
            "",
            *(f"- {said}" for said in study.verdicts()),
            "",
        ]
    )


EXPERIMENTS: dict[str, tuple[str, Callable[[int], ReuseStudy]]] = {
    "sandal-shirt-dense": (
        "Three dense layers of 100, trained on the 8 other classes of Fashion-MNIST (24,000 images, 5 "
        "epochs), reused for sandal against shirt with 200 labelled images: 20 epochs each.",
        lambda pairs: sandals_and_shirts(dense, pairs),
    ),
    "sandal-shirt-conv": (
        "Two convolutions (16 and 32 filters) and a dense layer of 64, trained on the 8 other classes of "
        "Fashion-MNIST (24,000 images, 5 epochs), reused for sandal against shirt with 200 labelled images: "
        "20 epochs each.",
        lambda pairs: sandals_and_shirts(convolutional, pairs),
    ),
    "fashion-mnist": (
        "Fashion-MNIST, a few images labelled and 12,000 others (a subset) given without labels; three "
        "convolutions of stride 2 (32, 64, 128 filters). 20 epochs of pretraining. On the labels 60 "
        "epochs: from scratch at 1e-3; reused 20 for the head at 1e-2, then 40 for all layers at 3e-4.",
        lambda pairs: few_labels("fashion-mnist", ("contrastive",), (100, 500), 20, pairs),
    ),
    "cifar10": (
        "CIFAR-10, a few images labelled and 12,000 others (a subset) given without labels; three "
        "convolutions of stride 2 (32, 64, 128 filters). 20 epochs of pretraining. On the labels 60 "
        "epochs: from scratch at 1e-3; reused 20 for the head at 1e-2, then 40 for all layers at 3e-4.",
        lambda pairs: few_labels("cifar10", ("contrastive",), (100, 500), 20, pairs),
    ),
}


if __name__ == "__main__":
    sys.exit(main())
