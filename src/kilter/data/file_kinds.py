"""What a file is by its first bytes, and how files of other programs become tables."""

import re
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kilter.errors import DataError

_BEGINNINGS: Final = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"SQLite format 3": ".db",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"\xd0\xcf\x11\xe0": ".xls",
}
# How other texts begin, what they are, and what to do.
_NO_TABLES: Final = (
    (("<table",), "a table of HTML", "open it with a spreadsheet program and save it as CSV"),
    (
        ("<!doctype", "<html", "<?xml", "<head"),
        "a web page, such as a page to log in",
        "download the file itself, or save its table as CSV",
    ),
    (
        ("create table", "insert into", "drop table", "pragma ", "-- mysql dump", "-- phpmyadmin"),
        "commands of SQL",
        "load them into a database, such as sqlite3 data.db < FILE, and give this",
    ),
    (("%pdf-",), "a PDF", "save the table in it as CSV, for example with a spreadsheet program"),
    (
        ("version https://git-lfs",),
        "a pointer of Git LFS instead of the file",
        "fetch the file with git lfs pull",
    ),
)
_READ: Final = 200
_USERBLOCK: Final = 512  # bytes before the data in a .mat file of version 7.3
_CONVERSIONS: Final = {
    ".dta": "pandas.read_stata(FILE)",
    ".sav": "pandas.read_spss(FILE)",
    ".sas7bdat": "pandas.read_sas(FILE)",
    ".xpt": "pandas.read_sas(FILE)",
    ".rds": "pyreadr.read_r(FILE)[None]",
    ".orc": "pandas.read_orc(FILE)",
    ".xml": "pandas.read_xml(FILE)",
    ".html": "pandas.read_html(FILE)[0]",
}
_ARRAYS: Final = {
    ".mat": "numpy.savez('data.npz', x=scipy.io.loadmat(FILE)['X'], y=...)",
    **dict.fromkeys(
        (".libsvm", ".svm", ".svmlight"),
        "x, y = sklearn.datasets.load_svmlight_file(FILE); numpy.savez('data.npz', x=x.toarray(), y=y)",
    ),
}
_AUDIO: Final = (".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac")
_VIDEOS: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm")
_DOCUMENTS: Final = (".pdf", ".doc", ".docx", ".odt", ".rtf")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_CIFAR: Final = ("data_batch_", "test_batch", "batches.meta")
_PICKLED: Final = re.compile(rb"\x80[\2-\5][^\0]")
_TEXTS: Final = (".txt", ".eml", ".html", ".xml", ".json", ".csv", ".dat", "")
_OTHERS: Final = {
    **dict.fromkeys(
        _AUDIO,
        "save spectrograms of the sounds as images in class folders, or other features as .npz with x and y",
    ),
    **dict.fromkeys(_VIDEOS, "save frames of the videos as images in class folders"),
    **dict.fromkeys(_DOCUMENTS, "save the table in it as CSV"),
}
_ARCHIVES: Final = (".7z", ".rar", ".tar", ".tgz")
_PICKLES: Final = (".pkl", ".pickle", ".joblib", ".pt", ".pth")


def require_table(content: Path | bytes, path: Path) -> None:
    """Raise DataError for a text that is a web page, SQL or a pointer of Git LFS, as some downloads are."""
    start = content[:_READ] if isinstance(content, bytes) else _beginning(content)
    first = start.decode(errors="replace").lstrip("\ufeff \t\r\n").lower()
    for beginnings, received, remedy in _NO_TABLES:
        if first.startswith(beginnings):
            raise DataError(expected=f"a table in {path}", received=received, remedy=remedy)


def others_in(files: Sequence[Path]) -> tuple[str, str]:
    """What most files of a folder without images are, and how to make data of them; "" without files.

    Example:
        >>> others_in([Path("yes/1.wav"), Path("no/1.wav")])[0]
        'no images, but 2 .wav files'
    """
    endings = Counter(one.suffix.lower() for one in files if not one.name.startswith("."))
    ending, count = max(endings.items(), key=lambda pair: pair[1], default=("", 0))
    if not count:
        return "", ""
    some = next(one for one in files if one.suffix.lower() == ending)
    remedy = conversion(some)
    if not remedy and (ending in _TEXTS or ending[1:].isdigit()):
        remedy = (
            "write one table with a row for each text and a column of labels; numbers in several files "
            "become x_train.npy, y_train.npy, x_test.npy and y_test.npy"
        )
    files_of = f"{ending} files" if ending else "files without an extension"
    return f"no images, but {count} {files_of if count > 1 else files_of.replace('files', 'file')}", remedy


def ending_by_content(path: Path) -> str:
    """The ending that the content of a file has; "" for a text, or what is not known."""
    first = _beginning(path)
    if first.startswith(b"PK") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if "[Content_Types].xml" in names:
            return ".xlsx"
        return ".npz" if names and all(name.endswith(".npy") for name in names) else ""
    return next((ending for begin, ending in _BEGINNINGS.items() if first.startswith(begin)), "")


def is_text(path: Path) -> bool:
    """Whether the file begins as text of several lines or of HTML, and not as a spreadsheet."""
    first = _beginning(path)
    return b"\0" not in first and (first.lstrip()[:1] == b"<" or (b"\n" in first and first.isascii()))


def conversion(path: Path) -> str:
    """What makes a table or arrays of a file of another program; "" if that is not known."""
    ending = path.suffix.lower()
    first = _beginning(path, _USERBLOCK + len(_HDF5)) if path.is_file() else b""
    if ending in _OTHERS:
        return _OTHERS[ending]
    if _HDF5 in (first[: len(_HDF5)], first[_USERBLOCK:]):
        return "convert it: file = h5py.File(FILE); numpy.savez('data.npz', x=file['x'][:], y=file['y'][:])"
    if path.name.startswith(_CIFAR):
        return "give the name cifar10 instead, which kilter downloads or finds in $KILTER_DATA"
    if ending in _PICKLES or _PICKLED.match(first):
        return (
            "load it where it was made, if you trust it, and save the table as .parquet or the arrays as .npz"
        )
    if ending in _ARCHIVES:
        return "unpack it, and give the file or the folder in it"
    if ending in _CONVERSIONS:
        return f"convert it: {_CONVERSIONS[ending]}.to_parquet('data.parquet')"
    arrays = _ARRAYS.get(ending, "")
    return f"convert it: {arrays}" if arrays else ""


def _beginning(path: Path, size: int = _READ) -> bytes:
    with path.open("rb") as file:
        return file.read(size)
