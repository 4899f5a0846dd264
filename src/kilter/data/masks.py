"""Pictures with a class for each pixel: a folder of images beside a folder of masks."""

import io
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from unicodedata import normalize

import numpy as np
from PIL import Image, ImageOps

from kilter._text import counted
from kilter._validation import errors_as
from kilter.data.checks import check
from kilter.data.dataset import Dataset, LoadOptions, Source
from kilter.data.folders import PARTS, inputs_of, is_picture
from kilter.data.images import Encoded, content_of, decode_images
from kilter.data.paths import DAMAGE, first_named, in_utf8, quote
from kilter.data.picture import FORMATS, Size
from kilter.errors import DataError

_PART_OF: Final = {word: part for part, words in PARTS.items() for word in words}
_IMAGE_WORDS: Final = {"images", "image", "imgs", "img", "jpegimages", "frames", "pictures", "photos"}
_MASK_WORDS: Final = {
    *("masks", "mask", "labels", "label", "annotations", "annotation"),
    *("gt", "groundtruth", "ground", "truth", "trimaps", "trimap"),
    *("segmentation", "segmentations", "segmentationclass", "seg"),
}
_DEEPEST: Final = 3  # folders below one another
# Of masks that are smooth at their edges nearly all pixels are black or white.
_BLACK_OR_WHITE: Final = 0.98
# JPEG changes values near edges, less than this unless the edges are smooth too.
_LOSS: Final = 32
_BLACK_OR_WHITE_IN_JPEG: Final = 0.9
# Of Pascal VOC and Cityscapes.
_VOID: Final = (
    "the value 255 often marks borders and pixels of no class: here it is a class of its own, so replace it "
    "in the masks if you do not want to predict it"
)
_COLOURED: Final = 1 << 24  # added to 0xRRGGBB, so that colours differ from grey values
_MOST_CLASSES: Final = 256


@dataclass(frozen=True)
class _Folders:
    """The images and masks of one part."""

    images: Path | None = None
    masks: Path | None = None


def recognises(path: Path) -> bool:
    """Whether a folder has images and masks of the same part, such as images/ and masks/ or train_masks/."""
    return path.is_dir() and any(one.images and one.masks for one in _folders(path).values())


def read(path: Path, options: LoadOptions) -> Source:
    """Read pairs of an image and a mask, matched by file name, without words such as "mask" in it.

    Each value of a mask is a class: a grey value, an index of a palette, or a colour. Masks are resized like
    their images, to the nearest pixel.
    """
    found = {part: one for part, one in _folders(path).items() if one.images and one.masks}
    first = "train" if "train" in found else next(iter(found))
    train, classes, size, notes = _part(found.pop(first), options, path)
    held_out: dict[str, Dataset] = {}
    for part, one in found.items():
        like = replace(
            options, image_size=train.input_shape[:2], channels=train.input_shape[2], classes=classes
        )  # type: ignore[arg-type]
        held_out[part], _, _, more = _part(one, like, path)
        notes += tuple(f"{part} part: {note}" for note in more)
    return Source(
        *(train, held_out.get("test"), None, "masks", str(path), notes, size),
        validation=held_out.get("validation"),
    )


def placed(own: Size, size: Size) -> tuple[slice, slice]:
    """The rows and columns of an image of ``size`` that a picture of the size ``own`` fills, as Pillow pads.

    Example:
        >>> placed((50, 100), (64, 64))
        (slice(16, 48, None), slice(0, 64, None))
    """
    scale = min(size[0] / own[0], size[1] / own[1])
    height, width = (min(most, round(side * scale)) for side, most in zip(own, size, strict=True))
    top, left = round((size[0] - height) / 2), round((size[1] - width) / 2)
    return slice(top, top + height), slice(left, left + width)


def mask_png(mask: np.ndarray, classes: tuple[str, ...], own: Size) -> bytes:
    """A mask of class indexes ``[h, w]`` as a PNG of the picture's own size, with the values of training."""
    coloured = any(name.startswith("#") for name in classes)
    values = np.array([_colour(name) if coloured else int(name) for name in classes])
    shown = values[mask[placed(own, (mask.shape[0], mask.shape[1]))]]
    image = Image.fromarray(shown.astype(np.uint8 if values.max() < 256 else np.uint16))
    written = io.BytesIO()
    image.resize((own[1], own[0]), Image.Resampling.NEAREST).save(written, "PNG")
    return written.getvalue()


def _colour(name: str) -> tuple[int, int, int]:
    code = int(name[1:], 16) if name.startswith("#") else int(name) * 0x010101
    return code >> 16, code >> 8 & 255, code & 255


def _folders(path: Path) -> dict[str, _Folders]:
    """The folders of images and of masks of each part, by the words of their names."""
    found: dict[str, _Folders] = {}
    for folder, words in _named(path, frozenset(), 0):
        part = next((_PART_OF[word] for word in sorted(words) if word in _PART_OF), "train")
        role = "masks" if words & _MASK_WORDS else "images"
        found[part] = replace(found.get(part, _Folders()), **{role: folder})
    return found


def _named(path: Path, above: frozenset[str], depth: int) -> Iterator[tuple[Path, frozenset[str]]]:
    """The folders with pictures whose names, and those above, are made of known words only."""
    known = _IMAGE_WORDS | _MASK_WORDS | set(_PART_OF)
    with errors_as(DataError, OSError, expected=f"a readable folder {path}", remedy="check its permissions"):
        folders = sorted(entry for entry in path.iterdir() if entry.is_dir())
    for folder in folders:
        words = {word for word in re.split("[^a-z]+", folder.name.lower()) if word}
        if not words or not words <= known:
            continue
        if (words | above) & (_IMAGE_WORDS | _MASK_WORDS) and any(map(is_picture, folder.iterdir())):
            yield folder, above | words
        elif depth < _DEEPEST:
            yield from _named(folder, above | words, depth + 1)


def _pairs(folders: _Folders) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Images with their masks, in order, and the names of the files without a partner."""
    assert folders.images is not None
    assert folders.masks is not None
    images, masks = (sorted(filter(is_picture, one.iterdir())) for one in (folders.images, folders.masks))
    pairs = _of_one_name(images, masks, lambda file: normalize("NFC", file.stem))
    known = {file for pair in pairs for file in pair}
    other_images, other_masks = ([one for one in files if one not in known] for files in (images, masks))
    pairs += _of_one_name(other_images, other_masks, _key)
    if not pairs:  # other words in the names of the masks
        begins = [(image, [one for one in masks if _goes_on(image.stem, one.stem)]) for image in images]
        pairs = [(image, found[0]) for image, found in begins if len(found) == 1]
    if not pairs:
        raise DataError(
            expected=f"masks in {folders.masks} with the file names of the images in {folders.images}",
            received=f"images such as {quote(in_utf8(images[0].name))}, masks such as "
            f"{quote(in_utf8(masks[0].name))}",
            remedy="name each mask like its image, such as 001.jpg and 001.png or 001_mask.png",
        )
    paired = {file for pair in pairs for file in pair}
    return sorted(pairs), [in_utf8(one.name) for one in (*images, *masks) if one not in paired]


def _of_one_name(
    images: Sequence[Path], masks: Sequence[Path], name_of: Callable[[Path], str]
) -> list[tuple[Path, Path]]:
    """Pairs of an image and a mask that alone have the same name; of several, none is known to belong."""
    counts = [Counter(map(name_of, files)) for files in (images, masks)]
    by_name = {name_of(mask): mask for mask in masks}
    return [
        (image, by_name[name])
        for image, name in zip(images, map(name_of, images), strict=True)
        if all(count[name] == 1 for count in counts)
    ]


def _goes_on(name: str, longer: str) -> bool:
    """Whether the longer name begins with the other; "1" does not begin "10"."""
    rest = longer[len(name) :]
    return longer.startswith(name) and not (name[-1:].isdigit() and rest[:1].isdigit())


def _key(file: Path) -> str:
    """The name without its words for images and masks."""
    words = re.split(r"[\W_]+", normalize("NFC", file.stem).lower())
    return "-".join(word for word in words if word and word not in _MASK_WORDS | _IMAGE_WORDS)


def _part(
    folders: _Folders, options: LoadOptions, path: Path
) -> tuple[Dataset, tuple[str, ...], Size | None, tuple[str, ...]]:
    """The rows of one part, its classes, the size of its images and notes."""
    pairs, alone = _pairs(folders)
    encoded = Encoded(len(pairs), lambda i: content_of(pairs[i][0]), lambda i: in_utf8(pairs[i][0].name))
    decoded = decode_images(encoded, options)
    size = (decoded.x.shape[1], decoded.x.shape[2])
    read = [_codes(pairs[i][1], size) for i in decoded.positions]
    good = np.array([one is not None for one in read], bool)
    bad = [in_utf8(pairs[i][1].name) for i, fine in zip(decoded.positions, good, strict=True) if not fine]
    if not good.any():
        raise DataError(
            expected=f"masks that can be decoded in {folders.masks}",
            received=f"{len(bad)} that cannot, such as {quote(bad[0])}",
            remedy="save the masks as PNG",
        )
    lossy = any(mask.suffix.lower() in (".jpg", ".jpeg") for _, mask in pairs)
    codes = np.stack([one for one in read if one is not None])
    codes, classes, notes = _classes(codes, options, folders, lossy=lossy)
    positions = decoded.positions[good]
    chosen = [pairs[i][0] for i in positions]
    named = replace(options, task="segmentation")
    inputs = inputs_of(chosen, [in_utf8(one.name) for one in chosen], named) if options.keep_inputs else None
    lines = (*decoded.skipped, *(f"{name}: a mask that cannot be decoded" for name in bad))
    x = decoded.x if good.all() else decoded.x[good]
    data = Dataset(
        *(x, codes, "segmentation", classes, (), in_utf8(path.resolve().name), lines, inputs, len(lines))
    )
    check(data, part=options.rows, training=options.for_training)
    shares = np.bincount(codes.ravel(), minlength=len(classes)) / codes.size
    listed = [
        f"{quote(name)} ({share:.1%} of the pixels)" for name, share in zip(classes, shares, strict=True)
    ]
    notes = (f"each pixel has one of {len(classes)} classes: {first_named(listed)}", *notes, *decoded.notes)
    notes += (_VOID,) if classes[-1:] == ("255",) and len(classes) > 2 else ()
    notes += (f"masks that cannot be decoded, left out: {first_named(bad)}",) if bad else ()
    notes += (
        (f"images without a mask, or masks without an image, left out: {first_named(alone)}",)
        if alone
        else ()
    )
    return data, classes, decoded.size, notes


def _codes(file: Path, size: Size) -> np.ndarray | None:
    """The value of each pixel of a mask, int32 of ``size``: grey, an index or a colour; None if it is bad."""
    try:
        with Image.open(file, formats=FORMATS) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B", "RGB"):
                image = image.convert("L" if image.mode in ("LA", "La", "F") else "RGB")
            one = 1
            if image.mode == "1":
                image, one = image.convert("L"), 255
            if (image.height, image.width) != size:
                image = ImageOps.pad(image, (size[1], size[0]), Image.Resampling.NEAREST, color=0)
            pixels = np.asarray(image).astype(np.int32) // one
    except (*DAMAGE, Image.DecompressionBombError):
        return None
    if pixels.ndim == 2:
        return pixels
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    is_grey = (red == green) & (green == blue)
    return np.where(is_grey, red, _COLOURED + (red << 16) + (green << 8) + blue)


def _are_black_and_white(values: np.ndarray, counts: np.ndarray, *, lossy: bool) -> bool:
    """Whether grey values are those of two classes, 0 and 255, and of smooth edges or of JPEG."""
    loss, least = (_LOSS, _BLACK_OR_WHITE_IN_JPEG) if lossy else (0, _BLACK_OR_WHITE)
    if not 255 - loss <= values[-1] <= 255 or (len(values) <= 2 and not lossy):
        return False
    return bool(counts[(values <= loss) | (values >= 255 - loss)].sum() >= least * counts.sum())


def _classes(
    codes: np.ndarray, options: LoadOptions, folders: _Folders, *, lossy: bool
) -> tuple[np.ndarray, tuple[str, ...], tuple[str, ...]]:
    """Class indexes uint8 of the codes, the names of the classes, and a note."""
    values, counts = np.unique(codes, return_counts=True)
    notes: tuple[str, ...] = ()
    without_objects = options.classes == ("0", "255") and not values[-1]
    if without_objects or _are_black_and_white(values, counts, lossy=lossy):
        notes = (
            f"the masks have {len(values)} grey values, as JPEG and smooth edges make of two: pixels from "
            "128 on count as 255",
        )[: len(values) > 2]
        codes, values = np.where(codes >= 128, 255, 0), np.array([0, 255])
    elif lossy:
        raise DataError(
            expected=f"masks in {folders.masks} in a format that keeps their values",
            received=f"JPEG files with {counted(len(values), 'value')}, not only black and white",
            remedy="save the masks as PNG, from where they were made: JPEG has changed the values",
        )
    if options.classes is None and not 2 <= len(values) <= _MOST_CLASSES:
        raise DataError(
            expected=f"from 2 to {_MOST_CLASSES} classes in the masks in {folders.masks}",
            received=f"{len(values)} different values" if len(values) > 1 else f"{values[0]} in every pixel",
            remedy="save the masks as PNG with one value for each class",
        )
    names = [f"#{value - _COLOURED:06x}" if value >= _COLOURED else str(value) for value in values.tolist()]
    classes = options.classes or tuple(names)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise DataError(
            expected=f"masks with the values of training, {first_named(classes)}, in {folders.masks}",
            received=f"masks with other values: {first_named(unknown)}",
            remedy="write the masks with the values of training",
        )
    places = np.array([classes.index(name) for name in names], np.uint8)
    return places[np.searchsorted(values, codes)], classes, notes
