"""``kilter transfer``: a trained model's lower layers, under a new head, for other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kilter._cli.options import say
from kilter._cli.training import recipe_from, train_recipe
from kilter._progress import Display
from kilter._text import printable
from kilter._transfer.cutting import counted_layers, find_cut
from kilter._transfer.sources import load_source
from kilter.recipe import Recipe, ReuseSection
from kilter.runs.checksums import require_unchanged
from kilter.runs.reading import MODEL, is_run


def transfer(
    source: str,
    data: str,
    settings: Sequence[str],
    options: Mapping[str, Any],
    head_epochs: int | None,
    parent: Path,
    quiet: bool,
    *,
    allow_code: bool,
    progress: Display,
) -> None:
    """Reuse the model ``source`` for ``data`` and train it in stages; ``options``: values of recipe keys.

    ``data`` may be a recipe, whose model is replaced.
    """
    if is_run(Path(source)):
        model = Path(source) / MODEL
        require_unchanged(model)
        source = str(model)
    stages = [] if head_epochs is None else [_stages(head_epochs)]
    recipe = recipe_from(data, [f"model.reuse={source}", *stages, *settings], options)
    if not quiet:
        _tell(recipe, allow_code=allow_code, progress=progress)
    train_recipe(recipe, parent, quiet, allow_code=allow_code, progress=progress)


def _stages(head_epochs: int) -> str:
    """The override for a head start of this many epochs, then all layers at a tenth of the rate."""
    head = f'{{ train = "head", epochs = {head_epochs} }}, ' if head_epochs else ""
    return f"fine_tune.stages=[{head}{{ rate = 0.1 }}]"


def _tell(recipe: Recipe, *, allow_code: bool, progress: Display) -> None:
    """Print what is reused, before training."""
    section = recipe.model
    assert isinstance(section, ReuseSection)
    progress.stage(f"Reading {printable(section.reuse)}")
    found = load_source(section.reuse, weights=section.weights, sha256=section.sha256, allow_code=allow_code)
    cut = find_cut(found.model, section.keep)
    progress.close()
    say(f"source: {found.file}  SHA-256 {found.sha256}")
    there = counted_layers(found.model)
    say(f"keeps {cut.keep} of {there} layers with weights, up to {cut.layer!r}")
