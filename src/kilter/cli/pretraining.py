"""``kilter pretrain``: an encoder from rows without labels, written to a .keras file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from rich.console import Console

from kilter.cli.output import check_out
from kilter.cli.progress import progress
from kilter.cli.training import recipe_from
from kilter.cli.words import number, table
from kilter.pretrain.recipes import pretrain as pretrain_recipe
from kilter.pretrain.records import Pretrained
from kilter.runs.atomic import write_text
from kilter.runs.model_data import write_model
from kilter.words import duration

EPOCHS: Final = 20  # of data without a recipe
PICTURE: Final = ".html"


def pretrain(
    source: str,
    settings: Sequence[str],
    options: Mapping[str, Any],
    out: Path,
    curve: Path | None,
    *,
    allow_code: bool,
    as_json: bool,
) -> None:
    """Pretrain a recipe, or data with the default model; ``options`` are keys of the recipe."""
    check_out(out, [".keras"])
    if curve is not None:
        check_out(curve, [PICTURE])
    if not source.endswith(".toml"):
        options = {"train.epochs": EPOCHS} | dict(options)
    recipe = recipe_from(source, settings, options)
    if as_json:
        done = pretrain_recipe(recipe, verbose=0, allow_code=allow_code)
    else:
        with progress(Console()) as shown:
            done = pretrain_recipe(recipe, callbacks=[shown], verbose=0, allow_code=allow_code)
    write_model(done.encoder, out, done.data)
    if curve is not None:
        write_text(curve, done.plot().to_html())
    if as_json:
        typer.echo(json.dumps(done.to_json() | {"encoder": str(out)}, indent=2, ensure_ascii=False))
        return
    _show(done)
    if curve is not None:
        typer.echo(f"curve: {curve}")
    typer.echo(f"encoder: {out}")


def _show(done: Pretrained) -> None:
    typer.echo(f"{done.task}: {len(done.history.epoch)} epochs in {duration(done.seconds)}")
    rows = [(name, number(value)) for name, value in done.figures.items()]
    for line in table(("measured", ""), rows, right=(1,)):
        typer.echo(line)
    for note in done.notes:
        typer.echo(note)
