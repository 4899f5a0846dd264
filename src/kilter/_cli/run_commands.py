"""The commands on runs: options and help. The work is done in modules that load when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.declaring import done_in
from kilter._cli.options import (
    AllowCode,
    Coordinator,
    Devices,
    Epochs,
    PathOnly,
    Processes,
    Quiet,
    Rank,
    Run,
)


@done_in("training")
def resume(
    run: Run,
    epochs: Epochs = None,
    devices: Devices = None,
    coordinator: Coordinator = None,
    processes: Processes = None,
    rank: Rank = None,
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


def runs(
    parent: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of run directories.")] = Path(
        "runs"
    ),
) -> None:
    """List runs and their results."""
    from kilter._cli import listing

    listing.runs(parent)


@done_in("listing", "Reading {run}")
def report(run: Run) -> None:
    """Rewrite a run's report."""
