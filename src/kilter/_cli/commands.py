"""The commands: their options and help.

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
    Columns,
    Data,
    Devices,
    Distribution,
    Epochs,
    Metric,
    Model,
    Name,
    Overrides,
    Pairing,
    PathOnly,
    Quiet,
    ReuseData,
    Run,
    Runs,
    RunsFolder,
    SavedModel,
    ScriptArguments,
    Search,
    Seed,
    Source,
    SourceOrScript,
    TrueValues,
)


@done_in("training")
def train(
    source: Source,
    *,
    overrides: Overrides,
    runs: Runs = Path("runs"),
    name: Name = None,
    epochs: Epochs = None,
    folds: Annotated[
        int | None, typer.Option("--folds", metavar="N", help="Cross-validate with N folds.")
    ] = None,
    seed: Seed = None,
    metric: Metric = None,
    devices: Devices = None,
    distribution: Distribution,
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
    data: ReuseData,
    *,
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
    overrides: Overrides,
    runs: Runs = Path("runs"),
    name: Name = None,
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
    *,
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
    overrides: Overrides,
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
    *,
    overrides: Overrides,
    model: SavedModel = None,
    epochs: Epochs = None,
    steps: Annotated[
        int,
        typer.Option(
            "--steps", metavar="N", max=1_000_000, help="Training steps to run on a copy; 0 for none."
        ),
    ] = 64,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Check a model and its data for problems before training.

    Tries one pass and the first steps on a copy. Exit code 1 for severe findings."""


@done_in("treating")
def treat(
    source: SourceOrScript,
    arguments: ScriptArguments = None,
    *,
    overrides: Overrides,
    model: SavedModel = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="New folder for the result; default: treated, treated-2, …"
        ),
    ] = None,
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
    *,
    overrides: Overrides,
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
    *,
    overrides: Overrides,
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
    with_inputs: Annotated[
        bool, typer.Option("--with-inputs", help="Include all input columns in the output.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            "--mc",
            metavar="SAMPLES",
            min=1,
            max=1_000_000,
            help="Average this many predictions with dropout on.",
        ),
    ] = None,
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
    columns: Columns,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad rows and images, and count them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Summarise a data set.

    Rows, classes, the range of each column, and likely problems."""


@done_in("comparison", "Reading recipes")
def compare(
    recipes: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE.TOML|FOLDER", help="Recipes; the first one is the baseline."),
    ],
    *,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a key in all recipes; repeatable."),
    ] = None,
    pairing: Pairing,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Compare recipes on paired seeds.

    Trains each with the same seeds on the same rows. Exact tests say which differences are proven."""


@done_in("comparison", "Reading recipes")
def sweep(
    source: Source,
    *,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--vary", metavar="SECTION.KEY=[A, B, ...]", help="Values to try; repeat to combine."),
    ] = None,
    search: Search,
    overrides: Overrides,
    pairing: Pairing,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Try values of a recipe's keys.

    --vary compares every combination with the unchanged recipe on paired seeds; exact tests say which gains
    are proven. --over searches: many trials on one seed, the bad ones stopped early."""


@done_in("training")
def resume(
    run: Run,
    *,
    epochs: Epochs = None,
    devices: Devices = None,
    distribution: Distribution,
    allow_code: AllowCode = False,
    path_only: PathOnly = False,
) -> None:
    """Continue an interrupted run.

    Starts from the newest checkpoint; the result is the same as without the interruption. With --epochs, a
    finished run is trained for longer."""


@done_in("training")
def replay(
    run: Run,
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", help="The recorded step; default: the last one.")
    ] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Repeat the step that broke a training run.

    Names the layer and the operation that produced the first non-finite number."""


def runs(parent: RunsFolder = Path("runs")) -> None:
    """List runs and their results."""
    from kilter._cli import listing

    listing.runs(parent)


@done_in("listing", "Reading {run}")
def report(run: Run) -> None:
    """Rewrite a run's report."""
