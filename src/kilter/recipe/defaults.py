"""The recipe for data that come without one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from kilter.recipe.model import CnnSection, MlpSection
from kilter.recipe.sections import DataSection, EarlyStopping, Recipe, TrainSection

IMAGE_SETS: Final = ("cifar10", "fashion-mnist")


def run_name(text: str) -> str:
    """``text`` as a run may be called: letters, digits, points, hyphens and underscores, at most 100."""
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-._")[:100]
    return kept or "run"


def recipe_for(source: str) -> Recipe:
    """A sound recipe for a named data set, a file or a folder, which is not opened.

    Two dense layers of 100 units (ELU, He), or for the named image sets and for folders, which hold images,
    a small convolutional network; Nadam; at most 100 epochs, ended 10 epochs after the best validation loss.
    """
    images = source in IMAGE_SETS or Path(source).is_dir()
    return Recipe(
        name=run_name(Path(source).stem),
        data=DataSection(source=source),
        model=CnnSection(builder="cnn") if images else MlpSection(builder="mlp"),
        train=TrainSection(epochs=100, early_stopping=EarlyStopping(patience=10)),
    )
