"""A trained model as the command line finds it: a run directory, or a bare .keras file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kilter import _backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import jax
import keras
import typer

from kilter._engine.arrays import Rows
from kilter._engine.checks import check_inputs
from kilter._engine.objective_for import check_outputs
from kilter._models.saved import load_model
from kilter.data import Source, load
from kilter.errors import DataError, ModelError, OptionError, RunError
from kilter.runs.checksums import require_unchanged
from kilter.runs.model_data import data_of, load_for
from kilter.runs.reading import MODEL, is_run, read_data
from kilter.runs.records import DataRecord


@dataclass(frozen=True, eq=False)
class Trained:
    """A model with its weights, and what is known of its data.

    A file outside a run directory has no run; `data` is then the record in the file or beside it, if any.
    """

    model: keras.Model
    path: Path
    run: Path | None
    data: DataRecord | None


def open_trained(path: Path, *, allow_code: bool) -> Trained:
    """The model at ``path``: a run directory, the model.keras in one, or any other .keras file.

    Raises :class:`RunError` or :class:`kilter.errors.ModelError` where there is none, or it cannot be loaded.
    """
    of_run = path.name == MODEL and is_run(path.parent)
    if path.suffix == ".keras" and not of_run:
        run = path.parent if is_run(path.parent) else None
        model, record = load_model(path, allow_code=allow_code), data_of(path)
        # Another model may lie beside a run; the run's data record then says nothing about it.
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
    """Raise :class:`ModelError` unless the model takes the run's rows and gives its outputs."""
    error = _misfit(model, record)
    if error is not None:
        raise ModelError(
            expected=f"in {run} the model that was trained there: rows of shape {record.input_shape} in, "
            f"{record.outputs} {'classes' if record.task == 'classification' else 'numbers'} out",
            received=f"another one: {error.expected}, but {error.received}",
            remedy=f"put the run's own {MODEL} back, or keep the other model outside the run directory",
        ) from error


def _misfit(model: keras.Model, record: DataRecord) -> DataError | ModelError | None:
    """Why the model does not fit the rows or the outputs of the record; None if it fits both."""
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


def compiled_with_data(
    path: Path, source: str, settings: Sequence[str], *, target: str | None, allow_code: bool
) -> tuple[keras.Model, Source]:
    """The compiled model in the .keras file ``path``, and ``source`` with labels to train it on.

    Columns are matched by name where it is known what the model was trained on; else the model may be new,
    their order is that of ``source``, and a note says so.

    ``settings`` are those of ``--set``, which no saved model can take: :class:`OptionError`. Raises
    :class:`ModelError` for a model that was not compiled, :class:`DataError` for data without labels.
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
            remedy="compile it as you train it, and save it again; or name its recipe",
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
            expected="data with labels, as the model is trained on",
            received=f"{data.train.name}, which has none",
            remedy="name the column with --target",
        )
    return model, data
