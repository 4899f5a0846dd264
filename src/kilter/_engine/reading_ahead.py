"""Rows and batches read by grain in threads of its own, ahead of their use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import grain

Part = TypeVar("Part")


def mapped_ahead(
    read: Callable[[Part], Any], parts: Sequence[Part], buffered: int, threads: int = 1
) -> Iterator[Any]:
    """``read(part)`` for every part in order, up to ``buffered`` of them before they are asked for.

    Parts that are read as None are left out. One thread reads one part after the other.
    """
    if not parts:
        return iter(())
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    return iter(grain.MapDataset.source(parts).map(read).to_iter_dataset(ahead))
