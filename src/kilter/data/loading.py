"""load(): read any kind of source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kilter._system import at_home, sibling_names
from kilter._validation import errors_as
from kilter.data import (
    arrow,
    csv,
    excel,
    folders,
    idx,
    json_lines,
    masks,
    memory,
    npz,
    packed,
    parquet,
    picture_table,
    several,
    sqlite,
    standard_input,
)
from kilter.data.assembling import About
from kilter.data.csv_layout import is_table
from kilter.data.dataset import LoadOptions, Source, Task
from kilter.data.encoding import Column, TableEncoding
from kilter.data.file_kinds import conversion, ending_by_content, is_text
from kilter.data.frames import columns_of_images, frames_source
from kilter.data.named import NAMED_SETS, read_named
from kilter.data.paths import nearest_name, quote
from kilter.data.plain_frame import UNREADABLE
from kilter.data.precision import Shift
from kilter.errors import DataError, OptionError


@dataclass(frozen=True)
class Format:
    """One kind of source.

    Attributes:
        name: stable short name.
        looks_like: a description for messages.
        recognises: whether a path is of this kind, by its name or, for a folder, by its content.
        read: reads such a path or text; raises DataError and nothing else for bad data.
        resizes: whether it uses ``image_size``.
        frame: of a file of one table: the frame and notes; None for other kinds.
        is_table: whether it is always a table with named columns; Parquet and Arrow may contain images.
        names: whether a text that is no path names such a source.
    """

    name: str
    looks_like: str
    recognises: Callable[[Path], bool]
    read: Callable[[Any, LoadOptions], Source]
    resizes: bool = False
    frame: several.Reader | None = None
    is_table: bool = False
    names: Callable[[str], bool] = lambda text: False


def _table_file(name: str, looks_like: str, reader: Any) -> Format:
    """A format whose files are one table each, or encoded images in a column of it."""

    def read(path: Path, options: LoadOptions) -> Source:
        table, notes = reader.frame(path, options)
        return frames_source(
            {"train": table}, options, About(f"{name} table", str(path), path.stem, notes=notes)
        )

    return Format(name, looks_like, reader.recognises, read, frame=reader.frame, is_table=True)


def _never(path: Path) -> bool:
    return False


def _read_file(path: Path, options: LoadOptions) -> Source:
    return _format_of(path).read(path, options)


def _frame_reader(path: Path) -> several.Reader | None:
    return next((known.frame for known in FORMATS if known.recognises(path)), None)


def _by_name(name: str, looks_like: str, reader: Any, inner: Callable[..., Any]) -> Format:
    """A format that a text names, no path; what it contains is read by ``inner``."""

    def read(text: str, options: LoadOptions) -> Source:
        return reader.read(text, options, inner)

    return Format(name, looks_like, _never, read, is_table=True, names=reader.recognises)


# In order of precedence: any other folder is an image folder.
FORMATS = (
    _by_name("standard input", "- for standard input", standard_input, _read_file),
    _by_name("zip member", "FILE.zip?table=NAME for one file of an archive", packed, _read_file),
    Format(
        "sqlite",
        "an SQLite database, sqlite:///file.db?table=NAME",
        lambda path: sqlite.recognises(path.name),
        lambda source, options: sqlite.read(str(source), options),
        is_table=True,
        names=sqlite.recognises,
    ),
    _by_name("several", "a pattern of files of one table, such as 'data/*.csv'", several, _frame_reader),
    Format(
        "pictures",
        "a .csv or .tsv table of picture files",
        picture_table.recognises,
        picture_table.read,
        resizes=True,
        is_table=True,
    ),
    Format(
        "csv",
        "a .csv or .tsv table",
        csv.recognises,
        picture_table.read_without,
        frame=csv.frame,
        is_table=True,
    ),
    _table_file("json", "a .jsonl or .json table", json_lines),
    _table_file("excel", "an .xlsx spreadsheet", excel),
    _table_file("arrow", "a .feather or .arrow table", arrow),
    Format(
        "parquet",
        "a .parquet table or set of images",
        parquet.recognises,
        parquet.read,
        resizes=True,
        frame=parquet.frame,
    ),
    Format("npz", "an .npz archive, or .npy files", npz.recognises, npz.read),
    Format("idx", "idx files (…-images-idx3-ubyte, plain or .gz)", idx.recognises, idx.read),
    Format(
        "datasets",
        "a folder saved by Hugging Face's datasets",
        arrow.recognises_folder,
        arrow.read_folder,
        resizes=True,
    ),
    Format("masks", "a folder of images and a folder of masks", masks.recognises, masks.read, resizes=True),
    Format(
        "tables",
        "a folder of tables",
        lambda path: several.is_folder(path, _frame_reader),
        lambda path, options: several.read_folder(path, options, _frame_reader),
        resizes=True,
        is_table=True,
    ),
    Format("picture", "a picture", folders.is_single, folders.read_single, resizes=True),
    Format("images", "a folder of images in class folders", folders.recognises, folders.read, resizes=True),
)
# A file of these formats, or of none, may have the wrong ending.
_BY_CONTENT = ("csv", "json", "excel", "arrow", "parquet")
_OF_ENDINGS = {".png": "picture", ".jpg": "picture"}  # which are recognised in files alone
# Formats that contain a table or images: which, a look at the columns tells.
_EITHER = {"parquet": parquet.first_rows, "datasets": arrow.first_rows, "tables": several.first_rows}


def load(
    source: Any,
    *,
    target: str | None = None,
    task: Literal["auto", Task] = "auto",
    skip_bad: bool = False,
    encoding: TableEncoding | None = None,
    classes: tuple[str, ...] | None = None,
    image_size: tuple[int, int] | None = None,
    unlabelled: bool = False,
    center: bool = True,
    shifts: tuple[Shift, ...] = (),
    columns: tuple[Column, ...] = (),
    ignore: Sequence[str] = (),
    only: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    text: Literal["ignore", "hash", "bag"] = "ignore",
    missing: Sequence[str] = (),
    values: Sequence[str] = (),
    keep_inputs: bool = False,
    channels: int | None = None,
) -> Source:
    """Read a data set: a file, a folder, a name (digits, fashion-mnist, cifar10), or data in memory.

    A name wins over a file of the same name: write ``./digits`` for the file.

    Args:
        source: path or name. Formats: :data:`kilter.data.FORMATS`. Also a frame of polars, pandas or pyarrow,
            a mapping of columns by name, or ``(x, y)``, where x may be a sparse matrix of scipy.
        target: a table's target column; else that of ``encoding``; else one called target, label, class or y;
            else the last one.
        task: "auto" decides by the rule in docs/data.md. "segmentation" is for pictures without masks alone,
            to predict them.
        skip_bad: leave out rows with a missing target (of arrays also with NaN and infinite values) and list
            them in ``Dataset.skipped``. Otherwise they are errors. Images that cannot be decoded are left out
            anyway, unless they are more than half.
        encoding: of an earlier training: read a table exactly as then; the target column may be absent.
        classes: of an earlier training, for data other than tables: labels become its indexes.
        image_size: (height, width) to which encoded images are resized, with their aspect kept and black
            bars. Without it images of one size stay as they are, up to 512 pixels; others get a common one.
        unlabelled: labels are optional (prediction): unless all are present and known, the data have none.
        center: centre and scale the columns in which float32 would lose differences; the notes name them.
            False keeps the numbers, and the notes count the losses.
        shifts: of an earlier training, for arrays: ``Source.shifts``. A table's are in its encoding.
        columns: of an earlier training: a table's features are these columns, matched by name; the target
            and the classes are those of the file.
        ignore: columns of a table that are not features; ``only``: the columns that are, no others.
        kinds: of columns, by name: "number", "category", "date", "text" or "ignore"; others are found out.
        text: how texts that differ in nearly every row are used: not at all, as features that their words are
            hashed into ("hash"), or as counts of the most frequent words ("bag").
        missing: entries that mean "missing", such as "-999", or "age=0" for one column.
        values: entries of a text file that are values though they look missing, such as "NA", or "region=NA"
            for one column.
        keep_inputs: keep the rows as they are in the source, in ``Dataset.inputs``.
        channels: of an earlier training: images become grey (1) or colour (3).

    A table's missing numbers become the median of their column, and a further feature says which were
    missing; missing categories have a feature of their own, and rare ones share one. Long tails of numbers
    are compressed. Dates become elapsed days, the year, and month, weekday and hour as sine and cosine.
    Columns without information do not become features, and the notes say so: row numbers and ids, one value
    in all rows, a text for each row.

    Raises:
        DataError: the source is missing, empty, damaged, of unknown kind, or cannot be trained on.
        OptionError: an option does not apply to this source.
    """
    options = LoadOptions(
        target,
        task,
        skip_bad,
        encoding,
        classes,
        image_size,
        unlabelled,
        center,
        shifts,
        columns,
        tuple(ignore),
        tuple(only),
        dict(kinds or {}),
        text,
        tuple(missing),
        tuple(values),
        keep_inputs,
        channels,
    )
    return read(source, options)


def read(source: Any, options: LoadOptions) -> Source:
    """Read a data set as :func:`load` does."""
    if not isinstance(source, str | Path):
        table = memory.is_frame(source)
        _require_fitting_options("data in memory", options, is_table=table, resizes=False)
        return memory.read(source, options)
    if str(source) in NAMED_SETS:
        _require_fitting_options(f"the named set {source}", options, is_table=False, resizes=False)
        return read_named(str(source), options)
    chosen = _format_of(source)
    may_be_table = chosen.is_table or chosen.name in _EITHER
    may_be_images = chosen.resizes or chosen.name in ("standard input", "arrow")
    _require_fitting_options(chosen.looks_like, options, is_table=may_be_table, resizes=may_be_images)
    return chosen.read(str(source) if chosen.names(str(source)) else at_home(source), options)


def contents(source: str | Path) -> Literal["table", "images"] | None:
    """Whether the source is a table with named columns or encoded images, which can be resized.

    None for arrays and named sets, and if it is missing or of unknown kind.
    """
    try:
        chosen = None if str(source) in NAMED_SETS else _known_format(source)
        if chosen is not None and chosen.name in _EITHER:
            return "images" if columns_of_images(_EITHER[chosen.name](at_home(source))) else "table"
    except (*UNREADABLE, DataError, IndexError, KeyError, TypeError):  # reported when the data are read
        return None
    if chosen is None or not (chosen.is_table or chosen.resizes):
        return None
    return "images" if chosen.resizes else "table"


def label_columns(source: str | Path) -> list[str]:
    """The columns of a table of images, of which one may be the labels; [] for other sources."""
    chosen = _known_format(source)
    if chosen is not None and chosen.name == "pictures":
        return picture_table.column_names(at_home(source))
    return (
        _EITHER[chosen.name](at_home(source)).columns if chosen is not None and chosen.name in _EITHER else []
    )


def absolute(source: str) -> str:
    """The source as it is known from any folder: a file by its absolute path."""
    if source in NAMED_SETS or standard_input.recognises(source):
        return source
    if source.startswith(sqlite.SCHEME):
        return sqlite.absolute(source)
    path = at_home(source)
    if several.recognises(source) or packed.recognises(source):
        return str(path.absolute())
    return str(path.resolve()) if path.exists() else source


def _known_format(source: str | Path) -> Format | None:
    """The format of a source, None if it is missing or unknown."""
    named = next((known for known in FORMATS if known.names(str(source))), None)
    if named is not None:
        return named
    path = at_home(source)
    if not path.exists():
        return None
    recognised = next((known for known in FORMATS if known.recognises(path)), None)
    if not path.is_file() or (recognised is not None and recognised.name not in _BY_CONTENT):
        return recognised
    ending = ending_by_content(path)
    if ending:
        kind = _OF_ENDINGS.get(ending, "")
        return next(
            known for known in FORMATS if known.name == kind or known.recognises(path.with_suffix(ending))
        )
    misnamed = recognised is not None and recognised.name == "excel" and is_text(path)
    if misnamed or (recognised is None and is_table(path)):
        return next(known for known in FORMATS if known.name == "csv")
    return recognised


def _format_of(source: str | Path) -> Format:
    path = at_home(source)
    with errors_as(
        DataError,
        *(OSError, ValueError),  # no permission, a name too long, a zero byte in it
        expected="a readable file or folder",
        received=quote(str(source)),
        remedy="check the path and its permissions",
    ):
        # The empty text, such as that of a shell variable without a value, is no name of the current folder.
        chosen, exists = (_known_format(source), path.exists()) if str(source) else (None, False)
    if chosen is not None:
        return chosen
    if not exists:
        near = nearest_name(path.name, [*NAMED_SETS, *sibling_names(path)])
        remedy = "download it, and name the file" if "://" in str(source) else f"check the name{near}"
        raise DataError(
            expected=f"a file, a folder, or one of the names {', '.join(NAMED_SETS)}",
            received=f"{quote(str(source))}, which does not exist",
            remedy=remedy,
        )
    raise DataError(
        expected=f"data in one of these formats: {', '.join(known.name for known in FORMATS)}",
        received=f"{quote(str(path))}, of unknown kind (extension {path.suffix or 'none'})",
        remedy=conversion(path) or f"convert it, or correct its name{_near_extension(path)}",
    )


def _near_extension(path: Path) -> str:
    return (
        nearest_name(path.suffix.lower(), (".csv", ".parquet", ".xlsx", ".jsonl", ".npz", ".idx"))
        if path.suffix
        else ""
    )


def _require_fitting_options(what: str, options: LoadOptions, *, is_table: bool, resizes: bool) -> None:
    """Raise OptionError for options that would have no effect."""
    unused = {
        "task": options.task == "segmentation" and not resizes,
        "image_size": options.image_size is not None and not resizes,
        "channels": options.channels is not None and not resizes,
        "target": options.target is not None and not is_table,
        "encoding": options.encoding is not None and not is_table,
        "shifts": bool(options.shifts) and is_table,
        "columns": bool(options.columns) and not is_table,
        "ignore": bool(options.ignore) and not is_table,
        "only": bool(options.only) and not is_table,
        "kinds": bool(options.kinds) and not is_table,
        "text": options.text != "ignore" and not is_table,
        "missing": bool(options.missing) and not is_table,
        "values": bool(options.values) and not is_table,
    }
    names = [name for name, wrong in unused.items() if wrong]
    if names:
        raise OptionError(
            expected=f"options that apply to {what}",
            received=", ".join(f"{name}={getattr(options, name)!r}"[:80] for name in names),
            remedy=f"leave out {' and '.join(names)}",
        )
