"""A folder of images in class folders: ``cats/1.jpg``, or ``train/cats/1.jpg`` and ``test/cats/9.jpg``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.images import decode_images
from kilter.data.labels import lost_labels
from kilter.data.paths import first_named, quote
from kilter.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("val", "valid", "validation")
# The first of these that exists is the test part.
TEST_NAMES = ("test", *VALIDATION_NAMES)


def recognises(path: Path) -> bool:
    """Whether the path is a folder; more specific formats are tried first."""
    return path.is_dir()


def read(path: Path, options: LoadOptions) -> Source:
    """Read the images in the class folders, in order of class and file name (code points).

    Only files directly in a class folder count. With ``unlabelled``, a folder without class folders is read
    as images without labels.
    """
    subfolders = _subfolders(path)
    train_folder = next((subfolders[name] for name in TRAIN_NAMES if name in subfolders), None)
    if train_folder is None:
        train, classes, notes = _part(path, options)
        return assemble(train, None, options, _about(path, classes, notes))
    train, classes, notes = _part(train_folder, options)
    held_out = [subfolders[name] for name in TEST_NAMES if name in subfolders]
    if len(held_out) > 1:
        notes += tuple(
            f"{quote(folder.name)} is not read: pass it as the validation data" for folder in held_out[1:]
        )
    test = None
    if held_out:
        test, _, test_notes = _part(held_out[0], options)
        notes += (f"the test part is the folder {quote(held_out[0].name)}", *test_notes)
    return assemble(train, test, options, _about(path, classes, notes))


def _about(path: Path, classes: tuple[str, ...], notes: tuple[str, ...]) -> About:
    return About("image folder", str(path), path.resolve().name, classes=classes or None, notes=notes)


def _subfolders(path: Path) -> dict[str, Path]:
    return {entry.name: entry for entry in _entries(path) if entry.is_dir() and entry.name[0] != "."}


def _entries(path: Path) -> list[Path]:
    """The entries of a folder in order, not recursive: a folder chosen by mistake may be a whole disk."""
    expected, remedy = f"a readable folder {path}", "check the path and its permissions"
    with errors_as(DataError, OSError, expected=expected, remedy=remedy):
        return sorted(path.iterdir())


def _part(folder: Path, options: LoadOptions) -> tuple[Part, tuple[str, ...], tuple[str, ...]]:
    """Images and labels (text) of one part, the classes, and notes."""
    classes = _subfolders(folder)
    if not classes and options.unlabelled:
        classes = {"": folder}
    files: list[Path] = []
    labels: list[str] = []
    others = 0
    empty: list[str] = []
    _require_text(classes)
    for class_name, class_folder in classes.items():
        inside = _entries(class_folder)
        images = [entry for entry in inside if entry.suffix.lower() in EXTENSIONS and entry.name[0] != "."]
        others += len(inside) - len(images)
        files += images
        labels += [class_name] * len(images)
        empty += [] if images else [quote(class_name)]
    if empty or not files:
        raise DataError(
            expected=f"folders named for the classes in {folder}, each with images ({', '.join(EXTENSIONS)})",
            received=f"no images in {first_named(empty)}" if empty else f"no class folders in {folder}",
            remedy="put each class's images into its own folder, and remove other folders",
        )
    decoded = decode_images(
        len(files),
        lambda i: _content(files[i]),
        lambda i: str(files[i]),
        image_size=options.image_size,
        skip_bad=options.skip_bad,
    )
    labelled = classes.keys() != {""}
    notes = (f"{others} entries of the folders in {folder} are not images and are ignored",) if others else ()
    if not labelled:
        return Part(decoded.x, None, decoded.skipped), (), notes
    targets, good = np.array(labels), np.zeros(len(labels), bool)
    good[decoded.positions] = True
    part = Part(decoded.x, targets[good], decoded.skipped, lost_labels(targets, good))
    return part, tuple(classes), notes


def _require_text(classes: Iterable[str]) -> None:
    """Raise DataError for names that are not UTF-8, which the files of a run cannot contain."""
    bad = [ascii(name) for name in classes if name.encode("utf-8", errors="ignore").decode() != name]
    if bad:
        raise DataError(
            expected="class folders with names in UTF-8",
            received=f"the folder name{'s' if len(bad) > 1 else ''} {first_named(bad)}",
            remedy="rename these folders",
        )


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None  # decode_images names the file as one without bytes
