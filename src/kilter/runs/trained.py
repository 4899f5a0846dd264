"""A trained model: a run directory, or a bare .keras file."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jax
import keras

from kilter._engine.arrays import Rows
from kilter._engine.checks import check_inputs
from kilter._engine.objective_for import check_outputs
from kilter._models.saved import load_model
from kilter._validation import errors_as
from kilter.data import Source, load
from kilter.data.loading import contents, label_columns
from kilter.errors import DataError, ModelError, RunError
from kilter.runs.atomic import write_with
from kilter.runs.checksums import require_unchanged
from kilter.runs.reading import DATA, MODEL, is_run, near_run, read_data
from kilter.runs.records import DataRecord

# The name of the record's entry in the .keras file, a zip archive; Keras ignores unknown entries.
_ENTRY: Final = f"kilter/{DATA}"
_DAMAGE: Final = (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile, zlib.error)


def data_of(model_file: Path) -> DataRecord | None:
    """The record in the .keras file, else the data.json next to it, else None; RunError for a damaged one."""
    expected = f"{_ENTRY} in {model_file} as kilter wrote it"
    remedy = "restore the file from a backup, or write it again"
    with errors_as(RunError, *_DAMAGE, expected=expected, remedy=remedy):
        if zipfile.is_zipfile(model_file):
            with zipfile.ZipFile(model_file) as archive:
                if _ENTRY in archive.namelist():
                    return DataRecord.from_json(archive.read(_ENTRY).decode("utf-8"))
    return read_data(model_file.parent)


def write_model(model: Any, path: Path, record: DataRecord | None = None) -> None:
    """Write a .keras file, whole or not at all, with the record of its data if there is one."""

    def save(temporary: Path) -> None:
        model.save(temporary)
        if record is not None:
            with zipfile.ZipFile(temporary, "a") as archive:
                archive.writestr(_ENTRY, record.to_json())

    write_with(path, save)


def load_for(
    record: DataRecord | None,
    source: str,
    *,
    model: str,
    target: str | None = None,
    unlabelled: bool,
    keep_inputs: bool = False,
) -> Source:
    """``source``, read as the model's training data: columns by name, categories, classes, image size."""
    require_names(record, source, model)
    how: dict[str, Any] = {"target": target, "unlabelled": unlabelled, "keep_inputs": keep_inputs}
    if record is None:
        return load(source, **how)
    if record.encoding is not None:
        return load(source, encoding=record.table_encoding, **how)
    if target is None and record.target in label_columns(source):
        how["target"] = record.target
    how |= {"task": record.task, "classes": record.classes or None, "shifts": record.shifts}
    return load(source, **how, **image_form(record, source))


def image_form(record: DataRecord | None, source: str) -> dict[str, Any]:
    """The options of load() for encoded images of the size and channels of the training; {} for others."""
    if record is None or len(record.input_shape) != 3 or contents(source) != "images":
        return {}
    height, width, channels = record.input_shape
    return {"image_size": (height, width), "channels": channels if channels in (1, 3) else None}


def require_names(record: DataRecord | None, source: str, model: str) -> None:
    """Raise DataError for data with columns that could be matched to the model only by position."""
    named = record is not None and record.encoding is not None
    if named and Path(source).suffix == ".npz":
        raise DataError(
            expected=f"a table (.csv or .parquet) with the columns that {model} was trained on",
            received=f"{source}, which does not name its columns",
            remedy="write the rows to a table with a header",
        )
    if named and contents(source) == "images":
        raise DataError(
            expected=f"a table with the columns that {model} was trained on",
            received=f"{source}, which holds images",
            remedy="name a table with these columns, or a run that was trained on images",
        )
    # Images do not have the shape of a table's rows; that is reported elsewhere.
    flat = record is None or len(record.input_shape) == 1
    if not named and flat and contents(source) == "table":
        raise _nameless(source, model, trained_on=None if record is None else record.origin)


def _nameless(source: str, model: str, *, trained_on: str | None) -> DataError:
    if trained_on is not None:
        return DataError(
            expected=f"data without named columns, as {model} was trained on ({trained_on})",
            received=f"the table {source}, whose columns could only be matched by position",
            remedy="save its columns in the order of training, as x in an .npz file",
        )
    return DataError(
        expected="a model with column names, to read a table",
        received=f"{model} without a {DATA} inside or next to it, so columns could be matched only by "
        "position",
        remedy=f"name the run directory that kilter train or kilter treat wrote ({MODEL} and {DATA} are in "
        f"it), copy its {DATA} next to the model, or save the rows as x in an .npz file",
    )


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model and its data record."""

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
        # The file may be another model in a run's folder, and the run's data record does not apply to it.
        fits = record is not None and _misfit(model, record) is None
        return Trained(model, path, run, record if fits else None)
    run = path.parent if of_run else path
    if not is_run(run):
        raise RunError(
            expected="a run directory or a .keras file",
            received=f"{path}, which {'is neither' if path.exists() else 'does not exist'}",
            remedy=f"correct the path; `kilter runs` lists the runs{near_run(path)}",
        )
    require_unchanged(run / MODEL)
    if not (run / MODEL).exists():
        raise RunError(
            expected=f"a run that has saved its best weights, in {run / MODEL}",
            received="a run that has not saved any yet",
            remedy="if it is still training, wait for the first checkpoint; otherwise run "
            f"kilter resume {run}",
        )
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


def read_for(trained: Trained, source: str, **how: Any) -> Source:
    """``source`` read as the training data were, as :func:`load_for` does."""
    return load_for(trained.data, source, model=str(trained.path), **how)
