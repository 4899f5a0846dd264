"""Decode a Parquet file of encoded images (image{bytes}, label) into x.npy and y.npy; run by ``bench.data``.

A program of its own, so that polars and Pillow stay out of the driver's memory while it measures.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import polars
from PIL import Image


def decode(source: Path, folder: Path, skip: int) -> None:
    """Write x.npy (uint8 [rows, h, w, c]), then y.npy (int32 [rows]), without the first ``skip`` rows."""
    frame = polars.read_parquet(source).slice(skip)
    images = frame["image"].struct.field("bytes")
    np.save(folder / "x.npy", np.stack([np.asarray(Image.open(io.BytesIO(image))) for image in images]))
    np.save(folder / "y.npy", frame["label"].to_numpy().astype(np.int32))


if __name__ == "__main__":
    decode(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
