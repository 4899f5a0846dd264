"""Frames that are a table, or encoded images in a column, from whichever format they were read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from kilter._text import counted
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.entries import raw_targets
from kilter.data.folders import TEST_NAMES, TRAIN_NAMES, VALIDATION_NAMES, begins_as_picture
from kilter.data.images import FILE, Encoded, Size, content_of, decode_images
from kilter.data.labels import combined_labels_note, if_usable, label_name, lost_labels, one_hot_names
from kilter.data.paths import LEAVE_ROWS_OUT, first_named, name_rows, quote
from kilter.data.picture_paths import Pictures
from kilter.data.plain_frame import reading
from kilter.data.tables import choose_target, table_source, with_joint_target
from kilter.errors import DataError

_IMAGE_NAMES = ("image", "img", "picture", "x")
_LOOKED_AT = 16  # rows
_SPLIT_NAMES = ("split", "usage", "partition", "subset", "set")
_PARTS = {
    **dict.fromkeys((*TRAIN_NAMES, "train set", "training set"), "train"),
    **dict.fromkeys((*VALIDATION_NAMES, "publictest", "public test", "validation set"), "validation"),
    **dict.fromkeys((*TEST_NAMES, "privatetest", "private test", "holdout", "test set"), "test"),
}


def frames_source(
    frames: Mapping[str, pl.DataFrame],
    options: LoadOptions,
    about: About,
    declared: Callable[[str], tuple[str, ...] | None] = lambda label: None,
    pictures: Pictures | None = None,
) -> Source:
    """The source of the frames of the parts "train", "validation" and "test".

    A column of images, or ``pictures``, makes the data images; else they are a table.
    ``declared(label)``: the names of the classes of a label column, if the source says them.
    """
    if len(frames) == 1 and not options.unlabelled:
        frames, parts = by_split_column(frames["train"], options)
        about = replace(about, notes=about.notes + parts)
    train = frames["train"]
    image_columns = columns_of_images(train)
    if pictures is not None:
        image_columns = [pictures.column]
        frames = {name: _with_paths(frame, pictures) for name, frame in frames.items()}
    if not image_columns:
        return table_source(train, frames.get("test"), options, about, frames.get("validation"))
    frames = {name: with_joint_target(frame, options.known_target) for name, frame in frames.items()}
    train = frames["train"]
    image = next((name for name in _IMAGE_NAMES if name in image_columns), image_columns[0])
    label, notes = _label_column(train, image, options, about.origin)
    unread = [quote(name) for name in train.columns if name not in (image, label)]
    notes += (f"not read besides the images: column {first_named(unread)}",) if unread else ()
    classes = None if label is None else declared(label) or one_hot_names(train[label])
    part, size, found = _image_part(train, image, label, classes, options)
    others = {
        name: _image_part(frame, image, label, classes, options, part.x)
        for name, frame in frames.items()
        if name != "train"
    }
    notes = (*about.notes, *notes, *found, *(note for other in others.values() for note in other[2]))
    kind = about.kind.replace("table", "images")
    about = replace(about, kind=kind, classes=classes, notes=notes, image_size=size, target=label)
    test, validation = (others[name][0] if name in others else None for name in ("test", "validation"))
    source = assemble(part, test, options, about, validation)
    combined = combined_labels_note(source.train.classes) if options.for_training else ()
    return replace(source, notes=source.notes + combined)


def by_split_column(
    frame: pl.DataFrame, options: LoadOptions
) -> tuple[dict[str, pl.DataFrame], tuple[str, ...]]:
    """The parts of the rows if a column called "split" or "Usage" names them in every row, and a note.

    The column is not a feature then. It is an ordinary one if the user names it in an option.
    """
    named = {*options.ignore, *options.only, *options.kinds, options.known_target}
    for column in frame.get_columns():
        if column.name.lower() not in _SPLIT_NAMES or column.dtype != pl.String or column.name in named:
            continue
        counts = column.value_counts(name="rows").sort(column.name).rows()
        part_of = {entry: _PARTS.get((entry or "").strip().lower(), "") for entry, _ in counts}
        if len(set(part_of.values())) < 2 or "train" not in part_of.values() or "" in part_of.values():
            continue
        rest = frame.drop(column.name)
        places = column.replace_strict(part_of, return_dtype=pl.String)
        found = {part: rest.filter(places == part) for part in dict.fromkeys(part_of.values())}
        shown = ", ".join(f"{quote(entry)} ({rows} rows) {part_of[entry]}" for entry, rows in counts)
        return found, (
            f"the parts are those of column {quote(column.name)}: {shown}; to divide the rows otherwise: "
            f"--ignore {quote(column.name)}",
        )
    return {"train": frame}, ()


def joined(files: Sequence[Path], kind: str, read: Callable[[Path], pl.DataFrame]) -> pl.DataFrame:
    """The rows of files with the same columns; raises DataError if one is missing or cannot be read."""
    with reading(
        *files,
        expected=f"intact {kind} files with the same columns: {first_named(files)}",
        received="files that cannot be read",
        remedy="the file is truncated, damaged or of another format: download or write it again",
    ):
        frames = [read(file) for file in files]
        return frames[0] if len(frames) == 1 else pl.concat(frames, how="vertical_relaxed")


def columns_of_images(frame: pl.DataFrame) -> list[str]:
    """The columns of encoded images: ``{bytes, path}``, or bytes that begin so or are named for images."""
    return [one.name for one in frame.get_columns() if _has_images(one)]


def _has_images(column: pl.Series) -> bool:
    dtype = column.dtype
    if isinstance(dtype, pl.Struct):
        return any(field.name == "bytes" and field.dtype == pl.Binary for field in dtype.fields)
    if dtype != pl.Binary:
        return False
    first = column.head(_LOOKED_AT).drop_nulls().to_list()
    return column.name in _IMAGE_NAMES or any(map(begins_as_picture, first))


def _label_column(
    frame: pl.DataFrame, image: str, options: LoadOptions, origin: str
) -> tuple[str | None, tuple[str, ...]]:
    images = columns_of_images(frame)
    columns = [name for name in frame.columns if name != image and name not in images]
    if not columns and options.target is None:
        return None, ()
    label, notes = choose_target(columns, options.target, origin)
    return label, () if options.unlabelled else notes  # predictions need no labels


def _image_part(
    frame: pl.DataFrame,
    image: str,
    label: str | None,
    classes: tuple[str, ...] | None,
    options: LoadOptions,
    like: np.ndarray | None = None,
) -> tuple[Part, Size | None, tuple[str, ...]]:
    """One part, the size that its images were resized to, and notes."""
    column = frame[image]
    encoded = _encoded(column)
    decoded = decode_images(encoded, options, like)
    kept = decoded.positions
    part = Part(decoded.x, None, decoded.skipped, left_out=len(decoded.skipped))
    usable = None
    if label is not None and label in frame.columns:
        usable = if_usable(lambda: raw_targets(frame[label]), options)
    if usable is not None and not (options.unlabelled and usable[1].any()):
        targets, missing = usable
        bare, skipped = kept[missing[kept]], decoded.skipped
        if len(bare):
            if not options.skip_bad and 2 * len(bare) > len(kept):
                raise DataError(
                    expected=f"a label in column {quote(label or '')} for every image",
                    received=f"{len(bare)} missing {name_rows(bare)} (rows count from 0)",
                    remedy=f"fill the labels, or {LEAVE_ROWS_OUT}",
                )
            skipped += (f"{counted(len(bare), 'row', 'rows')} without a label left out, {name_rows(bare)}",)
        targets = targets if classes is None or targets.ndim > 1 else _by_name(targets, classes)
        labelled = ~missing[kept]
        good = np.zeros(frame.height, bool)
        good[kept[labelled]] = True
        x, kept = decoded.x if labelled.all() else decoded.x[labelled], kept[labelled]
        lost, left_out = lost_labels(targets[~missing], good[~missing]), len(decoded.skipped) + len(bare)
        part = Part(x, targets[good], skipped, lost, left_out=left_out)
    inputs = _names(frame, image, kept) if options.keep_inputs else None
    return replace(part, inputs=inputs), decoded.size, decoded.notes


def _with_paths(frame: pl.DataFrame, pictures: Pictures) -> pl.DataFrame:
    """The frame with structs of the name and the path of each picture in its column."""
    names = frame[pictures.column].cast(pl.String)
    paths = pl.Series("file", [None if name is None else str(pictures.path_of(name)) for name in names])
    return frame.with_columns(pl.DataFrame([names.alias("path"), paths]).to_struct(pictures.column))


def _encoded(column: pl.Series) -> Encoded:
    """The images of a column: their bytes, or the files that it names, which are read one by one."""
    if not isinstance(column.dtype, pl.Struct):
        return Encoded(len(column), lambda i: column[i], lambda i: f"image in row {i}")
    if "bytes" in column.struct.fields:
        return _encoded(column.struct.field("bytes"))
    files = column.struct.field("file")
    return Encoded(len(column), lambda i: content_of(files[i]), lambda i: f"{files[i]} in row {i}")


def _names(frame: pl.DataFrame, image: str, kept: np.ndarray) -> pl.DataFrame:
    """The other columns of the rows ``kept``, with a column of file names or row numbers."""
    column, others = frame[image], frame.drop(image)
    name = pl.Series(FILE, [f"row {i}" for i in range(frame.height)])
    if isinstance(column.dtype, pl.Struct) and "path" in column.struct.fields:
        name = column.struct.field("path").fill_null(name).alias(FILE)
    others = others.drop(FILE, strict=False)
    return others.insert_column(0, name)[kept]


def _by_name(targets: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Whole-number labels as class names; numbers out of range stay and are reported later."""
    values, inverse = np.unique(targets, return_inverse=True)
    numbered = values.dtype.kind in "iu"
    names = [classes[v] if numbered and 0 <= v < len(classes) else f"{label_name(v)}" for v in values]
    return np.array(names, dtype=str)[inverse]
