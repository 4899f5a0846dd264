"""What a file is by its first bytes, and how files of other programs become tables."""

import zipfile
from pathlib import Path
from typing import Final

_BEGINNINGS: Final = {
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"SQLite format 3": ".db",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"\xd0\xcf\x11\xe0": ".xls",
}
_READ: Final = 200
_CONVERSIONS: Final = {
    ".dta": "pandas.read_stata(FILE)",
    ".sav": "pandas.read_spss(FILE)",
    ".sas7bdat": "pandas.read_sas(FILE)",
    ".xpt": "pandas.read_sas(FILE)",
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
_PICKLES: Final = (".pkl", ".pickle", ".joblib", ".pt", ".pth")


def ending_by_content(path: Path) -> str:
    """The ending that the content of a file has; "" for a text, or what is not known."""
    with path.open("rb") as file:
        first = file.read(_READ)
    if first.startswith(b"PK") and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if "[Content_Types].xml" in names:
            return ".xlsx"
        return ".npz" if names and all(name.endswith(".npy") for name in names) else ""
    return next((ending for begin, ending in _BEGINNINGS.items() if first.startswith(begin)), "")


def is_text(path: Path) -> bool:
    """Whether the file begins as text of several lines or of HTML, and not as a spreadsheet."""
    with path.open("rb") as file:
        first = file.read(_READ)
    return b"\0" not in first and (first.lstrip()[:1] == b"<" or (b"\n" in first and first.isascii()))


def conversion(path: Path) -> str:
    """What makes a table or arrays of a file of another program; "" if that is not known."""
    ending = path.suffix.lower()
    if ending in _PICKLES:
        return (
            "load it where it was made, if you trust it, and save the table as .parquet or the arrays as .npz"
        )
    if ending in _CONVERSIONS:
        return f"convert it: {_CONVERSIONS[ending]}.to_parquet('data.parquet')"
    arrays = _ARRAYS.get(ending, "")
    return f"convert it: {arrays}" if arrays else ""
