"""A trained model: a run directory, or a bare .keras file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jax
import keras

from kilter._engine.arrays import Rows
from kilter._engine.checks import check_inputs
from kilter._engine.objective_for import check_outputs
from kilter._models.saved import load_model
from kilter.data import Source
from kilter.errors import DataError, ModelError, RunError
from kilter.runs.checksums import require_unchanged
from kilter.runs.model_data import data_of, load_for
from kilter.runs.reading import MODEL, is_run, read_data
from kilter.runs.records import DataRecord


@dataclass(frozen=True, eq=False)
class Trained:
    """A model with its weights and the record of its data."""

    model: keras.Model
    path: Path
    run: Path | None
    data: DataRecord | None


def open_trained(path: Path, *, allow_code: bool) -> Trained:
    """The model at ``path``: a run directory, the model.keras in one, or any other .keras file."""
    of_run = path.name == MODEL and is_run(path.parent)
    if path.suffix == ".keras" and not of_run:
        run = path.parent if is_run(path.parent) else None
        model, record = load_model(path, allow_code=allow_code), data_of(path)
        # The file may be another model beside a run, to which the run's data record does not apply.
        fits = record is not None and _misfit(model, record) is None
        return Trained(model, path, run, record if fits else None)
    run = path.parent if of_run else path
    if not is_run(run):
        raise RunError(
            expected="a run directory or a .keras file",
            received=f"{path}, which {'is neither' if path.exists() else 'does not exist'}",
            remedy="correct the path; `kilter runs` lists the runs",
        )
    require_unchanged(run / MODEL)
    record = read_data(run)
    model = load_model(run / MODEL, allow_code=allow_code)
    if record is not None:
        _require_fitting(model, run, record)
    return Trained(model, path, run, record)


def _require_fitting(model: keras.Model, run: Path, record: DataRecord) -> None:
    """Raise :class:`ModelError` unless the model fits the run's rows and outputs."""
    error = _misfit(model, record)
    if error is not None:
        raise ModelError(
            expected=f"in {run} the model that was trained there: rows of shape {record.input_shape} in, "
            f"{record.outputs} {'classes' if record.task == 'classification' else 'numbers'} out",
            received=f"another one: {error.expected}, but {error.received}",
            remedy=f"put the run's own {MODEL} back, or keep the other model outside the run directory",
        ) from error


def _misfit(model: keras.Model, record: DataRecord) -> DataError | ModelError | None:
    """The error if the model does not fit the rows or outputs of the record."""
    row = jax.ShapeDtypeStruct((1, *record.input_shape), "float32")
    try:
        check_inputs(model, Rows((row, None, None), 1))
        check_outputs(model, record.task, record.outputs)
    except (DataError, ModelError) as error:
        return error
    return None


def read_for(trained: Trained, source: str, *, target: str | None = None, unlabelled: bool) -> Source:
    """``source`` read as the training data were: the same columns, categories, classes and image size."""
    return load_for(trained.data, source, model=str(trained.path), target=target, unlabelled=unlabelled)
