"""A folder of images in class folders: ``cats/1.jpg``, or ``train/cats/1.jpg`` and ``test/cats/9.jpg``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.images import FILE, Decoded, Encoded, content_of, decode_images
from kilter.data.labels import lost_labels
from kilter.data.paths import first_named, in_utf8, quote
from kilter.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("val", "valid", "validation", "dev")
TEST_NAMES = ("test", "testing")
# How files of the formats that are decoded begin.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")


def recognises(path: Path) -> bool:
    """Whether the path is a folder; more specific formats are tried first."""
    return path.is_dir()


def is_picture(path: Path) -> bool:
    """Whether the file is a picture by its ending or, with another or no ending, by its first bytes."""
    if path.name.startswith("."):
        return False
    if path.suffix.lower() in EXTENSIONS:
        return True
    try:
        with path.open("rb") as file:
            first = file.read(12)
    except OSError:
        return False
    return first.startswith(_BEGINNINGS[:6]) or (first[:4] == b"RIFF" and first[8:] == b"WEBP")


def read(path: Path, options: LoadOptions) -> Source:
    """Read the images in the class folders, in order of class and file name (code points).

    Only files directly in a class folder count. Folders called train, val and test (or TRAIN_NAMES,
    VALIDATION_NAMES, TEST_NAMES) are these parts. With ``unlabelled``, a folder without class folders is read
    as images without labels.
    """
    inside = _subfolders(path)
    by_name = {name.lower(): folder for name, folder in inside.items()}
    train_folder = next((by_name[name] for name in TRAIN_NAMES if name in by_name), None)
    if train_folder is None:
        train, decoded, classes, notes = _part(path, options)
        return assemble(train, None, options, _about(path, classes, notes, decoded))
    train, decoded, classes, notes = _part(train_folder, options)
    parts: dict[str, Part] = {}
    read = [train_folder]
    for part, names in (("validation", VALIDATION_NAMES), ("test", TEST_NAMES)):
        folder = next((by_name[name] for name in names if name in by_name), None)
        if folder is not None:
            parts[part], _, _, more = _part(folder, options, like=decoded.x)
            notes += (f"the {part} part is the folder {quote(in_utf8(folder.name))}", *more)
            read.append(folder)
    rest = [quote(in_utf8(folder.name)) for folder in inside.values() if folder not in read]
    notes += (f"not read, besides the parts: folder {first_named(rest)}",) if rest else ()
    about = _about(path, classes, notes, decoded)
    return assemble(train, parts.get("test"), options, about, parts.get("validation"))


def _about(path: Path, classes: tuple[str, ...], notes: tuple[str, ...], decoded: Decoded) -> About:
    name = in_utf8(path.resolve().name)
    return About(
        "image folder", str(path), name, classes=classes or None, notes=notes, image_size=decoded.size
    )


def _subfolders(path: Path) -> dict[str, Path]:
    return {entry.name: entry for entry in _entries(path) if entry.is_dir() and entry.name[0] != "."}


def _entries(path: Path) -> list[Path]:
    """The entries of a folder in order, not recursive: a folder chosen by mistake may be a whole disk."""
    expected, remedy = f"a readable folder {path}", "check the path and its permissions"
    with errors_as(DataError, OSError, expected=expected, remedy=remedy):
        return sorted(path.iterdir())


def _part(
    folder: Path, options: LoadOptions, *, like: np.ndarray | None = None
) -> tuple[Part, Decoded, tuple[str, ...], tuple[str, ...]]:
    """Images and labels (text) of one part, the images as decoded, the classes, and notes."""
    classes = _subfolders(folder)
    if not classes and options.unlabelled:
        classes = {"": folder}
    files: list[Path] = []
    labels: list[str] = []
    others: list[str] = []
    empty: list[str] = []
    for class_name, class_folder in classes.items():
        inside = _entries(class_folder)
        pictures = [is_picture(entry) for entry in inside]
        images = [entry for entry, good in zip(inside, pictures, strict=True) if good]
        strange = (entry for entry, good in zip(inside, pictures, strict=True) if not good)
        others += [in_utf8(f"{class_name}/{entry.name}".lstrip("/")) for entry in strange]
        files += images
        labels += [in_utf8(class_name)] * len(images)
        empty += [] if images else [quote(in_utf8(class_name))]
    if empty or not files:
        raise _without_images(folder, empty)
    names = [in_utf8(str(file.relative_to(folder))) for file in files]
    encoded = Encoded(len(files), lambda i: content_of(files[i]), lambda i: in_utf8(str(files[i])))
    decoded = decode_images(encoded, options, like)
    notes = (f"not images, so not read: {first_named(others)} in {folder}",) if others else ()
    notes += decoded.notes
    inputs = None
    if options.keep_inputs:
        inputs = pl.DataFrame({FILE: [names[i] for i in decoded.positions]})
    if classes.keys() == {""}:
        return Part(decoded.x, None, decoded.skipped, inputs=inputs), decoded, (), notes
    targets, good = np.array(labels), np.zeros(len(labels), bool)
    good[decoded.positions] = True
    lost = lost_labels(targets, good)
    part = Part(decoded.x, targets[good], decoded.skipped, lost, inputs=inputs)
    return part, decoded, tuple(map(in_utf8, classes)), notes


def _without_images(folder: Path, empty: list[str]) -> DataError:
    """The error for class folders without images, or a folder without class folders that may hold a table."""
    entries = _entries(folder)
    loose = sum(is_picture(entry) for entry in entries if entry.is_file())
    table = next((entry for entry in entries if entry.suffix.lower() in (".csv", ".tsv")), None)
    received = f"no class folders in {folder}" + (f", and {loose} images directly in it" if loose else "")
    remedy = "put each class's images directly into a folder named for the class, and remove other folders"
    if table is not None and not empty:
        remedy = f"if {table} has a column of file names and one of labels, name it instead"
    return DataError(
        expected=f"folders named for the classes in {folder}, each with images ({', '.join(EXTENSIONS)})",
        received=f"no images directly in {first_named(empty)}" if empty else received,
        remedy=remedy,
    )
