"""Parquet: a table, or encoded images in a column; one file, or a folder of train and test shards."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.entries import raw_targets
from kilter.data.folders import TEST_NAMES, TRAIN_NAMES
from kilter.data.images import decode_images
from kilter.data.labels import if_usable, label_name, lost_labels
from kilter.data.parquet_pages import require_sound_headers
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote, require_file
from kilter.data.tables import UNREADABLE, choose_target, table_source
from kilter.errors import DataError

_IMAGE_NAMES = ("image", "img", "picture", "x")


def recognises(path: Path) -> bool:
    """Whether the path ends in .parquet or is a folder with such files."""
    if path.is_dir():
        return any(entry.suffix.lower() == ".parquet" for entry in path.iterdir())
    return path.suffix.lower() == ".parquet"


def read(path: Path, options: LoadOptions) -> Source:
    """Read a file, or a folder of shards whose names begin with train, test, val or validation.

    A column of ``{bytes, path}`` structs or bytes makes the data images; else they are a table.
    """
    train_files, test_files, notes = _shards(path)
    train = _frame(train_files)
    test = _frame(test_files) if test_files else None
    image_columns = [name for name, dtype in train.schema.items() if _is_image_type(dtype)]
    if not image_columns:
        return table_source(train, test, options, About("parquet table", str(path), path.stem, notes=notes))
    image = next((name for name in _IMAGE_NAMES if name in image_columns), image_columns[0])
    label, found = _label_column(train, image, options, path)
    notes += found
    unread = [quote(name) for name in train.columns if name not in (image, label)]
    notes += (f"not read besides the images: column {first_named(unread)}",) if unread else ()
    classes = None if label is None else _declared_classes(train_files[0], label)
    about = About("parquet images", str(path), path.stem, classes=classes, notes=notes)
    test_part = None if test is None else _image_part(test, image, label, classes, options)
    return assemble(_image_part(train, image, label, classes, options), test_part, options, about)


def holds_table(path: Path) -> bool:
    """Whether the file or folder contains a table and no images; False if it cannot be read."""
    try:
        schema = pl.read_parquet_schema(_shards(path)[0][0])
    except (*UNREADABLE, IndexError):
        return False
    return not any(map(_is_image_type, schema.values()))


def _shards(path: Path) -> tuple[list[Path], list[Path], tuple[str, ...]]:
    """Files of the training part, files of the test part, and notes on files that are not read."""
    if not path.is_dir():
        return [path], [], ()
    files = sorted(entry for entry in path.iterdir() if entry.suffix.lower() == ".parquet")
    train = [file for file in files if file.name.lower().startswith(TRAIN_NAMES)]
    if not train:
        return files, [], ()
    by_name = {name: [f for f in files if f.name.lower().startswith(name)] for name in TEST_NAMES}
    test = next((found for found in by_name.values() if found), [])
    rest = [file.name for file in files if file not in train and file not in test]
    notes = (f"not read: {first_named(rest)}",) if rest else ()
    return train, test, notes


def _frame(files: list[Path]) -> pl.DataFrame:
    for file in files:
        require_file(file)
    with errors_as(
        DataError,
        *UNREADABLE,
        expected=f"intact Parquet files with the same columns: {first_named(files)}",
        received="files that cannot be read",
        remedy="the file is truncated, damaged or of another format: download or write it again",
    ):
        for file in files:
            require_sound_headers(file)
        frames = [pl.read_parquet(file, hive_partitioning=False) for file in files]
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical_relaxed")


def _is_image_type(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(field.name == "bytes" and field.dtype == pl.Binary for field in dtype.fields)
    return dtype == pl.Binary


def _label_column(
    frame: pl.DataFrame, image: str, options: LoadOptions, path: Path
) -> tuple[str | None, tuple[str, ...]]:
    columns = [name for name, dtype in frame.schema.items() if name != image and not _is_image_type(dtype)]
    if not columns and options.target is None:
        return None, ()
    return choose_target(columns, options.target, str(path))


def _declared_classes(file: Path, label: str) -> tuple[str, ...] | None:
    """Class names from the metadata of Hugging Face's datasets library, if any."""
    try:
        metadata = pl.read_parquet_metadata(file)
        names = json.loads(metadata["huggingface"])["info"]["features"][label]["names"]
        return tuple(str(name) for name in names) if names else None
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError):
        return None


def _image_part(
    frame: pl.DataFrame, image: str, label: str | None, classes: tuple[str, ...] | None, options: LoadOptions
) -> Part:
    column = frame[image]
    content = column.struct.field("bytes") if isinstance(column.dtype, pl.Struct) else column
    decoded = decode_images(
        frame.height,
        lambda i: content[i],
        lambda i: f"image in row {i}",
        image_size=options.image_size,
        skip_bad=options.skip_bad,
    )
    if label is None or label not in frame.columns:
        return Part(decoded.x, None, decoded.skipped)
    found = if_usable(lambda: raw_targets(frame[label]), options)
    if found is None or (options.unlabelled and found[1].any()):
        return Part(decoded.x, None, decoded.skipped)
    targets, missing = found
    unlabelled, skipped = decoded.positions[missing[decoded.positions]], decoded.skipped
    if len(unlabelled):
        if not options.skip_bad:
            raise DataError(
                expected=f"a label in column {quote(label)} for every image",
                received=f"{len(unlabelled)} missing {name_rows(unlabelled)} (rows count from 0)",
                remedy=f"fill the labels, or {LEAVE_ROWS_OUT}",
            )
        skipped += (f"{len(unlabelled)} rows without a label left out, {name_rows(unlabelled)}",)
    targets = targets if classes is None else _by_name(targets, classes)
    labelled = ~missing[decoded.positions]
    good = np.zeros(frame.height, bool)
    good[decoded.positions[labelled]] = True
    x = decoded.x if labelled.all() else decoded.x[labelled]
    return Part(x, targets[good], skipped, lost_labels(targets[~missing], good[~missing]))


def _by_name(targets: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Whole-number labels as class names; numbers out of range stay and are reported later."""
    values, inverse = np.unique(targets, return_inverse=True)
    numbered = values.dtype.kind in "iu"
    names = [classes[v] if numbered and 0 <= v < len(classes) else f"{label_name(v)}" for v in values]
    return np.array(names, dtype=str)[inverse]
