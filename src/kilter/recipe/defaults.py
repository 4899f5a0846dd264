"""The recipe for data that come without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from kilter.recipe.errors import recipe_error
from kilter.recipe.sections import Recipe

IMAGE_SETS: Final = ("cifar10", "fashion-mnist")


def run_name(text: str) -> str:
    """``text`` as a run may be called: letters, digits, points, hyphens and underscores, at most 100."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    return kept or "run"


def recipe_for(source: str) -> Recipe:
    """The default recipe for a named data set, a file or a folder; only file names are inspected.

    Two dense layers of 100 units (ELU, He), or for the named image sets and for folders of images a small
    convolutional network; Nadam; at most 100 epochs, ended 10 epochs after the best validation loss. Parquet,
    be it a file or a folder of them, may hold a table or images: it gets the dense layers, which take both.

    Raises :class:`~kilter.errors.RecipeError` for a name that is empty or not UTF-8.
    """
    images = source in IMAGE_SETS or _is_image_folder(Path(source))
    given = {
        "name": run_name(Path(source).stem),
        "data": {"source": source},
        "model": {"builder": "cnn" if images else "mlp"},
        "train": {"epochs": 100, "early_stopping": {"patience": 10}},
    }
    try:
        return Recipe.model_validate(given)
    except ValidationError as error:
        raise recipe_error(error, given) from None


def _is_image_folder(path: Path) -> bool:
    """Whether the path is a folder, and none of Parquet files."""
    try:
        return path.is_dir() and not any(file.suffix.lower() == ".parquet" for file in path.iterdir())
    except OSError:  # a folder that may not be read: reading the data will say so
        return False
