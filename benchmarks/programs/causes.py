"""Programs whose data, loss, update or split is wrong in one way, and the same programs as they should be.

Each :class:`Setting` is a sound program; a fault changes one word of it. They are variants as
:class:`programs.reported.Reported` ones are, so that the same measuring serves both.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from programs.reported import Kind, Variant, Words
from programs.sketch import Program


@dataclass(eq=False)
class Draft:
    """A program while it is put together: what a setting makes and a fault changes."""

    model: keras.Model
    x: Any
    y: Any
    x_val: Any
    y_val: Any
    loss: Any
    optimizer: Any = "adam"
    batch: int = 32
    epochs: int = 10
    truth: Any = None
    weights: Any = None
    options: dict[str, Any] = field(default_factory=dict)


Setting = Callable[[Words], Draft]
"""Words to a draft; {} gives the sound program."""


class Cause(Variant[Setting]):
    """A variant of a setting, of which {} gives the sound program."""

    def _made(self, words: Words, seed: int) -> Program:
        keras.utils.set_random_seed(zlib.crc32(self.name.encode()) % 100_003 + seed)
        draft = self.origin(words)
        optimizer = draft.optimizer
        draft.model.compile(
            optimizer() if callable(optimizer) else optimizer, draft.loss, loss_weights=draft.weights
        )
        truth = draft.y_val if draft.truth is None else draft.truth
        if isinstance(truth, dict | list):
            truth = truth["kind"] if isinstance(truth, dict) else truth[0]
        options = {"batch_size": draft.batch, "epochs": draft.epochs, **draft.options}
        return Program(draft.model, draft.x, draft.y, (draft.x_val, draft.y_val), truth, options)


def numbered(rows: list[tuple[str, Kind, Setting, Words, tuple[str, ...]]]) -> list[Cause]:
    """The programs with names that number the variants of a setting."""
    found: list[Cause] = []
    seen: dict[tuple[str, str], int] = {}
    for name, kind, setting, words, causes in rows:
        seen[name, kind] = number = seen.get((name, kind), 0) + 1
        found.append(Cause(f"{name}/{kind}/{number}", kind, setting, words, frozenset(causes)))
    return found


def one_hot(y: np.ndarray) -> np.ndarray:
    """Class numbers as rows."""
    return np.eye(int(y.max()) + 1, dtype="float32")[y]
