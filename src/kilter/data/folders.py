"""Images in class folders, ``cats/1.jpg`` or ``train/cats/1.jpg`` and ``test/cats/9.jpg``, or one."""

import re
from pathlib import Path

import numpy as np
import polars as pl

from kilter._text import counted
from kilter._validation import errors_as
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.file_kinds import others_in
from kilter.data.images import FILE, Decoded, Encoded, content_of, decode_images
from kilter.data.labels import lost_labels
from kilter.data.paths import first_named, in_utf8, quote, require_file
from kilter.data.picture import size_of
from kilter.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TRAIN_NAMES = ("train", "training")
VALIDATION_NAMES = ("val", "valid", "validation", "dev")
TEST_NAMES = ("test", "testing")
PARTS: dict[str, tuple[str, ...]] = {
    "train": TRAIN_NAMES,
    "validation": VALIDATION_NAMES,
    "test": TEST_NAMES,
}
HEIGHT, WIDTH = "height", "width"  # columns beside the names of pictures
_DEEPEST = 4  # folders below one another
_NUMBERED = re.compile(r"(.+?)[._ -]+\(?\d+\)?|(\D+?)\d+")
_FEWEST = 2  # pictures of a class
_OF_IMAGES = {"images", "image", "imgs", "img", "jpegimages", "frames", *TRAIN_NAMES, *TEST_NAMES}
_OF_ANSWERS = {"masks", "mask", "labels", "annotations", "labelme", "segmentation", "segmentationclass", "gt"}
_UNLABELLED = (
    "put each class's images into a folder named for the class, or write a .csv table with a column of file "
    "names and one of labels, and name it; images without labels are for kilter predict and kilter pretrain"
)
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")
_MASK_OF = re.compile(r"(.+?)[-_ ](?:mask|seg|segmentation|label|gt)", re.IGNORECASE)
# How files of the formats that are decoded begin.
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"BM", b"II*\0", b"MM\0*")


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
    return begins_as_picture(first)


def begins_as_picture(first: bytes) -> bool:
    """Whether at least 12 bytes are the beginning of a picture."""
    return first.startswith(_BEGINNINGS) or (first[:4] == b"RIFF" and first[8:12] == b"WEBP")


def read(path: Path, options: LoadOptions) -> Source:
    """Read the images in the class folders and the folders in them, in order of class and path (code points).

    A folder that contains nothing but the folder of the classes is passed through. Folders called
    train, val and test (or TRAIN_NAMES, VALIDATION_NAMES, TEST_NAMES) are these parts. With ``unlabelled``,
    a folder without class folders is read as images without labels.
    """
    path, inside = _innermost(path)
    _refuse_masks(path, inside)
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


def is_single(path: Path) -> bool:
    """Whether the path is a picture by its name or, with an unknown name, by its first bytes."""
    return path.is_file() and is_picture(path)


def read_single(path: Path, options: LoadOptions) -> Source:
    """Read one picture as a row without a label."""
    require_file(path)
    if not options.unlabelled:
        raise DataError(
            expected="data with labels, such as a folder with a folder of images for each class",
            received=f"the picture {in_utf8(path.name)}",
            remedy="name the folder of the class folders; kilter predict takes a single picture",
        )
    one = Encoded(1, lambda _: path.read_bytes(), lambda _: in_utf8(path.name))
    decoded = decode_images(one, options)
    inputs = inputs_of([path], [in_utf8(path.name)], options) if options.keep_inputs else None
    about = About("picture", str(path), path.stem, notes=decoded.notes, image_size=decoded.size)
    return assemble(Part(decoded.x, None, inputs=inputs), None, options, about)


def _about(path: Path, classes: tuple[str, ...], notes: tuple[str, ...], decoded: Decoded) -> About:
    name = in_utf8(path.resolve().name)
    return About(
        "image folder", str(path), name, classes=classes or None, notes=notes, image_size=decoded.size
    )


def _innermost(path: Path) -> tuple[Path, dict[str, Path]]:
    """The folder with several folders or files, below folders with a single folder, and its folders."""
    inside = _subfolders(path)
    for _ in range(_DEEPEST):
        only = next(iter(inside.values()), path)
        deeper = _subfolders(only)
        if len(inside) != 1 or len(deeper) < 2 or any(map(is_picture, _files(path) + _files(only))):
            break
        path, inside = only, deeper
    return path, inside


def _files(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_file()]


def _all_files(folder: Path, depth: int = 0) -> list[Path]:
    """The files in a folder and, up to a depth, in its folders."""
    entries = _entries(folder)
    inside = [one for one in entries if one.is_dir() and one.name[0] != "." and depth < _DEEPEST]
    found = [entry for entry in entries if entry.is_file()]
    return sorted([*found, *(file for one in inside for file in _all_files(one, depth + 1))])


def _subfolders(path: Path) -> dict[str, Path]:
    return {
        entry.name: entry
        for entry in _entries(path)
        if entry.is_dir() and entry.name[0] != "." and entry.name != "__MACOSX"
    }


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
    _refuse_masks(folder, classes)
    groups = {name: _all_files(inside) for name, inside in classes.items()}
    notes: tuple[str, ...] = ()
    if not classes:
        loose = _files(folder)
        groups = {"": loose} if options.unlabelled else _by_first_words(loose)
        counts = first_named(f"{quote(in_utf8(name))} ({len(one)})" for name, one in groups.items())
        notes = (
            () if options.unlabelled else (f"the classes are the first words of the file names: {counts}",)
        )
    files: list[Path] = []
    labels: list[str] = []
    others: list[str] = []
    empty: list[str] = []
    for class_name, inside in groups.items():
        pictures = [is_picture(entry) for entry in inside]
        images = [entry for entry, good in zip(inside, pictures, strict=True) if good]
        strange = (
            entry
            for entry, good in zip(inside, pictures, strict=True)
            if not (good or entry.name.startswith(".") or entry.name.lower() in _OF_SYSTEMS)
        )
        others += [in_utf8(str(entry.relative_to(folder))) for entry in strange]
        files += images
        labels += [in_utf8(class_name)] * len(images)
        empty += [] if images else [class_name]
    if not files:
        raise _without_images(folder, empty)
    if options.for_training and like is None:  # held-out images may be of one class
        _refuse_masks_beside(files, folder)
        if len(groups) - len(empty) == 1:
            raise _without_classes(folder, len(files), labels[0])
    classes = [name for name in groups if name not in empty]
    without = first_named(quote(in_utf8(name)) for name in empty)
    names = [in_utf8(str(file.relative_to(folder))) for file in files]
    encoded = Encoded(len(files), lambda i: content_of(files[i]), lambda i: in_utf8(str(files[i])))
    decoded = decode_images(encoded, options, like)
    notes += (f"not images, so not read: {first_named(others)} in {folder}",) if others else ()
    notes += (f"no images in folder {without}, so it is no class",) if empty else ()
    notes += decoded.notes
    inputs = None
    if options.keep_inputs:
        inputs = inputs_of(
            [files[i] for i in decoded.positions], [names[i] for i in decoded.positions], options
        )
    if classes == [""] or options.task == "segmentation":
        part = Part(decoded.x, None, decoded.skipped, inputs=inputs, left_out=len(decoded.skipped))
        return part, decoded, (), notes
    targets, good = np.array(labels), np.zeros(len(labels), bool)
    good[decoded.positions] = True
    lost = lost_labels(targets, good)
    part = Part(decoded.x, targets[good], decoded.skipped, lost, (), inputs, len(decoded.skipped))
    return part, decoded, tuple(map(in_utf8, classes)), notes


def inputs_of(files: list[Path], names: list[str], options: LoadOptions) -> pl.DataFrame:
    """The names of the pictures and, to write masks of the same size, their sizes."""
    if options.task != "segmentation":
        return pl.DataFrame({FILE: names})
    sizes = [size_of(content_of(file)) or (0, 0) for file in files]
    return pl.DataFrame({FILE: names, HEIGHT: [one[0] for one in sizes], WIDTH: [one[1] for one in sizes]})


def _by_first_words(files: list[Path]) -> dict[str, list[Path]]:
    """Pictures such as cat.0.jpg and dog.1.jpg by the words before the numbers; {} if they have none."""
    groups: dict[str, list[Path]] = {}
    for file in filter(is_picture, files):
        found = _NUMBERED.fullmatch(file.stem)
        if found is None:
            return {}
        groups.setdefault(found[1] or found[2], []).append(file)
    several = len(groups) > 1 and all(len(one) >= _FEWEST for one in groups.values())
    return dict(sorted(groups.items())) if several else {}


def _refuse_masks(folder: Path, classes: dict[str, Path]) -> None:
    """Raise DataError for folders of images and of their masks or boxes, which are no classes."""
    names = {name.lower() for name in classes}
    words = {word for name in names for word in re.split("[^a-z]+", name)}
    if len(names) > 1 and words & _OF_ANSWERS and words <= _OF_IMAGES | _OF_ANSWERS:
        raise DataError(
            expected=f"folders named for the classes in {folder}",
            received=f"{first_named(map(quote, classes))}: images, and masks or boxes that are no pictures",
            remedy="save masks as pictures of the same names as the images; boxes cannot be trained on",
        )


def _refuse_masks_beside(files: list[Path], folder: Path) -> None:
    """Raise DataError for images beside their masks, such as 1.tif and 1_mask.tif."""
    stems = {(file.parent, file.stem) for file in files}
    named = [(file, found[1]) for file in files if (found := _MASK_OF.fullmatch(file.stem))]
    masks = [file for file, stem in named if (file.parent, stem) in stems]
    if 3 * len(masks) > len(files):
        raise DataError(
            expected=f"images of the classes in {folder}",
            received=f"{counted(len(masks), 'mask', 'masks')} beside the images, such as "
            f"{quote(in_utf8(masks[0].name))}",
            remedy="move the images into a folder images and the masks into a folder masks; "
            "their names may stay",
        )


def _without_classes(folder: Path, count: int, only: str) -> DataError:
    """The error for pictures in one folder: they have no labels."""
    where = f", {quote(only)}" if only else ""
    return DataError(
        expected=f"folders named for the classes in {folder}, each with images",
        received=f"{counted(count, 'image', 'images')} in one folder{where}, so no classes",
        remedy=_UNLABELLED,
    )


def _without_images(folder: Path, empty: list[str]) -> DataError:
    """The error for class folders without images, or a folder without class folders that may hold a table."""
    entries = _entries(folder)
    loose = sum(is_picture(entry) for entry in entries if entry.is_file())
    places = [folder, folder.parent] if folder.name.lower() in (*TRAIN_NAMES, *TEST_NAMES) else [folder]
    beside = (entry for one in places for entry in _entries(one))
    table = next((entry for entry in beside if entry.suffix.lower() in (".csv", ".tsv")), None)
    received = f"no class folders in {folder}" + (f", and {loose} images directly in it" if loose else "")
    remedy = _UNLABELLED
    if table is not None and loose:
        remedy = f"if {table} has a column of file names and one of labels, name it instead"
    others, instead = others_in(_all_files(folder))
    if others and not loose:
        received, remedy = f"{others} in {folder}", instead or remedy
    elif empty:
        received = f"no images in {first_named(quote(in_utf8(name)) for name in empty)}"
    return DataError(
        expected=f"folders named for the classes in {folder}, each with images ({', '.join(EXTENSIONS)})",
        received=received,
        remedy=remedy,
    )
