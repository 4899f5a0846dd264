"""``kilter transfer``: a trained model's lower layers, under a new head, for other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from kilter.cli.training import recipe_from, train_recipe
from kilter.errors import OptionError
from kilter.recipe import Recipe, ReuseSection, with_overrides
from kilter.runs.reading import MODEL, is_run
from kilter.transfer.cutting import counted_layers, find_cut
from kilter.transfer.sources import load_source


def transfer(
    source: str,
    data: str,
    settings: Sequence[str],
    options: Mapping[str, Any],
    head_epochs: int | None,
    parent: Path,
    quiet: bool,
) -> None:
    """Reuse the model ``source`` for ``data``, and train it in stages; ``options`` are keys of the recipe.

    ``data`` may be a recipe too, of which all is taken but the model.
    """
    if is_run(Path(source)):
        source = str(Path(source) / MODEL)
    recipe = recipe_from(data, [f"model.reuse={source}", *settings], options)
    if head_epochs is not None:
        recipe = _with_head_start(recipe, head_epochs)
    if not quiet:
        _tell(recipe)
    train_recipe(recipe, parent, quiet)


def _with_head_start(recipe: Recipe, epochs: int) -> Recipe:
    if not 0 <= epochs < recipe.train.epochs:
        raise OptionError(
            expected=f"--head-epochs from 0 to {recipe.train.epochs - 1}, below the epochs in all",
            received=f"--head-epochs {epochs}",
            remedy="train for longer with --epochs, or shorten the head-start",
        )
    head = f'{{ train = "head", epochs = {epochs} }}, ' if epochs else ""
    return with_overrides(recipe, [f"fine_tune.stages=[{head}{{ rate = 0.1 }}]"])


def _tell(recipe: Recipe) -> None:
    """What is reused, before it is trained."""
    section = recipe.model
    assert isinstance(section, ReuseSection)
    found = load_source(
        section.reuse, weights=section.weights, sha256=section.sha256, allow_code=section.allow_code
    )
    cut = find_cut(found.model, section.keep)
    typer.echo(f"source: {found.file}  SHA-256 {found.sha256}")
    there = counted_layers(found.model)
    typer.echo(f"keeps {cut.keep} of {there} layers with weights, up to {cut.layer!r}")
