"""A single picture, to predict for."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.data.folders import is_picture
from kilter.data.images import FILE, Encoded, decode_images
from kilter.data.paths import in_utf8, require_file
from kilter.errors import DataError


def recognises(path: Path) -> bool:
    """Whether the path is a picture by its name or, with an unknown name, by its first bytes."""
    return path.is_file() and is_picture(path)


def read(path: Path, options: LoadOptions) -> Source:
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
    inputs = pl.DataFrame({FILE: [in_utf8(path.name)]}) if options.keep_inputs else None
    about = About("picture", str(path), path.stem, notes=decoded.notes, image_size=decoded.size)
    return assemble(Part(decoded.x, None, inputs=inputs), None, options, about)
