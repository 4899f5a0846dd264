"""Models in .keras files, without running code that they may contain.

How much memory a file asks for is found before any of it is allocated: one of 13 kB may describe a layer of
20 GB, or hold an archive of zeros that unpacks to as much.
"""

import json
import math
import zipfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import jax
import keras

from kilter._models.copying import FOREIGN_ERRORS
from kilter._models.keras_internals import (
    ObjectSharingScope,
    SafeModeScope,
    get_global_attribute,
    set_global_attribute,
)
from kilter._models.variables import assign
from kilter._system import at_home, in_bytes, require_memory
from kilter._text import cause
from kilter._validation import errors_as
from kilter.errors import ModelError

TRUST: Final = "add --allow-code (in Python: allow_code=True) if you trust whoever wrote it"
"""The remedy if code was refused. Only the user who runs kilter can grant permission, never a file."""

# The packages from which layers may use functions. Other functions of Keras read and write files.
_MODELLING: Final = ("activations", "constraints", "initializers", "losses", "metrics", "ops", "random")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"


def load_model(path: str | Path, *, allow_code: bool = False, compiled: bool = False) -> keras.Model:
    """Load a .keras file. Code stored in it is refused unless ``allow_code``.

    The model is uncompiled, or with ``compiled`` has the loss and optimiser it was saved with.
    """
    path = at_home(path)
    _require_archive(path)
    try:
        if not allow_code:
            _check_functions(path)
        require_room(path, compiled=compiled, safe=not allow_code)
        model = _read(path, compiled=compiled, safe=not allow_code)
    except ModelError:
        raise
    except Exception as error:
        if "unsafe" in str(error) or "safe_mode" in str(error):
            raise _code_refused(path, cause(error)) from error
        raise _unlikely(path, cause(error), ", under the same Keras version") from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            expected=f"a model in {path}", received=type(model).__name__, remedy="save a keras.Model"
        )
    return model


def _read(path: Path, *, compiled: bool, safe: bool) -> Any:
    """The model in the file, read without drawing the initial weights that the file replaces.

    Keras's own loader draws them, which takes several times the memory of the file. It remains for archives
    with more than weights, such as vocabularies, for models that are built by their first batch, and for
    custom layers, which may read or assign their values as they are built.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read(_CONFIG))
        whole = {_CONFIG, _WEIGHTS} <= set(archive.namelist()) <= {_CONFIG, _WEIGHTS, "metadata.json"}
    if whole and path.suffix == ".keras" and all(map(_is_known, _described(config))):
        compile_config = config.pop("compile_config", None)
        with _uninitialized() as initialize, ObjectSharingScope():
            model: Any = keras.saving.deserialize_keras_object(config, safe_mode=safe)
        if isinstance(model, keras.Model) and model.built:
            if compiled and compile_config:
                with SafeModeScope(safe):
                    model.compile_from_config(compile_config)
            model.load_weights(path)
            initialize()
            return model
    return keras.saving.load_model(path, compile=compiled, safe_mode=safe)


@contextmanager
def _uninitialized() -> Generator[Callable[[], object]]:
    """Variables that are made within have no values yet; the function gives them to those still without."""
    earlier = get_global_attribute(_WAITING, [])
    set_global_attribute(_WAITING, made := [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield lambda: assign((one, one.value) for one in made if one._value is None)
    finally:
        set_global_attribute(_WAITING, earlier)


def _require_archive(path: Path) -> None:
    """Raise :class:`ModelError` unless ``path`` is a zip archive, as every .keras file is."""
    if not path.is_file():
        raise ModelError(
            expected="a saved Keras model", received=f"{path}, which is not a file", remedy="correct the path"
        )
    expected, remedy = "a saved Keras model that can be read", "check the permissions of the file"
    with errors_as(ModelError, OSError, expected=expected, received=str(path), remedy=remedy):
        with path.open("rb") as file:
            start = file.read(len(_HDF5))
        whole = zipfile.is_zipfile(path)
    if not whole:
        kind = "an HDF5 file" if start == _HDF5 else "not a zip archive" if start else "an empty file"
        raise _unlikely(path, kind)


def _check_functions(path: Path) -> None:
    """Reject a file with layers that call functions of Keras that are not part of a model.

    Keras's safe mode lets a layer call any function that Keras exports, apart from a list of known dangers.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    for one in _described(config):
        package, _, rest = str(one.get("module")).partition(".")
        called = one["class_name"] == "function" and package == "keras"
        if called and rest.partition(".")[0] not in _MODELLING:
            raise _code_refused(path, f"a layer that calls {package}.{rest}.{one.get('config')}")


def _is_known(described: dict[str, Any]) -> bool:
    """Whether it is a class or function of Keras or kilter, or a plain value such as a tuple."""
    module = described.get("module")
    return module is None or str(module).partition(".")[0] in ("keras", "kilter", "builtins")


def _described(config: Any) -> Iterator[dict[str, Any]]:
    """Every object and function that the configuration of a model describes."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _code_refused(path: Path, received: str) -> ModelError:
    return ModelError(expected=f"a .keras file without code in it: {path}", received=received, remedy=TRUST)


_CONFIG: Final = "config.json"
_WEIGHTS: Final = "model.weights.h5"
_WAITING: Final = "uninitialized_variables"  # where Keras lists the variables that have no values yet
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


def _unlikely(path: Path, received: str, under: str = "") -> ModelError:
    remedy = f"save the model again with model.save('....keras'){under}"
    return ModelError(expected=f"a whole .keras file: {path}", received=received, remedy=remedy)


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
    except FOREIGN_ERRORS:
        return 0  # a layer that reads its values as it is made, or an error that the loader reports
    return sum(math.prod(one.shape) * one.dtype.itemsize for one in shapes)
