"""Which parts of Keras's training loop a model overrides; some cannot be supported."""

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from typing import Any, Final

import keras

from kilter._system import context_value
from kilter.errors import ModelError

# The loop itself, which the engine replaces. The step, and all that it calls, is the model's own.
_LOOPS: Final = {"train": "fit", "test": "evaluate", "predict": "predict"}
_PRIVATE: Final = ("_make_function", "_get_jax_state", "_should_eval")
REFUSED: Final = {kind: (loop, f"make_{kind}_function", *_PRIVATE) for kind, loop in _LOOPS.items()}
"""What a model may not override, first the loop; the private parts are of Keras's loop on JAX."""


_by_model: ContextVar[str] = ContextVar("kilter_loop_called_by_model", default="")


@contextlib.contextmanager
def loop_called_by_model(loop: str) -> Generator[None, None, None]:
    """Context in which this method of a model, ``fit``, ``evaluate`` or ``predict``, calls the engine."""
    with context_value(_by_model, loop):
        yield


def overrides(model: keras.Model, *names: str) -> bool:
    """Whether the model's class, or the model itself, overrides one of these methods of ``keras.Model``."""
    return any(_overridden(model, name) for name in names)


def check_loop(model: keras.Model, *kinds: str) -> None:
    """Raise :class:`ModelError` if the model overrides a part of the loop that kilter does not call.

    ``kinds`` are ``"train"``, ``"test"`` and ``"predict"``.
    """
    for kind in kinds:
        found = [name for name in REFUSED[kind] if name != _by_model.get() and _overridden(model, name)]
        if found:
            step, call = f"{kind}_step", _LOOPS[kind]
            raise ModelError(
                expected=f"a model that does not override Keras's loop: kilter calls its {step}, but "
                "runs the loop itself",
                received=f"model {model.name!r} ({type(model).__name__}), which overrides {', '.join(found)}",
                remedy=f"override {step} instead, or call model.{call}",
            )


def _overridden(model: Any, name: str) -> bool:
    stock = getattr(keras.Model, name)
    own = vars(model).get(name, stock)
    accelerated = hasattr(own, "keras_method")
    return (own is not stock and not accelerated) or getattr(type(model), name) is not stock
