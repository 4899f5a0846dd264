"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL.KERAS", help="A run directory, or a model saved by Keras.")
]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Run code that a model brings along, if you trust its author.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the result and no progress.")]
QuietRun = Annotated[bool, typer.Option("--quiet", help="Print the run directory and nothing else.")]
