"""``--model FILE.KERAS``: a compiled model and labelled data for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from kilter._models.saved import load_model
from kilter.data import Source, load
from kilter.errors import DataError, ModelError, OptionError
from kilter.runs.model_data import data_of, load_for

if TYPE_CHECKING:
    import keras


def compiled_with_data(
    path: Path, source: str, settings: Sequence[str], *, target: str | None, allow_code: bool
) -> tuple[keras.Model, Source]:
    """The compiled model in the .keras file ``path``, and ``source`` with labels to train it on.

    Columns are matched by name if the file has a data record; else they keep the order of ``source``, and a
    note says so. ``settings`` are those of ``--set``, which do not apply to a saved model:
    :class:`OptionError`. Raises :class:`ModelError` for a model that was not compiled, :class:`DataError` for
    data without labels.
    """
    if settings:
        raise OptionError(
            expected="--set for a recipe, or --model for a file",
            received=f"--set {settings[0]} and --model {path}",
            remedy="leave --set out: a saved model brings its own loss and optimiser",
        )
    model = load_model(path, allow_code=allow_code, compiled=True)
    if not model.compiled:
        raise ModelError(
            expected=f"a model that was saved after compile(): {path}",
            received="one without loss and optimiser",
            remedy="compile it as in training and save it again, or pass its recipe",
        )
    record = data_of(path)
    if record is None:
        data = load(source, target=target)
        if data.train.features:
            typer.echo(
                f"note: {path} does not name its columns; they are taken in the order of {source}", err=True
            )
    else:
        data = load_for(record, source, model=str(path), target=target, unlabelled=False)
    if data.train.y is None:
        raise DataError(
            expected="data with labels, to train the model on",
            received=f"{data.train.name}, which has none",
            remedy="name the column with --target",
        )
    return model, data
