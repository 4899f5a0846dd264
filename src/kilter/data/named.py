"""Named data sets, from ``$KILTER_DATA`` or else from the library that has them."""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kilter._validation import errors_as
from kilter.data import idx, parquet
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import LoadOptions, Source
from kilter.errors import DataError


def digits() -> tuple[Part, None]:
    """scikit-learn's 1,797 handwritten digits, uint8 ``[1797, 8, 8, 1]`` with values 0 to 16."""
    bunch = _function("sklearn.datasets:load_digits")()
    return Part(bunch.images.astype(np.uint8)[..., np.newaxis], bunch.target), None


def keras_set(name: str) -> tuple[Part, Part]:
    """A set from ``keras.datasets``, cached or downloaded; DataError if that fails."""
    folder = os.environ.get("KILTER_DATA")
    found = f"; there is no readable folder {Path(folder, name.replace('_', '-'))}" if folder else ""
    load_data = _function(f"keras.datasets.{name}:load_data")
    with errors_as(
        DataError,
        Exception,  # Keras raises a bare one if a download fails
        expected=f"the data set {name} in $KILTER_DATA, in Keras's cache, or a network to download it",
        remedy=f"set KILTER_DATA to a folder with the set, or connect to a network{found}",
    ):
        (x_train, y_train), (x_test, y_test) = load_data()
    return Part(x_train, y_train), Part(x_test, y_test)


def _function(reference: str) -> Callable[..., Any]:
    """The function ``module:name``, imported late: reading a CSV file must not wait for Keras and JAX."""
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass(frozen=True)
class NamedSet:
    """A named set: its classes, the reader of ``$KILTER_DATA/<name>`` if any, and the library that has it."""

    classes: tuple[str, ...]
    folder_reader: Callable[[Path, LoadOptions], Source] | None
    library: Callable[[], tuple[Part, Part | None]]
    library_name: str


NAMED_SETS = {
    "digits": NamedSet(tuple("0123456789"), None, digits, "scikit-learn"),
    "fashion-mnist": NamedSet(
        (
            *("T-shirt/top", "trouser", "pullover", "dress", "coat"),
            *("sandal", "shirt", "sneaker", "bag", "ankle boot"),
        ),
        idx.read,
        lambda: keras_set("fashion_mnist"),
        "Keras",
    ),
    "cifar10": NamedSet(
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        parquet.read,
        lambda: keras_set("cifar10"),
        "Keras",
    ),
}


def read_named(name: str, options: LoadOptions) -> Source:
    """Read a set of NAMED_SETS. Raises DataError if its folder is damaged or its download fails."""
    known = NAMED_SETS[name]
    if options.classes is None:
        options = replace(options, classes=known.classes)
    data_folder = os.environ.get("KILTER_DATA")
    if known.folder_reader is not None and data_folder and os.path.isdir(Path(data_folder, name)):
        return known.folder_reader(Path(data_folder) / name, options)
    train, test = known.library()
    return assemble(train, test, options, About("arrays", known.library_name, name))
