"""The commands on data and models: options and help; those on runs and recipes have modules of their own.

The work is done in other modules, which load when a command runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.declaring import done_in
from kilter._cli.options import (
    AllowCode,
    AsJson,
    Coordinator,
    Data,
    Devices,
    Epochs,
    Folds,
    Ignore,
    Kinds,
    Metric,
    Missing,
    Model,
    Name,
    Only,
    PathOnly,
    Processes,
    Quiet,
    Rank,
    Runs,
    Samples,
    SavedModel,
    ScriptArguments,
    Seed,
    Settings,
    Source,
    SourceOrScript,
    Target,
    TrueValues,
    WithInputs,
)


@done_in("training")
def train(
    source: Source,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    epochs: Epochs = None,
    folds: Folds = None,
    seed: Seed = None,
    metric: Metric = None,
    devices: Devices = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    rank: Rank = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    path_only: PathOnly = False,
) -> None:
    """Train a model in a new run directory.

    Keeps the best weights, the history, and the recipe to repeat the run."""


@done_in("reuse")
def transfer(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL.KERAS|NETWORK",
            help="What to reuse: a run, a saved model or a network of keras.applications.",
        ),
    ],
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA|RECIPE.TOML", help="Training data, or a recipe (its model is replaced)."
        ),
    ],
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="LAYERS",
            help="Number of layers, or name of the last one; default -1: all but the output.",
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Weights of a network of keras.applications."),
    ] = None,
    head_epochs: Annotated[
        int | None,
        typer.Option("--head-epochs", metavar="N", help="Epochs that train only the head; default 5."),
    ] = None,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    epochs: Epochs = None,
    seed: Seed = None,
    allow_code: AllowCode = False,
    path_only: PathOnly = False,
) -> None:
    """Reuse a trained model's lower layers for new data.

    Trains a new head first, then all layers at a tenth of the learning rate."""


@done_in("reuse")
def pretrain(
    source: Source,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The .keras file to write; default: a new encoder.keras."),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="autoencoder, rotation, masked-patch, jigsaw, pairs, contrastive or gan; see the docs.",
        ),
    ] = None,
    settings: Settings = None,
    only_target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    epochs: Epochs = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", help="Seed for weights, shuffling and the task.")
    ] = None,
    curve: Annotated[
        Path | None, typer.Option("--curve", metavar="FILE", help="Plot the history in this .html file.")
    ] = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Pretrain an encoder without labels.

    The task makes its targets from the rows. Reuse the encoder when labels are few."""


@done_in("diagnosing")
def diagnose(
    source: SourceOrScript,
    arguments: ScriptArguments = None,
    settings: Settings = None,
    model: SavedModel = None,
    target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    epochs: Epochs = None,
    steps: Annotated[
        int,
        typer.Option(
            "--steps", metavar="N", max=1_000_000, help="Training steps to run on a copy; 0 for none."
        ),
    ] = 64,
    allow_code: AllowCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Check a model and its data for problems before training.

    Tries one pass and the first steps on a copy. Exit code 1 for severe findings."""


@done_in("treating")
def treat(
    source: SourceOrScript,
    arguments: ScriptArguments = None,
    settings: Settings = None,
    model: SavedModel = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="New folder for the result; default: treated, treated-2, …"
        ),
    ] = None,
    target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    epochs: Epochs = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="REMEDY|LAYER", help="Remedy not to use, or layer not to change; repeatable."
        ),
    ] = None,
    metric: Metric = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Fix a network that does not learn, and prove it.

    Tries changes in short trials, trains with the best, and tests the result against the original."""


@done_in("rates")
def find_lr(
    source: Source,
    settings: Settings = None,
    only_target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    seeds: Annotated[
        int, typer.Option("--seeds", metavar="N", max=1000, help="Number of searches; the median is used.")
    ] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write the curve: a plot (.html) or numbers (.json)."),
    ] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Find the learning rate to train with.

    Raises it over a few hundred steps and suggests one from the loss curve."""


@done_in("rates")
def schedule(
    source: Source,
    settings: Settings = None,
    only_target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Plot the curves in this .html file.")
    ] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Show a recipe's learning rates before training.

    Learning rate and momentum at the first and last step of each epoch; nothing is trained."""


@done_in("predicting")
def evaluate(
    model: Model,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Data to evaluate on; default: the run's own.")
    ] = None,
    target: TrueValues = None,
    devices: Devices = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a trained model on data.

    Prints loss and metrics; without data, for the run's own validation and test rows."""


@done_in("predicting")
def predict(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(metavar="DATA", help="A file, a folder or a named data set; labels are optional."),
    ],
    target: TrueValues = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="Write a .csv, .npz or .parquet file; default: CSV on stdout."
        ),
    ] = None,
    with_inputs: WithInputs = False,
    samples: Samples = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Seed for --mc; default 0.")] = None,
    devices: Devices = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Predict a class or numbers for each row.

    Beside the ids, file names or numbers of the rows; with the probability of each class, or with --mc the
    uncertainty."""


@done_in("predicting")
def fold_bn(
    model: Model,
    check: Annotated[
        str,
        typer.Option("--check", metavar="DATA", help="Rows to compare the outputs on; labels are optional."),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The .keras file to write.")],
    target: TrueValues = None,
    timings: Annotated[
        int, typer.Option("--timings", metavar="N", max=10_000, help="Time both models N times, alternating.")
    ] = 0,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Fold batch normalisations into adjacent layers.

    Same predictions, fewer operations; checked on data before the file is written."""


@done_in("listing", "Reading {source}")
def data(
    source: Data,
    target: Target = None,
    ignore: Ignore = None,
    only: Only = None,
    kinds: Kinds = None,
    missing: Missing = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad rows and images, and count them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Summarise a data set.

    Rows, classes, the range of each column, and likely problems."""
