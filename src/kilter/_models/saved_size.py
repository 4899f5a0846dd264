"""How much memory a .keras file asks for, found before any of it is allocated.

A file of 13 kB may describe a layer of 20 GB, or hold an archive of zeros that unpacks to as much.
"""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any, Final

import h5py
import jax
import keras

from kilter._system import in_bytes, require_memory
from kilter.errors import ModelError

_CONFIG: Final = "config.json"
_MOST_CONFIG: Final = 1 << 26  # bytes; that of a network of 1,000 layers has about 1 MB


def require_room(path: Path, *, compiled: bool, safe: bool) -> None:
    """Raise :class:`ModelError` if what is in the .keras file does not fit into the free memory.

    ``compiled``: the optimiser is loaded too. ``safe``: code in the file is not run, here neither.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _require(sum(one.file_size for one in members), path, "an archive that unpacks to more")
        if archive.getinfo(_CONFIG).file_size > _MOST_CONFIG:
            raise _unlikely(path, f"a {_CONFIG} of {in_bytes(archive.getinfo(_CONFIG).file_size)}")
        config = json.loads(archive.read(_CONFIG))
        _require(_declared(archive), path, "arrays that are larger when they are unpacked")
    copies = 3 if compiled else 1  # two numbers of the optimiser for each weight
    _require(_built(config, safe=safe) * copies, path, "a description of a model larger than that")


def _require(needed: int, path: Path, received: str) -> None:
    require_memory(
        needed,
        ModelError,
        expected=f"a saved model that fits into memory: {path}",
        received=received,
        remedy="check where the file comes from; its layers are in its config.json",
    )


def _unlikely(path: Path, received: str) -> ModelError:
    return ModelError(
        expected=f"a whole .keras file: {path}",
        received=received,
        remedy="save the model again with model.save('....keras')",
    )


def _declared(archive: zipfile.ZipFile) -> int:
    """The bytes of all arrays in the HDF5 files of the archive, which may be compressed."""
    total = 0
    for name in archive.namelist():
        if name.endswith(".h5"):
            with archive.open(name) as member, h5py.File(member, "r") as file:
                sizes: list[int] = []
                file.visititems(lambda _, one, sizes=sizes: sizes.append(getattr(one, "nbytes", 0)))
                total += sum(map(int, sizes))
    return total


def _built(config: Any, *, safe: bool) -> int:
    """The bytes of the model's variables, whose shapes are found without making them; 0 if unknown."""

    def values() -> list[Any]:
        with keras.saving.CustomObjectScope({}):
            model: Any = keras.saving.deserialize_keras_object(config, safe_mode=safe)
        return [variable.value for variable in model.variables]

    try:
        shapes = jax.eval_shape(values)
    except (jax.errors.TracerArrayConversionError, jax.errors.ConcretizationTypeError):
        return 0  # a layer that reads its values as it is made
    return sum(math.prod(one.shape) * one.dtype.itemsize for one in shapes)
