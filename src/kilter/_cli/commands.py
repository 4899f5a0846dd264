"""The commands: their options and help, each declared once.

The work is done in other modules, which load when a command runs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from kilter._cli import options
from kilter._cli.options import Command, option


@dataclass(frozen=True, kw_only=True)
class Trusting(Command):
    """A command that runs the code of a model only if it is told to."""

    allow_code: options.AllowCode = False


@dataclass(frozen=True, kw_only=True)
class Running(Trusting):
    """The same with progress."""

    quiet: options.Quiet = False


@dataclass(frozen=True, kw_only=True)
class Reporting(Running):
    """The same with a result that can be JSON."""

    as_json: options.AsJson = False


@dataclass(frozen=True, kw_only=True)
class Recording(Trusting):
    """A command that trains into a run directory."""

    path_only: options.PathOnly = False


@dataclass(frozen=True, kw_only=True)
class Train(Command):
    """Train a model in a new run directory.

    Keeps the best weights, the history, and the recipe to repeat the run."""

    module = "training"
    source: options.Source
    overrides: options.Overrides
    runs: options.Parent = Path("runs")
    name: options.Name = None
    epochs: options.Epochs = None
    folds: Annotated[int | None, option("--folds", "N", "Cross-validate with N folds.")] = None
    seed: options.Seed = None
    metric: options.Metric = None
    devices: options.Devices = None
    distribution: options.Distribution
    allow_code: options.AllowCode = False
    as_json: options.AsJson = False
    path_only: options.PathOnly = False


@dataclass(frozen=True, kw_only=True)
class Transfer(Recording):
    """Reuse a trained model's lower layers for new data.

    Trains a new head first, then all layers at a tenth of the learning rate."""

    module = "reuse"
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|MODEL.KERAS|NETWORK",
            help="What to reuse: a run, a saved model or a network of keras.applications.",
        ),
    ]
    data: options.ReuseData
    keep: Annotated[
        str | None,
        option(
            "--keep", "LAYERS", "Number of layers, or name of the last one; default -1: all but the output."
        ),
    ] = None
    weights: Annotated[
        str | None, option("--weights", "FILE", "Weights for a network of keras.applications.")
    ] = None
    head_epochs: Annotated[
        int | None, option("--head-epochs", "N", "Epochs that train only the head; default 5.")
    ] = None
    overrides: options.Overrides
    runs: options.Parent = Path("runs")
    name: options.Name = None
    epochs: options.Epochs = None
    seed: options.Seed = None


@dataclass(frozen=True, kw_only=True)
class Pretrain(Reporting):
    """Pretrain an encoder without labels.

    The task generates its targets from the rows. Reuse the encoder when labels are few."""

    module = "reuse"
    source: options.Source
    out: Annotated[
        Path | None, option("--out", "FILE", "The .keras file to write; default: a new encoder.keras.")
    ] = None
    task: Annotated[
        str | None,
        option(
            "--task",
            "TASK",
            "autoencoder, rotation, masked-patch, jigsaw, pairs, contrastive or gan; see the docs.",
        ),
    ] = None
    overrides: options.Overrides
    epochs: options.Epochs = None
    seed: Annotated[int | None, option("--seed", "N", "Seed for weights, shuffling and the task.")] = None
    curve: Annotated[Path | None, option("--curve", "FILE", "Plot the history in this .html file.")] = None


@dataclass(frozen=True, kw_only=True)
class Diagnose(Reporting):
    """Check a model and its data for problems before training.

    Runs one pass and the first steps on a copy. Exit code 1 for severe findings."""

    module = "diagnosing"
    source: options.SourceOrScript
    arguments: options.ScriptArguments = None
    overrides: options.Overrides
    model: options.SavedModel = None
    epochs: options.Epochs = None
    steps: Annotated[
        int, option("--steps", "N", "Training steps to run on a copy; 0 for none.", max=1_000_000)
    ] = 64


@dataclass(frozen=True, kw_only=True)
class Treat(Reporting):
    """Fix a network that does not learn, and prove it.

    Tries changes in short trials, trains with the best, and tests the result against the original."""

    module = "treating"
    source: options.SourceOrScript
    arguments: options.ScriptArguments = None
    overrides: options.Overrides
    model: options.SavedModel = None
    out: Annotated[
        Path | None, option("--out", "DIR", "New folder for the result; default: treated, treated-2, …")
    ] = None
    epochs: options.Epochs = None
    keep: Annotated[
        list[str] | None,
        option("--keep", "REMEDY|LAYER", "Remedy not to use, or layer not to change; repeatable."),
    ] = None
    metric: options.Metric = None


@dataclass(frozen=True, kw_only=True)
class FindLr(Running):
    """Find the learning rate to train with.

    Raises it over a few hundred steps and suggests one from the loss curve."""

    module = "rates"
    source: options.Source
    overrides: options.Overrides
    seeds: Annotated[int, option("--seeds", "N", "Number of searches; the median is used.", max=1000)] = 1
    out: Annotated[
        Path | None, option("--out", "FILE", "Write the curve: a plot (.html) or numbers (.json).")
    ] = None


@dataclass(frozen=True, kw_only=True)
class Schedule(Running):
    """Show a recipe's learning rates before training.

    Learning rate and momentum at the first and last step of each epoch; nothing is trained."""

    module = "rates"
    source: options.Source
    overrides: options.Overrides
    out: Annotated[Path | None, option("--out", "FILE", "Plot the curves in this .html file.")] = None


@dataclass(frozen=True, kw_only=True)
class Evaluate(Reporting):
    """Evaluate a trained model on data.

    Prints loss and metrics; without data, for the run's own validation and test rows."""

    module = "predicting"
    model: options.Model
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="Data to evaluate on; default: the run's own.")
    ] = None
    target: options.TrueValues = None
    devices: options.Devices = None


@dataclass(frozen=True, kw_only=True)
class Predict(Running):
    """Predict a class, numbers or a mask for each row.

    Each line starts with the row's id, file name or number. It also has the probability of each class, or
    with --mc the uncertainty."""

    module = "predicting"
    model: options.Model
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A file, a folder or a named data set; labels are optional.")
    ]
    target: options.TrueValues = None
    out: Annotated[
        Path | None,
        option(
            "--out",
            "FILE",
            "Write a .csv, .npz or .parquet file, or a folder of masks; default: CSV on stdout.",
        ),
    ] = None
    with_inputs: Annotated[
        bool, typer.Option("--with-inputs", help="Include all input columns in the output.")
    ] = False
    samples: Annotated[
        int | None,
        option("--mc", "SAMPLES", "Average this many predictions with dropout on.", min=1, max=1_000_000),
    ] = None
    seed: Annotated[int | None, option("--seed", "N", "Seed for --mc; default 0.")] = None
    devices: options.Devices = None


@dataclass(frozen=True, kw_only=True)
class FoldBn(Running):
    """Fold batch normalisations into adjacent layers.

    Same predictions, fewer operations; checked on data before the file is written."""

    module = "predicting"
    model: options.Model
    check: Annotated[str, option("--check", "DATA", "Rows to compare the outputs on; labels are optional.")]
    out: Annotated[Path, option("--out", "FILE", "The .keras file to write.")]
    target: options.TrueValues = None
    timings: Annotated[
        int, option("--timings", "N", "Time both models N times, alternating.", max=10_000)
    ] = 0


@dataclass(frozen=True, kw_only=True)
class Data(Command):
    """Summarise a data set.

    Rows, classes, the range of each column, and likely problems."""

    module = "listing"
    stage = "Reading {source}"
    source: Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder or a named data set.")]
    columns: options.Columns
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad rows and images, and count them.")
    ] = False
    quiet: options.Quiet = False


@dataclass(frozen=True, kw_only=True)
class Compare(Reporting):
    """Compare recipes on paired seeds.

    Trains each with the same seeds on the same rows. Exact tests say which differences are proven."""

    module = "comparison"
    stage = "Reading recipes"
    recipes: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE.TOML|FOLDER", help="Recipes; the first one is the baseline."),
    ]
    settings: Annotated[
        list[str] | None, option("--set", "SECTION.KEY=VALUE", "Override a key in all recipes; repeatable.")
    ] = None
    pairing: options.Pairing


@dataclass(frozen=True, kw_only=True)
class Sweep(Reporting):
    """Try values of a recipe's keys.

    --vary compares every combination with the unchanged recipe on paired seeds; exact tests say which gains
    are proven. --over runs a search: many trials with one seed; bad ones are stopped early."""

    module = "comparison"
    stage = "Reading recipes"
    source: options.Source
    ranges: Annotated[
        list[str] | None, option("--vary", "SECTION.KEY=[A, B, ...]", "Values to try; repeat to combine.")
    ] = None
    search: options.Search
    overrides: options.Overrides
    pairing: options.Pairing


@dataclass(frozen=True, kw_only=True)
class Resume(Recording):
    """Continue an interrupted run.

    Starts from the newest checkpoint; the result is the same as without the interruption. With --epochs, a
    finished run is trained for longer."""

    module = "training"
    run: options.Run
    epochs: options.Epochs = None
    devices: options.Devices = None
    distribution: options.Distribution


@dataclass(frozen=True, kw_only=True)
class Replay(Running):
    """Rerun the step that broke a training run.

    Names the layer and the operation that produced the first non-finite number."""

    module = "training"
    run: options.Run
    step: Annotated[int | None, option("--step", "N", "The recorded step; default: the last one.")] = None


@dataclass(frozen=True, kw_only=True)
class Runs(Command):
    """List runs and their results."""

    module = "listing"
    stage = ""
    parent: options.RunsFolder = Path("runs")


@dataclass(frozen=True, kw_only=True)
class Report(Command):
    """Rewrite a run's report."""

    module = "listing"
    stage = "Reading {run}"
    run: options.Run
