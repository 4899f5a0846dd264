"""Trained models to reuse: a .keras file, or one of keras.applications with a file of its weights.

Nothing is downloaded. Every file is identified by its SHA-256, so that a result can name its source.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import keras

from kilter._models.saved import load_model
from kilter._system import at_home, sha256_of
from kilter._text import did_you_mean, first_line
from kilter._validation import errors_as
from kilter.errors import ModelError, OptionError

# In the names of Keras's files: weights of a network without its last layers.
_WITHOUT_TOP: Final = ("notop", "no_top")


@dataclass(frozen=True, eq=False)
class SourceModel:
    """A trained model, the file of its weights, and the SHA-256 of the file, hexadecimal."""

    model: keras.Model
    file: Path
    sha256: str


def load_source(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    sha256: str | None = None,
    allow_code: bool = False,
) -> SourceModel:
    """The trained model ``name``, uncompiled.

    Args:
        name: a .keras file, or a network of ``keras.applications`` such as "MobileNetV2", which takes pixels
            from 0 to 255 and includes its preprocessing.
        weights: the file with a network's weights; with "notop" in its name, without the last layers.
        sha256: the expected SHA-256 of the file, or its beginning.
        allow_code: run code stored in a .keras file; only for files you trust.

    Raises :class:`~kilter.errors.ModelError` if the file is missing, damaged, of another network, contains
    code or has another SHA-256; :class:`~kilter.errors.OptionError` for a network that Keras does not have.
    """
    path = at_home(name)
    if path.suffix != ".keras":
        return _application(str(name), weights, sha256)
    if weights is not None:
        raise OptionError(
            expected="weights for a network of keras.applications only",
            received=f"weights={str(weights)!r} with {path}, which has its own",
            remedy="leave weights out",
        )
    found = checksum(path, sha256)
    return SourceModel(load_model(path, allow_code=allow_code), path, found)


def applications() -> tuple[str, ...]:
    """The names of the networks of ``keras.applications``."""
    return tuple(name for name in dir(keras.applications) if name[0].isupper())


def _application(name: str, weights: str | Path | None, sha256: str | None) -> SourceModel:
    if name not in applications():
        raise OptionError(
            expected="a .keras file or a network of keras.applications, such as MobileNetV2",
            received=f"{name!r}",
            remedy=did_you_mean(name, applications(), "correct the name", cutoff=0.4),
        )
    make = getattr(keras.applications, name)
    path = None if weights is None else at_home(weights)
    if path is None or not path.is_file():
        raise ModelError(
            expected=f"a file with the weights of {name}: kilter downloads nothing",
            received="none" if path is None else f"weights={str(path)!r}, which is not a file",
            remedy=f"let python -c 'import keras; keras.applications.{name}()' download one into "
            f"~/.keras/models{_address(make)}; then pass its path as weights",
        )
    found = checksum(path, sha256)
    with errors_as(
        ModelError,
        *(ValueError, OSError, KeyError),
        expected=f"a file with the weights of {name}",
        received=str(path),
        remedy="use Keras's file for this network; without the last layers it has notop in its name",
    ):
        network = make(weights=str(path), include_top=not any(part in path.name for part in _WITHOUT_TOP))
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    prepare: Callable[[Any], Any] = sys.modules[make.__module__].preprocess_input  # type: ignore[attr-defined]
    model = keras.Model(pixels, network(prepare(pixels)), name=f"{network.name}_of_pixels")
    return SourceModel(model, path, found)


def _address(make: Any) -> str:
    """The address of Keras's weights, if a constant has it."""
    module = sys.modules[make.__module__]
    known = [value for key, value in vars(module).items() if "WEIGHT" in key and isinstance(value, str)]
    return f", from {known[0]}" if known else ""


def checksum(path: Path, wanted: str | None = None) -> str:
    """The SHA-256 of a file; :class:`ModelError` if it is missing or does not begin with ``wanted``."""
    try:
        found = sha256_of(path)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise ModelError(
            expected="a saved Keras model", received=f"{path}: {first_line(error)}", remedy="correct the path"
        ) from error
    if wanted is not None and not (wanted and found.startswith(wanted.lower())):
        raise ModelError(
            expected=f"{path} with the SHA-256 {wanted}",
            received=found,
            remedy="use the right file, or leave sha256 out",
        )
    return found
