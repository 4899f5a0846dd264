"""``kilter pretrain``: an encoder from rows without labels, written to a .keras file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import typer

from kilter._cli.options import check_out, say, say_table
from kilter._cli.training import recipe_from
from kilter._progress import Display
from kilter._text import duration, number
from kilter.pretrain.from_recipe import pretrain as pretrain_recipe
from kilter.pretrain.running import Pretrained
from kilter.runs.atomic import write_text
from kilter.runs.model_data import write_model

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
    progress: Display,
) -> None:
    """Pretrain a recipe, or data with the default model; ``options``: values of the recipe's keys."""
    check_out(out, [".keras"])
    if curve is not None:
        check_out(curve, [PICTURE])
    if not source.endswith(".toml"):
        options = {"train.epochs": EPOCHS} | dict(options)
    recipe = recipe_from(source, settings, options)
    done = pretrain_recipe(recipe, verbose=progress, allow_code=allow_code)
    progress.close()
    write_model(done.encoder, out, done.data)
    if curve is not None:
        write_text(curve, done.plot().to_html())
    if as_json:
        typer.echo(json.dumps(done.to_json() | {"encoder": str(out)}, indent=2, ensure_ascii=False))
        return
    _show(done)
    if curve is not None:
        say(f"curve: {curve}")
    say(f"encoder: {out}")


def _show(done: Pretrained) -> None:
    say(f"{done.task}: {len(done.history.epoch)} epochs in {duration(done.seconds)}")
    rows = [(name, number(value)) for name, value in done.figures.items()]
    say_table(("measured", ""), rows, right=(1,))
    for note in done.notes:
        say(note)
