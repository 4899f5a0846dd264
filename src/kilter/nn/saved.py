"""Models in .keras files, without running what code they may hold."""

from __future__ import annotations

from pathlib import Path

from kilter import backend  # noqa: F401  (chooses JAX before Keras loads)

# isort: split
import keras

from kilter.errors import ModelError
from kilter.words import first_line


def load_model(path: str | Path, *, allow_code: bool = False, compiled: bool = False) -> keras.Model:
    """Read a .keras file. Code stored in it is refused unless `allow_code`.

    It comes without loss and optimiser, or `compiled` as it was saved.

    Raises :class:`ModelError` where the file is missing, damaged, or holds what Keras refuses to load.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ModelError(
            expected="a saved Keras model", received=f"{path}, which is no file", remedy="correct the path"
        )
    try:
        model = keras.saving.load_model(path, compile=compiled, safe_mode=not allow_code)
    except Exception as error:
        refused = "unsafe" in str(error) or "safe_mode" in str(error)
        raise ModelError(
            expected=f"a .keras file without code in it: {path}"
            if refused
            else f"a whole .keras file: {path}",
            received=f"{type(error).__name__}: {first_line(error)}",
            remedy="set model.allow_code=true if you trust who made it"
            if refused
            else "save it again with model.save('....keras'), under the same Keras version",
        ) from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            expected=f"a model in {path}", received=type(model).__name__, remedy="save a keras.Model"
        )
    return model
