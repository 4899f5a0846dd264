"""Encoded images (JPEG, PNG and other common formats) to one uint8 array, of one size."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from kilter._system import require_memory
from kilter.data.dataset import LoadOptions
from kilter.data.paths import first_named
from kilter.data.picture import Bad, Size, bombs_are_counted, decode_image, size_of
from kilter.errors import DataError

# The column of file names beside the answers for images.
FILE: Final = "file"
# Images of several sizes are resized to one whose longer side has at most so many pixels; so are images of
# one size that is larger than the second number.
LONGEST, LARGEST = 128, 512
# Decoding a small image is mostly Python, under the GIL: two threads took 1.3 times as long as one for 32×32
# pixels, 0.6 times for 64×64.
_THREADS_FROM_PIXELS = 64 * 64
_CHUNK = 256


@dataclass(frozen=True)
class Encoded:
    """Encoded images: ``read(i)`` returns the bytes of one (or None), ``name(i)`` its name for people."""

    count: int
    read: Callable[[int], bytes | None]
    name: Callable[[int], str]


@dataclass(frozen=True, eq=False)
class Decoded:
    """Images uint8 ``[m, h, w, c]``, their positions among all, and lines on the bad ones.

    ``size``: that they were resized to; None if they are as they were. ``notes``: sentences on what was
    resized and left out.
    """

    x: np.ndarray
    positions: np.ndarray
    skipped: tuple[str, ...]
    size: Size | None
    notes: tuple[str, ...]


def decode_images(encoded: Encoded, options: LoadOptions, like: np.ndarray | None = None) -> Decoded:
    """Decode images to one size and number of channels.

    These are those of ``like``, images of another part, or ``options.image_size`` and ``options.channels``;
    else their own size if all have the same one of at most LARGEST, or :func:`common_size`, and one channel
    if all are grey, else three. Bad images are left out and listed; DataError if all are bad, or more than
    half without ``options.skip_bad``.
    """
    size, channels = options.image_size, options.channels
    if like is not None:
        size, channels = (like.shape[1], like.shape[2]), like.shape[3]
    notes: list[str] = []
    with bombs_are_counted():
        decoded = None if size is None and _is_large(encoded) else _decode_all(encoded, size)
        if decoded is None:
            sizes = _sizes(encoded)
            size = common_size(sizes)
            notes.append(_resized(sizes, size))
            decoded = _decode_all(encoded, size)
    assert decoded is not None
    bad = [(i, result.reason) for i, result in enumerate(decoded) if isinstance(result, Bad)]
    lines = tuple(f"{encoded.name(i)}: {reason}" for i, reason in bad)
    _require_good(encoded, lines, options)
    if bad:
        notes.append(
            f"{len(bad)} of {encoded.count} images cannot be used and are left out: "
            f"{first_named(encoded.name(i) for i, _ in bad)}"
        )
    good = [(i, result) for i, result in enumerate(decoded) if isinstance(result, np.ndarray)]
    decoded.clear()
    positions = np.array([i for i, _ in good], dtype=np.int64)
    x = with_channels(_stack([image for _, image in good]), channels)
    return Decoded(x, positions, lines, size, tuple(notes))


def content_of(path: Path | str | None) -> bytes | None:
    """The bytes of a file; None if it is missing or unreadable, which :func:`decode_images` reports."""
    try:
        return Path(path).read_bytes() if path is not None and Path(path).is_file() else None
    except OSError:
        return None


def common_size(sizes: Counter[Size]) -> Size:
    """The size for images of several sizes: the one of at least half of them, else the medians.

    Its longer side has at most LONGEST pixels.

    Example:
        >>> common_size(Counter({(60, 80): 2, (600, 900): 1})), common_size(Counter({(480, 640): 1}))
        ((60, 80), (96, 128))
    """
    commonest, times = sizes.most_common(1)[0]
    if 2 * times >= sizes.total():
        height, width = commonest
    else:
        every = np.array(list(sizes.elements()))
        height, width = (round(float(side)) for side in np.median(every, axis=0))
    scale = min(1.0, LONGEST / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _is_large(encoded: Encoded) -> bool:
    """Whether the first image is too large to keep as it is."""
    first = size_of(encoded.read(0)) if encoded.count else None
    return first is not None and max(first) > LARGEST


def _sizes(encoded: Encoded) -> Counter[Size]:
    found = (size_of(encoded.read(i)) for i in range(encoded.count))
    return Counter(size for size in found if size is not None)


def _resized(sizes: Counter[Size], size: Size) -> str:
    few = ", ".join(f"{height}×{width}" for (height, width), _ in sizes.most_common(3))
    many = f"of {len(sizes)} sizes ({few}{' and others' if len(sizes) > 3 else ''})"
    return (
        f"the images are {many if len(sizes) > 1 else few}: they are resized to {size[0]}×{size[1]}, height "
        "× width, with black bars where their shape differs; another size: "
        "--set data.image_size=[HEIGHT,WIDTH] (in Python image_size=)"
    )


def _require_good(encoded: Encoded, lines: tuple[str, ...], options: LoadOptions) -> None:
    few_are_bad = 2 * len(lines) <= encoded.count or options.skip_bad
    if lines and (len(lines) == encoded.count or not few_are_bad):
        more = ", or load with skip_bad=True to leave them out" if len(lines) < encoded.count else ""
        raise DataError(
            expected=f"{encoded.count} readable images",
            received=f"{len(lines)} that are not: {first_named(lines[:3], total=len(lines))}",
            remedy=f"replace or remove these images{more}",
        )


def _decode_all(encoded: Encoded, size: Size | None) -> list[np.ndarray | Bad] | None:
    """All images, or None as soon as two have different sizes."""

    def decode_range(chunk: range) -> list[np.ndarray | Bad]:
        return [decode_image(encoded.read(i), size) for i in chunk]

    # The first image decides whether threads pay; it also fills Pillow's lazy tables of decoders.
    first = decode_range(range(min(1, encoded.count)))
    chunks = [range(start, min(start + _CHUNK, encoded.count)) for start in range(1, encoded.count, _CHUNK)]
    pixels = first[0].shape[0] * first[0].shape[1] if first and isinstance(first[0], np.ndarray) else 0
    if pixels < _THREADS_FROM_PIXELS:
        return _while_alike(first, map(decode_range, chunks))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = _while_alike(first, pool.map(decode_range, chunks))
        pool.shutdown(cancel_futures=True)
        return found


def _while_alike(
    first: list[np.ndarray | Bad], more: Iterator[list[np.ndarray | Bad]]
) -> list[np.ndarray | Bad] | None:
    found, sizes = list(first), {one.shape[:2] for one in first if isinstance(one, np.ndarray)}
    for results in more:
        found += results
        sizes |= {one.shape[:2] for one in results if isinstance(one, np.ndarray)}
        if len(sizes) > 1:
            return None
    return found


def with_channels(x: np.ndarray, channels: int | None) -> np.ndarray:
    """The images with the channels of an earlier training: grey repeated, or colour as its brightness."""
    if channels is None or x.shape[-1] == channels:
        return x
    if channels == 3:
        return np.repeat(x, 3, axis=-1)
    # As Pillow converts to "L" (ITU-R 601-2).
    weights = np.array([0.299, 0.587, 0.114])
    return np.rint(x @ weights).astype(np.uint8)[..., np.newaxis]


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
