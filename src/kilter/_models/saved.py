"""Models in .keras files, without running code that they may contain."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import keras

from kilter._models.saved_size import require_room
from kilter._system import at_home
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
        model = keras.saving.load_model(path, compile=compiled, safe_mode=not allow_code)
    except ModelError:
        raise
    except Exception as error:
        if "unsafe" in str(error) or "safe_mode" in str(error):
            raise _code_refused(path, cause(error)) from error
        raise ModelError(
            expected=f"a whole .keras file: {path}",
            received=cause(error),
            remedy="save it again with model.save('....keras'), under the same Keras version",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            expected=f"a model in {path}", received=type(model).__name__, remedy="save a keras.Model"
        )
    return model


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
        raise ModelError(
            expected=f"a whole .keras file: {path}",
            received=kind,
            remedy="save the model again with model.save('....keras')",
        )


def _check_functions(path: Path) -> None:
    """Reject a file with layers that call functions of Keras that are not part of a model.

    Keras's safe mode lets a layer call any function that Keras exports, apart from a list of known dangers.
    """
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    for function in _functions(config):
        package, _, rest = str(function.get("module")).partition(".")
        if package == "keras" and rest.partition(".")[0] not in _MODELLING:
            raise _code_refused(path, f"a layer that calls {package}.{rest}.{function.get('config')}")


def _functions(config: Any) -> Iterator[dict[str, Any]]:
    """Every function that the configuration of a model names."""
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            if value.get("class_name") == "function":
                yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _code_refused(path: Path, received: str) -> ModelError:
    return ModelError(expected=f"a .keras file without code in it: {path}", received=received, remedy=TRUST)
