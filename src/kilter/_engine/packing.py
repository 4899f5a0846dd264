"""The ``data`` that a model's own ``train_step``, ``test_step`` and ``predict_step`` receive, as in Keras.

Inside the engine a batch is always ``(x, y, sample_weight)``. Keras passes fewer parts if there are fewer:
``x``, ``(x,)`` or ``(x, y)`` from arrays, and from batches as many parts as the source yields.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import keras


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Yielded:
    """A batch from an iterable; ``parts`` is the length of the tuple it came in, 0 for a bare ``x``."""

    x: Any
    y: Any
    sample_weight: Any
    parts: int = field(metadata={"static": True})

    def __iter__(self) -> Iterator[Any]:
        """The three parts."""
        return iter((self.x, self.y, self.sample_weight))

    def __getitem__(self, index: int) -> Any:
        """One of the three parts."""
        return (self.x, self.y, self.sample_weight)[index]


def packed(batch: Any) -> Any:
    """The batch as Keras passes it to a step.

    Example:
        >>> packed((1, 2, None)), packed((1, None, None)), packed(Yielded(1, 2, None, parts=3))
        ((1, 2), 1, (1, 2, None))
    """
    if isinstance(batch, Yielded):
        return tuple(batch)[: batch.parts] if batch.parts else batch.x
    return keras.utils.pack_x_y_sample_weight(*batch)


def with_parts(batch: Any, x: Any, y: Any, sample_weight: Any) -> Any:
    """Other arrays in as many parts as ``batch`` has."""
    if isinstance(batch, Yielded):
        return replace(batch, x=x, y=y, sample_weight=sample_weight)
    return x, y, sample_weight
