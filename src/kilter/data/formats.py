"""The formats kilter reads, in one table. A new format is a module with two functions and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kilter.data import csv, folders, idx, npz, parquet
from kilter.data.dataset import Source
from kilter.data.options import LoadOptions


@dataclass(frozen=True)
class Format:
    """One kind of source.

    Attributes:
        name: stable short name.
        looks_like: what a person recognises it by, for messages.
        recognises: whether a path is of this kind, by its name or, for a folder, by what lies in it.
        read: reads such a path; raises DataError, and nothing else, for whatever is wrong with it.
        resizes: whether ``image_size`` means anything to it.
    """

    name: str
    looks_like: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path, LoadOptions], Source]
    resizes: bool = False


# In the order in which they are asked: any folder is an image folder if it is nothing more particular.
FORMATS = (
    Format("csv", "a .csv table", csv.recognises, csv.read),
    Format("parquet", "a .parquet table or set of images", parquet.recognises, parquet.read, resizes=True),
    Format("npz", "an .npz archive", npz.recognises, npz.read),
    Format("idx", "idx files (…-images-idx3-ubyte, plain or .gz)", idx.recognises, idx.read),
    Format("images", "a folder of images in class folders", folders.recognises, folders.read, resizes=True),
)
