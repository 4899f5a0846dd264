"""``kilter``: the commands and their options. Implementations load when a command runs, so help is quick."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from kilter import __version__
from kilter._cli.comparison_commands import compare, sweep
from kilter._cli.group import KilterGroup
from kilter._cli.options import (
    AllowCode,
    AsJson,
    Epochs,
    Model,
    Name,
    Quiet,
    QuietRun,
    Run,
    Runs,
    SavedModel,
    Settings,
    Source,
    Target,
)
from kilter._cli.progress import opened
from kilter._cli.rate_commands import find_lr, schedule
from kilter._cli.reuse_commands import pretrain, transfer
from kilter._system import BY_SIGNAL, STOPPING, leave
from kilter._text import printable


def train(
    source: Source,
    settings: Settings = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    target: Target = None,
    epochs: Epochs = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of weights, order, dropout and splits.")
    ] = None,
    allow_code: AllowCode = False,
    quiet: QuietRun = False,
) -> None:
    """Train a model in a new run directory.

    The directory gets the best weights, the history, and the recipe to train the model again."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import training

        given = {"name": name, "data.target": target, "train.epochs": epochs, "seed": seed}
        options = {key: value for key, value in given.items() if value is not None}
        training.train(source, settings or [], options, runs, quiet, allow_code=allow_code, progress=progress)


def diagnose(
    source: Source,
    settings: Settings = None,
    model: SavedModel = None,
    target: Target = None,
    steps: Annotated[
        int, typer.Option("--steps", max=1_000_000, help="Steps to try on a copy; 0 for none.")
    ] = 64,
    allow_code: AllowCode = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Find faults of a model and its data before training.

    Checks the model, the data, one pass and the first steps; exit code 1 for severe findings."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import diagnosing

        diagnosing.diagnose(
            source,
            settings or [],
            model,
            target=target,
            steps=steps,
            allow_code=allow_code,
            as_json=as_json,
            progress=progress,
        )


def treat(
    source: Source,
    settings: Settings = None,
    model: SavedModel = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the treated model and the report go.")
    ] = Path("treated"),
    target: Target = None,
    epochs: Epochs = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="REMEDY|LAYER", help="A remedy not to use, or a layer not to change."),
    ] = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Repair a network that does not learn, and prove it.

    The smallest sufficient set of changes is tested against the original network, then trained."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import treating

        treating.treat(
            source,
            settings or [],
            model,
            out,
            target=target,
            epochs=epochs,
            keep=keep or [],
            allow_code=allow_code,
            as_json=as_json,
            progress=progress,
        )


def resume(
    run: Run,
    allow_code: AllowCode = False,
    quiet: QuietRun = False,
) -> None:
    """Continue an interrupted run.

    It starts from the newest checkpoint and gives the same result as without the interruption."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import training

        training.resume(run, quiet, allow_code=allow_code, progress=progress)


def evaluate(
    model: Model,
    data: Annotated[
        str | None, typer.Argument(metavar="[DATA]", help="Without it: the run's own data.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", metavar="COLUMN", help="The column of the right answers."),
    ] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a trained model on data.

    Prints loss and metrics; without data, on the run's own validation and test rows."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import predicting

        predicting.evaluate(model, data, target=target, allow_code=allow_code, progress=progress)


def predict(
    model: Model,
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="A file, a folder or a named set; no labels needed.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", help="A .csv, .npz or .parquet file; without it CSV on the screen."
        ),
    ] = None,
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
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the dropout; default 0.")] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Predict a class or numbers for each row.

    With the probabilities of all classes; with --mc also their uncertainty."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import predicting

        predicting.predict(
            model, data, out, samples=samples, seed=seed, allow_code=allow_code, progress=progress
        )


def fold_bn(
    model: Model,
    check: Annotated[
        str, typer.Option("--check", metavar="DATA", help="Rows to compare the outputs on; no labels needed.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the .keras file goes.")],
    timings: Annotated[
        int,
        typer.Option("--timings", metavar="N", max=10_000, help="Time both models this often, in turns."),
    ] = 0,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Fold batch normalisations into adjacent layers.

    The same predictions with fewer operations; checked on data before the file is written."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import folding

        folding.fold_bn(model, check, out, timings=timings, allow_code=allow_code, progress=progress)


def runs(
    parent: Annotated[Path, typer.Argument(metavar="[DIR]", help="The folder of run directories.")] = Path(
        "runs"
    ),
) -> None:
    """List the runs and what they reached."""
    from kilter._cli import listing

    listing.print_runs(parent)


def report(
    run: Run,
) -> None:
    """Write the report of a run again."""
    with opened(f"Reading {printable(str(run))}"):
        from kilter.report import write_report

        page = write_report(run)
    typer.echo(page)


def data(
    source: Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder or a named set.")],
    target: Target = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out bad rows and images, and count them.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Summarise a source of data.

    Rows, classes, the range of each column, and likely problems."""
    with opened(f"Reading {printable(source)}", quiet=quiet) as progress:
        from kilter._cli import listing

        listing.print_source(source, target=target, skip_bad=skip_bad, progress=progress)


class Commands(KilterGroup):
    """All commands, in the order of the help page."""

    functions = (
        train,
        transfer,
        find_lr,
        diagnose,
        treat,
        schedule,
        resume,
        evaluate,
        predict,
        fold_bn,
        pretrain,
        compare,
        sweep,
        runs,
        report,
        data,
    )


app = typer.Typer(
    name="kilter",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: loading rich for its boxes would double the time it takes
    pretty_exceptions_enable=False,
    help="Deep networks that train, and the proof of why.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kilter {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point of the ``kilter`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without × or σ
    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, leave)
    try:
        app()
    except SystemExit as ended:
        _leave_at_once(ended.code)
        raise


def _leave_at_once(code: int | str | None) -> None:
    """End the process after a signal without waiting for threads, such as one that is compiling."""
    if isinstance(code, int) and code > BY_SIGNAL and threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
