"""Encoded images (JPEG, PNG and other common formats) to one uint8 array.

Pillow's guard against decompression bombs is a limit here, not a warning: an image of more than
``PIL.Image.MAX_IMAGE_PIXELS`` pixels is bad and is not decoded.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image

from kilter._system import require_memory
from kilter.data.paths import DAMAGE, first_named, quote
from kilter.errors import DataError

# The only decoders used on untrusted files: some of Pillow's others start programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
# The column of file names beside the answers for images.
FILE = "file"
_GREY_MODES = ("1", "L", "LA", "La")
_COLOUR_MODES = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB")
# Decoding a small image is mostly Python, under the GIL: two threads took 1.3 times as long as one for 32×32
# pixels, 0.6 times for 64×64.
_THREADS_FROM_PIXELS = 64 * 64
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images uint8 ``[m, h, w, c]``, c = 1 (all grey) or 3, their positions among all, and the bad ones."""

    x: np.ndarray
    positions: np.ndarray
    skipped: tuple[str, ...]


@dataclass(frozen=True)
class _Bad:
    """Why one image cannot be used."""

    reason: str


def decode_images(
    count: int,
    read: Callable[[int], bytes | None],
    name: Callable[[int], str],
    *,
    image_size: tuple[int, int] | None = None,
    skip_bad: bool = False,
) -> Decoded:
    """Decode ``count`` images; ``read(i)`` returns the encoded bytes (or None), ``name(i)`` the name.

    The result is grey if all images are, else colour; transparency is dropped. ``image_size`` resizes all
    (bilinear); without it all must have one size. ``skip_bad`` leaves out bad images and lists them.
    """
    with _bombs_are_counted():
        decoded = _decode_all(count, read, image_size)
    bad = [(i, result.reason) for i, result in enumerate(decoded) if isinstance(result, _Bad)]
    lines = tuple(f"{name(i)}: {reason}" for i, reason in bad)
    if bad and (not skip_bad or len(bad) == count):
        raise DataError(
            expected=f"{count} readable images",
            received=f"{len(bad)} that are not: {first_named(lines[:3], total=len(bad))}",
            remedy="replace or remove these images"
            + (", or load with skip_bad=True to leave them out" if len(bad) < count else ""),
        )
    good = [(i, result) for i, result in enumerate(decoded) if isinstance(result, np.ndarray)]
    decoded.clear()
    _require_one_size(good, name)
    positions = np.array([i for i, _ in good], dtype=np.int64)
    return Decoded(_stack([image for _, image in good]), positions, lines)


def _decode_all(
    count: int, read: Callable[[int], bytes | None], image_size: tuple[int, int] | None
) -> list[np.ndarray | _Bad]:
    def decode_range(chunk: range) -> list[np.ndarray | _Bad]:
        return [decode_image(read(i), image_size) for i in chunk]

    # The first image decides whether threads pay; it also fills Pillow's lazy tables of decoders.
    first = decode_range(range(min(1, count)))
    chunks = [range(start, min(start + _CHUNK, count)) for start in range(1, count, _CHUNK)]
    pixels = first[0].shape[0] * first[0].shape[1] if first and isinstance(first[0], np.ndarray) else 0
    if pixels < _THREADS_FROM_PIXELS:
        return first + [result for chunk in chunks for result in decode_range(chunk)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return first + [result for results in pool.map(decode_range, chunks) for result in results]


def decode_image(content: bytes | None, image_size: tuple[int, int] | None = None) -> np.ndarray | _Bad:
    """One image as uint8 ``[h, w, 1]`` (grey) or ``[h, w, 3]``, or the reason why it is bad."""
    if not content:
        return _Bad("no bytes")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:
            return _Bad(f"{image.width}×{image.height} pixels, more than the limit of {limit}")
        if image.mode not in (*_GREY_MODES, *_COLOUR_MODES):
            return _Bad(f"{image.mode} pixels, of more than 8 bits; convert it to 8 bits a channel")
        channels = 1 if image.mode in _GREY_MODES else 3
        image.load()
        wanted = "L" if channels == 1 else "RGB"
        if image.mode != wanted:
            image = image.convert(wanted)
        if image_size is not None and (image.height, image.width) != image_size:
            image = image.resize((image_size[1], image_size[0]), Image.Resampling.BILINEAR)
        # tobytes() is a third faster than np.asarray(image) on small images.
        return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return _Bad(f"cannot be decoded ({type(error).__name__}: {str(error)[:120]})")


@contextmanager
def _bombs_are_counted() -> Iterator[None]:
    """Silence Pillow's warnings: :func:`decode_image` rejects what they warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield


def _require_one_size(images: Sequence[tuple[int, np.ndarray]], name: Callable[[int], str]) -> None:
    sizes = Counter(image.shape[:2] for _, image in images)
    if len(sizes) <= 1:
        return
    usual = sizes.most_common(1)[0][0]
    odd, size = next((i, image.shape[:2]) for i, image in images if image.shape[:2] != usual)
    raise DataError(
        expected=f"images of one size (most have {usual[0]}×{usual[1]}, height × width)",
        received=f"{len(sizes)} sizes ({first_named(f'{h}×{w}' for h, w in sorted(sizes))}); "
        f"the first other one is {quote(name(odd))} with {size[0]}×{size[1]}",
        remedy=f"load with image_size=({usual[0]}, {usual[1]}) to resize all, or remove the others",
    )


def _stack(images: list[np.ndarray]) -> np.ndarray:
    """The images, all of one size, in one array; among colour images a grey one fills all three channels."""
    if not images:
        return np.zeros((0, 0, 0, 3), np.uint8)
    channels = max(image.shape[2] for image in images)
    shape = (len(images), *images[0].shape[:2], channels)
    require_memory(
        math.prod(shape),
        DataError,
        expected="images that fit into memory",
        received=f"{shape[0]} of {shape[1]}×{shape[2]} pixels",
        remedy="resize them: set data.image_size to fewer pixels, or use fewer images",
    )
    stacked = np.empty(shape, np.uint8)
    for row, image in enumerate(images):
        stacked[row] = image
    return stacked
