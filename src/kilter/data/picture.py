"""One encoded picture (JPEG, PNG and other common formats) as uint8 pixels, upright, with its aspect kept.

Pillow's guard against decompression bombs is a limit here, not a warning: an image of more than
``PIL.Image.MAX_IMAGE_PIXELS`` pixels is bad and is not decoded.
"""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kilter.data.paths import DAMAGE

# The only decoders used on untrusted files: some of Pillow's others start programs (EPS).
FORMATS: Final = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_GREY: Final = ("1", "L", "LA", "La")
_COLOUR: Final = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB")
_DEEP: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_WITH_ALPHA: Final = ("RGBA", "RGBa", "LA", "La", "PA")
_ORIENTATION: Final = 0x0112  # the EXIF tag; from 5 on the picture lies on its side
Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Bad:
    """Why one image cannot be used."""

    reason: str


def decode_image(content: bytes | None, size: Size | None = None) -> np.ndarray | Bad:
    """One image as uint8 ``[h, w, 1]`` (grey) or ``[h, w, 3]``, or the reason why it is bad.

    Of an animation the first frame; turned upright as its EXIF data say; transparent parts are white, as on a
    page. 16-bit grey and fractions become 8-bit. ``size``: the image is resized (bilinear) to fit into it,
    with its aspect kept, and the rest of it is black.
    """
    opened = _opened(content)
    if isinstance(opened, Bad):
        return opened
    try:
        image = ImageOps.exif_transpose(opened)
        channels = 1 if image.mode in (*_GREY, *_DEEP) else 3
        if image.mode in _DEEP:
            image = _eight_bit(image)
            if image is None:
                return Bad("pixels outside 0 to 65,535, convert it to 8 bits a channel")
        wanted = "L" if channels == 1 else "RGB"
        if image.mode in _WITH_ALPHA or "transparency" in image.info:
            image = _on_white(image)
        if image.mode != wanted:
            image = image.convert(wanted)
        if size is not None and (image.height, image.width) != size:
            image = ImageOps.pad(image, (size[1], size[0]), Image.Resampling.BILINEAR, color=0)
        # tobytes() is a third faster than np.asarray(image) on small images.
        return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return _undecodable(error)


def size_of(content: bytes | None) -> Size | None:
    """Height and width of an upright image, from its header; None if it is bad."""
    opened = _opened(content)
    if isinstance(opened, Bad):
        return None
    try:
        lies = opened.getexif().get(_ORIENTATION, 1) >= 5
    except (*DAMAGE, Image.DecompressionBombError):
        lies = False
    return (opened.width, opened.height) if lies else (opened.height, opened.width)


def _opened(content: bytes | None) -> Image.Image | Bad:
    """Open an image: only its header is read."""
    if not content:
        return Bad("no bytes: missing or empty")
    try:
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    except (*DAMAGE, Image.DecompressionBombError) as error:
        return _undecodable(error)
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        return Bad(f"{image.width}×{image.height} pixels, more than the limit of {limit}")
    if image.mode not in (*_GREY, *_COLOUR, *_DEEP):
        return Bad(f"{image.mode} pixels, of more than 8 bits; convert it to 8 bits a channel")
    return image


def _undecodable(error: BaseException) -> Bad:
    if isinstance(error, UnidentifiedImageError):  # its text is the address of a buffer
        return Bad("not an image, or one of another format")
    return Bad(f"cannot be decoded ({type(error).__name__}: {str(error)[:120]})")


def _eight_bit(image: Image.Image) -> Image.Image | None:
    """A grey image of 16 bits with 8, or one of fractions from 0 to 1 or to 255; None for other values."""
    values = np.asarray(image).astype(np.float64)
    most = values.max()
    if not (values.min() >= 0 and most <= 65535):  # NaN is neither
        return None
    scale = 1 / 257 if image.mode != "F" or most > 255 else 255.0 if most <= 1 else 1.0
    return Image.fromarray(np.floor(values * scale + 0.5).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    clear = image.convert("RGBA")
    grey = image.mode in _GREY
    page = Image.new("RGBA", clear.size, "white")
    page.alpha_composite(clear)
    return page.convert("L" if grey else "RGB")


@contextmanager
def bombs_are_counted() -> Generator[None]:
    """Silence Pillow's warnings: :func:`decode_image` rejects what they warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", module="PIL")
        yield
