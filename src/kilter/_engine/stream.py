"""A feed of arrays that do not fit on the device: one block of batches per call, the next ones prefetched.

Arrays in a file (``numpy.memmap``), or larger than :data:`DEVICE_SHARE` of the device's free memory, are read
on the host by grain, in the order of a resident feed: the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import Rows, collect
from kilter._engine.feed import Block, Order

Part = TypeVar("Part")


def mapped_ahead(
    read: Callable[[Part], Any], parts: Sequence[Part], buffered: int, threads: int = 1
) -> Iterator[Any]:
    """``read(part)`` for every part in order, up to ``buffered`` of them ahead; None is left out."""
    import grain  # with orbax, which a training on arrays does without

    if not parts:
        return iter(())
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    return iter(grain.MapDataset.source(parts).map(read).to_iter_dataset(ahead))


DEVICE_SHARE = 0.6
BLOCK_BYTES = 1 << 27
PREFETCHED_BLOCKS = 2


def must_stream(x: Any) -> bool:
    """Whether the arrays are in a file, or would fill the device; a CPU takes all that is in memory."""
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if any(isinstance(leaf, np.memmap) for leaf in leaves):
        return True
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit", 0) - statistics.get("bytes_in_use", 0)
    return bool(limit > 0 and sum(_bytes(leaf) for leaf in leaves) > DEVICE_SHARE * limit)


def _bytes(leaf: Any) -> int:
    # pandas and polars frames have no nbytes; scalars are refused later.
    return int(leaf.nbytes if hasattr(leaf, "nbytes") else np.asarray(leaf).nbytes)


@dataclass
class StreamFeed:
    """Arrays on the host, read ahead by grain in the order of a resident feed."""

    rows: Rows
    order: Order
    check_block: Callable[[Block, np.ndarray], None] = lambda block, numbers: None

    @classmethod
    def of(
        cls, x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None, order: Order
    ) -> StreamFeed:
        """Check the arrays' lengths, y and the weights; x itself is only read during training."""
        lengths = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)[:1], np.bool_), x)
        checked = collect(lengths, y, sample_weight, class_weight)
        _, targets, weights = jax.tree.map(np.asarray, checked.data)
        return cls(Rows((x, targets, weights), checked.count), order)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.order.steps(self.rows.count)

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch."""
        return collect(*self.rows.example(self.order.batch_size)).data

    def awaited(self) -> Iterator[Block]:
        """Empty: a block takes little memory."""
        return iter(())

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Blocks of whole batches, padded to one shape, then the last partial batch."""
        numbers, size = self.order.rows(self.rows.count, epoch), self.order.batch_size
        count = self.rows.count
        whole, end = self.order.whole(count) * size, count - count % size
        row_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(self.rows.data)) / count
        batches = max(1, min(int(BLOCK_BYTES / max(row_bytes * size, 1)), whole // size))
        parts = [numbers[start : start + batches * size] for start in range(0, whole, batches * size)]
        rest = self.order.rest(count)
        tails = [numbers[end : end + rest]] if rest else []
        for part in _read(self.rows.data, [(part, batches * size) for part in parts]):
            block = block_of(part.data, size, len(part.numbers) // size, part.numbers)
            self.check_block(block, part.numbers)
            yield block
        for part in _read(self.rows.data, [(tail, len(tail)) for tail in tails]):
            last = block_of(part.data, len(part.numbers), 1, part.numbers)
            self.check_block(last, part.numbers)
            yield last._replace(rare=self.order.is_rare_tail(count))


@dataclass(frozen=True)
class _Part:
    data: Any
    numbers: np.ndarray


def _read(data: Any, parts: list[tuple[np.ndarray, int]]) -> Iterator[_Part]:

    def rows(part: tuple[np.ndarray, int]) -> _Part:
        numbers, length = part
        padded = np.concatenate([numbers, np.zeros(length - len(numbers), numbers.dtype)])
        return _Part(jax.tree.map(lambda leaf: np.asarray(leaf[padded]), data), numbers)

    return mapped_ahead(rows, parts, PREFETCHED_BLOCKS)


def block_of(data: Any, size: int, steps: int, numbers: np.ndarray) -> Block:
    """Rows in order as a block of batches of ``size``, of which the first ``steps`` are used.

    ``numbers`` are the row numbers for messages; rows beyond them are padding.
    """
    rows = collect(*data, row_numbers=numbers)
    return Block(rows.data, jnp.arange(rows.count, dtype=jnp.int32).reshape(-1, size), steps)
