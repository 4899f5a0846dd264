"""The commands about the learning rate, and their options; implementations load when they run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kilter._cli.options import AllowCode, Quiet, Settings, Source
from kilter._cli.progress import opened


def find_lr(
    source: Source,
    settings: Settings = None,
    seeds: Annotated[int, typer.Option("--seeds", max=1000, help="Searches, whose median is read.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The curve: a picture (.html) or numbers (.json)."),
    ] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Find the learning rate to train with.

    It rises from very small to very large over a few hundred steps; the loss curve gives the suggestion."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import finding_lr

        finding_lr.find(source, settings or [], seeds, out, allow_code=allow_code, progress=progress)


def schedule(
    source: Source,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The curves as a picture (.html).")
    ] = None,
    allow_code: AllowCode = False,
    quiet: Quiet = False,
) -> None:
    """Show a recipe's learning rates before training.

    Rate and momentum at the first and last step of each epoch; nothing is trained."""
    with opened(quiet=quiet) as progress:
        from kilter._cli import scheduling

        scheduling.show(source, settings or [], out, allow_code=allow_code, progress=progress)
