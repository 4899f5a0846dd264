"""The sets that have a name: looked for in ``$KILTER_DATA``, then taken from the library that has them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from kilter.data import idx, libraries, parquet
from kilter.data.assembling import About, Part, assemble
from kilter.data.dataset import Source
from kilter.data.options import LoadOptions


@dataclass(frozen=True)
class NamedSet:
    """A set with a name.

    Attributes:
        classes: its class names by index.
        folder_reader: reads ``$KILTER_DATA/<name>``, or None where no folder is looked for.
        library: gives training and test part from another library.
        library_name: what to call that library.
    """

    classes: tuple[str, ...]
    folder_reader: Callable[[Path, LoadOptions], Source] | None
    library: Callable[[], tuple[Part, Part | None]]
    library_name: str


NAMED_SETS = {
    "digits": NamedSet(tuple("0123456789"), None, libraries.digits, "scikit-learn"),
    "fashion-mnist": NamedSet(
        (
            "T-shirt/top",
            "trouser",
            "pullover",
            "dress",
            "coat",
            "sandal",
            "shirt",
            "sneaker",
            "bag",
            "ankle boot",
        ),
        idx.read,
        lambda: libraries.keras_set("fashion_mnist"),
        "Keras",
    ),
    "cifar10": NamedSet(
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        parquet.read,
        lambda: libraries.keras_set("cifar10"),
        "Keras",
    ),
}


def read_named(name: str, options: LoadOptions) -> Source:
    """Read a set of NAMED_SETS. Raises DataError where its folder is damaged or its download fails."""
    known = NAMED_SETS[name]
    if options.classes is None:
        options = replace(options, classes=known.classes)
    data_folder = os.environ.get("KILTER_DATA")
    if known.folder_reader is not None and data_folder and (Path(data_folder) / name).is_dir():
        return known.folder_reader(Path(data_folder) / name, options)
    train, test = known.library()
    return assemble(train, test, options, About("arrays", known.library_name, name))
