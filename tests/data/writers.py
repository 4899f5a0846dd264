"""One small data set in every format that kilter reads: the reference that loading is compared with."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

CLASSES = ("cat", "dog", "owl")
ROWS = 18


def pictures(channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (ROWS, 6, 5, channels), dtype=np.uint8)


def numbers() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(ROWS, 4)).astype(np.float32)


def labels() -> np.ndarray:
    """0 0 0 … 1 1 1 … 2 2 2: in the order in which a folder is read."""
    return np.repeat(np.arange(3, dtype=np.int32), ROWS // 3)


def names() -> list[str]:
    return [CLASSES[label] for label in labels()]


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, "PNG")
    return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Written:
    """A written set: the path to load, one file of it to damage, and what loading must give."""

    path: Path
    file: Path
    x: np.ndarray
    classes: tuple[str, ...]
    is_one_of_many: bool = False  # a damaged file is left out
    cut: int | None = None  # bytes to keep where half the file would still be a good one


def write_csv(folder: Path) -> Written:
    path = folder / "table.csv"
    frame = pl.DataFrame(numbers(), schema=["a", "b", "c", "d"]).with_columns(pl.Series("label", names()))
    frame.write_csv(path)
    return Written(path, path, numbers(), CLASSES, cut=path.read_bytes().rindex(b",") + 1)


def write_parquet_table(folder: Path) -> Written:
    path = folder / "table.parquet"
    frame = pl.DataFrame(numbers(), schema=["a", "b", "c", "d"]).with_columns(pl.Series("label", names()))
    frame.write_parquet(path)
    return Written(path, path, numbers(), CLASSES)


def write_parquet_dictionary(folder: Path) -> Written:
    """A dictionary of more values than the table has rows: an Enum that is mostly unused."""
    path = folder / "enum.parquet"
    known = pl.Enum([f"unused {i}" for i in range(50)] + list(CLASSES))
    frame = pl.DataFrame(numbers(), schema=["a", "b", "c", "d"])
    frame.with_columns(pl.Series("label", names(), dtype=known)).write_parquet(path)
    return Written(path, path, numbers(), CLASSES)


def write_parquet_images(folder: Path) -> Written:
    path = folder / "train-00000-of-00001.parquet"
    encoded = [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(pictures())]
    pl.DataFrame({"image": encoded, "label": labels()}).write_parquet(path)
    return Written(path, path, pictures(), ("0", "1", "2"))


def write_parquet_bytes(folder: Path) -> Written:
    path = folder / "plain.parquet"
    pl.DataFrame({"label": names(), "img": [png(image) for image in pictures()]}).write_parquet(path)
    return Written(path, path, pictures(), CLASSES)


def write_npz(folder: Path) -> Written:
    path = folder / "arrays.npz"
    np.savez(path, x=pictures(), y=labels())
    return Written(path, path, pictures(), ("0", "1", "2"))


def write_npz_compressed(folder: Path) -> Written:
    path = folder / "parts.npz"
    np.savez_compressed(
        path, x_train=numbers(), y_train=np.array(names()), x_test=numbers(), y_test=np.array(names())
    )
    return Written(path, path, numbers(), CLASSES)


def idx_bytes(array: np.ndarray) -> bytes:
    codes = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}
    code = codes[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx_folder(folder: Path) -> Written:
    place = folder / "grey"
    place.mkdir()
    for prefix in ("train", "t10k"):
        images, marks = pictures(1)[..., 0], labels().astype(np.uint8)
        (place / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx_bytes(images), mtime=0))
        (place / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes(marks), mtime=0))
    return Written(place, place / "train-images-idx3-ubyte.gz", pictures(1), ("0", "1", "2"))


def write_idx_file(folder: Path) -> Written:
    path = folder / "set-images.idx3-ubyte"
    path.write_bytes(idx_bytes(pictures(1)[..., 0]))
    (folder / "set-labels.idx1-ubyte").write_bytes(idx_bytes(labels().astype(np.uint8)))
    return Written(path, path, pictures(1), ("0", "1", "2"))


def write_image_folder(folder: Path) -> Written:
    place = folder / "animals"
    for i, (image, name) in enumerate(zip(pictures(), names(), strict=True)):
        (place / name).mkdir(parents=True, exist_ok=True)
        (place / name / f"{i:03}.png").write_bytes(png(image))
    return Written(place, place / "dog" / "007.png", pictures(), CLASSES, is_one_of_many=True)


# (format of kilter.data.FORMATS, variant): a test says that every format has a row here.
WRITERS: dict[tuple[str, str], Callable[[Path], Written]] = {
    ("csv", "table"): write_csv,
    ("parquet", "table"): write_parquet_table,
    ("parquet", "dictionary"): write_parquet_dictionary,
    ("parquet", "images"): write_parquet_images,
    ("parquet", "bytes"): write_parquet_bytes,
    ("npz", "x and y"): write_npz,
    ("npz", "parts"): write_npz_compressed,
    ("idx", "folder"): write_idx_folder,
    ("idx", "file"): write_idx_file,
    ("images", "folder"): write_image_folder,
}
