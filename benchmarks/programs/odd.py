"""Valid programs of every other kind: what people pass to Keras, and what must never end in an exception."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
import keras

import kilter
from kilter.errors import KilterError
from programs import odd_data, odd_models  # noqa: F401  (they list their programs)
from programs.odd_base import ODD


def tried(only: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Treat each, and note what is raised.

    A :class:`~kilter.errors.KilterError` is an exception too: every one of these trains in Keras.
    """
    results = []
    for name, make in ODD.items():
        if only and not any(part in name for part in only):
            continue
        began, error, told = time.perf_counter(), "", ""
        keras.utils.set_random_seed(0)
        try:
            one = make()
            found = kilter.treat(one.model, one.x, one.y, validation_data=one.validation, **one.options)
            changes = ", ".join(change.remedy for change in found.changes) or "no change"
            told = f"{found.trials.measure} {found.after.score:.4g}: {changes}"
        except KilterError as problem:
            error = f"{type(problem).__name__}: {problem}"
        except Exception:  # noqa: BLE001  (an exception is what is measured)
            error = "".join(traceback.format_exc())
        results.append({"case": name, "told": told, "error": error, "seconds": time.perf_counter() - began})
        say(f"{'!!' if error else '  '} {name:36} {results[-1]['seconds']:5.1f} s  {error or told}")
        keras.backend.clear_session()
        jax.clear_caches()
    return results
