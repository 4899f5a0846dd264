"""The data record of a saved model, in its .keras file or beside it: which column of a table goes where."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

from kilter._validation import errors_as
from kilter.data import Source, load
from kilter.data.loading import is_table
from kilter.errors import DataError, RunError
from kilter.runs.atomic import write_with
from kilter.runs.reading import DATA, MODEL, read_data
from kilter.runs.records import DataRecord

# In the .keras file, a zip archive; Keras ignores foreign entries.
_ENTRY: Final = f"kilter/{DATA}"
_DAMAGE: Final = (ValueError, KeyError, TypeError, AttributeError, OSError, zipfile.BadZipFile, zlib.error)


def data_of(model_file: Path) -> DataRecord | None:
    """The record in the .keras file, else the data.json beside it, else None; RunError for a damaged one."""
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
    record: DataRecord | None, source: str, *, model: str, target: str | None = None, unlabelled: bool
) -> Source:
    """``source``, read as the model's training data: columns by name, categories, classes, image size.

    Raises DataError for a table if the record does not name the columns, for other data if it does, and as
    :func:`kilter.data.load`.
    """
    require_names(record, source, model)
    if record is None:
        return load(source, target=target, unlabelled=unlabelled)
    if record.encoding is not None:
        return load(source, target=target, encoding=record.table_encoding, unlabelled=unlabelled)
    return load(
        source,
        target=target,
        task=record.task,
        classes=record.classes or None,
        image_size=record.image_size,
        unlabelled=unlabelled,
        shifts=record.shifts,
    )


def require_names(record: DataRecord | None, source: str, model: str) -> None:
    """Raise DataError for data whose columns the model would have to take by position.

    That is a table if the record names no columns, and an array if it names them.
    """
    named = record is not None and record.encoding is not None
    if named and Path(source).suffix == ".npz":
        raise DataError(
            expected=f"a table (.csv or .parquet) with the columns that {model} was trained on",
            received=f"{source}, which does not name its columns",
            remedy="write the rows to a table with a header",
        )
    # Rows of images have another shape than a table's: that is reported elsewhere.
    flat = record is None or len(record.input_shape) == 1
    if not named and flat and is_table(source):
        raise _nameless(source, model, trained_on=None if record is None else record.origin)


def _nameless(source: str, model: str, *, trained_on: str | None) -> DataError:
    if trained_on is not None:
        return DataError(
            expected=f"data without named columns, as {model} was trained on ({trained_on})",
            received=f"the table {source}, whose columns could only be matched by position",
            remedy="save its columns in the order of training, as x in an .npz file",
        )
    return DataError(
        expected="a model that knows the names of its columns, to read a table",
        received=f"{model} without a {DATA} in it or beside it, so columns could only go by position",
        remedy=f"name the run directory that kilter train or kilter treat wrote ({MODEL} and {DATA} are in "
        f"it), copy its {DATA} beside the model, or save the rows as x in an .npz file",
    )
