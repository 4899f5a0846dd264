"""``make exercise``: the reference exercise, CIFAR-10 with 20 dense layers of 100, beside what others got.

Trains recipes/cifar10/*.toml and recipes/fashion/*.toml one after the other, each in a process of its own,
and writes a table to benchmarks/results/. A recipe whose run is already in the folder is not trained again.

Example: ``.venv/bin/python benchmarks/exercise.py --runs runs/exercise``
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

import kilter
from bench import machine
from kilter._models.saved import load_model
from kilter.runs.reading import RunRecords, list_runs, open_run
from kilter.runs.records import best_epoch

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "recipes"
SAMPLES = 100


@dataclasses.dataclass(frozen=True)
class Published:
    """What others reached on the validation set, in per cent; "–" where they tell nothing."""

    variant: str
    notebook: str
    plain_loop: str


# From the textbook author's notebook, and from a plain JAX loop over the same data.
PUBLISHED = {
    "cifar10/a-elu": Published("He, ELU, Nadam 5e-5", "47.6", "stalls at 10"),
    "cifar10/b-batch-norm": Published("+ batch normalisation", "54.0", "54.2"),
    "cifar10/c-selu": Published("SELU, LeCun, standardised", "47.9", "51.4"),
    "cifar10/d-alpha-dropout": Published("+ alpha dropout", "48.9", "52.1"),
    "cifar10/e-mc-dropout": Published("+ MC dropout, not retrained", "48.9", "48.5"),
    "cifar10/f-one-cycle": Published("1cycle, batch 128, 15 epochs", "52.0", "52.4"),
    "cifar10/f-one-cycle-batch-norm": Published("+ batch normalisation", "–", "–"),
    "cifar10/g-best": Published("1cycle, BN, flips and shifts", "–", "–"),
    "cifar10/h-quick": Published("as soon as possible to 44.84", "–", "–"),
    "fashion/a-batch-norm": Published("BN before 300, 100 ELU, SGD", "–", "–"),
    "fashion/b-dropout": Published("300, 100 ELU, dropout 0.2, Nadam", "–", "–"),
    "fashion/c-mc-dropout": Published("+ MC dropout, not retrained", "–", "–"),
    "fashion/d-self-normalizing": Published("300, 100 SELU, alpha dropout, 1cycle", "–", "–"),
}
# Whose run is also predicted with dropout active, and the line of the table that this gives.
MONTE_CARLO = {"cifar10/d-alpha-dropout": "cifar10/e-mc-dropout", "fashion/b-dropout": "fashion/c-mc-dropout"}
HEADER = (
    "data",
    "variant",
    "notebook",
    "plain loop",
    "kilter",
    "at epoch",
    "s/epoch",
    "seconds in all",
    "test",
)


def main() -> int:
    """Train what is missing, then write the table; 0 when every recipe was trained."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "exercise", help="where the runs go")
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    options = parser.parse_args()
    rows = []
    for name in PUBLISHED:
        if name in MONTE_CARLO.values():
            continue
        run = trained(RECIPES / f"{name}.toml", options.runs / name)
        rows.append(row(name, run))
        if name in MONTE_CARLO:
            rows.append(monte_carlo_row(MONTE_CARLO[name], run))
        show(rows)
    path = options.results / f"{datetime.date.today()}-exercise.md"
    path.write_text(page(rows), encoding="utf-8")
    print(f"kept in {path}")
    return 0


def trained(recipe: Path, folder: Path) -> RunRecords:
    """The finished run of ``recipe`` below ``folder``, trained now by the command if there is none."""
    finished = [run for run in list_runs(folder) if run.status == "finished"]
    if not finished:
        command = [str(Path(sys.executable).parent / "kilter"), "train", str(recipe), "--runs", str(folder)]
        print(f"\n{recipe.relative_to(ROOT)}", flush=True)
        subprocess.run(command, check=True)
        finished = [run for run in list_runs(folder) if run.status == "finished"]
    return open_run(finished[-1].path)


def row(name: str, run: RunRecords) -> tuple[str, ...]:
    """A line of the table: the best epoch on validation, and the test set scored once with its weights."""
    best = best_epoch(run.history, "val_accuracy", "max")
    assert best is not None
    assert run.result is not None
    test = run.result.evaluations.get("test")
    return (
        name.split("/")[0],
        PUBLISHED[name].variant,
        PUBLISHED[name].notebook,
        PUBLISHED[name].plain_loop,
        f"{100 * best.logs['val_accuracy']:.1f}",
        f"{best.epoch + 1} of {len(run.history)}",
        f"{statistics.median(record.seconds for record in run.history):.1f}",
        f"{run.result.seconds:.0f}",
        "–" if test is None else f"{100 * test.metrics['accuracy']:.1f}",
    )


def monte_carlo_row(name: str, run: RunRecords) -> tuple[str, ...]:
    """The run's best weights predicted with dropout active, on the same validation rows."""
    recipe = kilter.recipe.load_recipe(run.path / "recipe.toml")
    held = kilter.data.split(
        kilter.data.load(recipe.data.source), validation=recipe.data.validation
    ).validation
    model = load_model(run.path / "model.keras")
    began = time.perf_counter()
    found = kilter.predict_mc(model, held.x, samples=SAMPLES, outputs="logits")
    seconds = time.perf_counter() - began
    accuracy = float((found.mean.argmax(axis=1) == held.y).mean())
    told = PUBLISHED[name]
    return (
        name.split("/")[0],
        told.variant,
        told.notebook,
        told.plain_loop,
        f"{100 * accuracy:.1f}",
        f"{SAMPLES} samples",
        "–",
        f"{seconds:.1f}",
        "–",
    )


def show(rows: list[tuple[str, ...]]) -> None:
    """Print the table so far."""
    table = Table(*HEADER)
    for cells in rows:
        table.add_row(*cells)
    Console().print(table)


def page(rows: list[tuple[str, ...]]) -> str:
    """The table as Markdown, with the machine and the versions."""
    lines = [" | ".join(cells) for cells in (HEADER, ("---",) * len(HEADER), *rows)]
    where = machine.describe()
    return "\n".join(
        [
            f"# The reference exercise, {datetime.date.today()}",
            "",
            f"{where.processor}, {where.cores} cores, {where.system}; Python {where.python}, "
            f"kilter {kilter.__version__}. One run of each recipe in recipes/cifar10 "
            "and recipes/fashion. Accuracy in per cent of the 5,000 validation images at the best epoch, "
            "which chose the weights; the test set was scored once, with these. "
            "The published figures are of the validation set too.",
            "",
            *(f"| {line} |" for line in lines),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
