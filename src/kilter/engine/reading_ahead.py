"""Rows and batches read by grain in a thread of its own, ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grain

Part = TypeVar("Part")
Read = TypeVar("Read")


def mapped_ahead(read: Callable[[Part], Read], parts: Sequence[Part], buffered: int) -> Iterator[Read]:
    """``read(part)`` for every part in order, up to ``buffered`` of them before they are asked for."""
    if not parts:
        return iter(())
    return iter(grain.MapDataset.source(parts).map(read).to_iter_dataset(_ahead(buffered)))


def items_ahead(source: Any, buffered: int) -> Iterator[Any]:
    """The items of a source in its order; ahead of use where it can be indexed, else as they come."""
    if isinstance(source, grain.IterDataset) or not hasattr(source, "__getitem__"):
        return iter(source)
    dataset = source if isinstance(source, grain.MapDataset) else grain.MapDataset.source(source)
    return iter(dataset.to_iter_dataset(_ahead(buffered)))


def _ahead(buffered: int) -> grain.ReadOptions:
    return grain.ReadOptions(num_threads=1, prefetch_buffer_size=buffered)
