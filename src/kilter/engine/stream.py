"""Feeds for data that do not fit on the device: a block of batches a call, the next ones prefetched.

Arrays in a file (``numpy.memmap``) or larger than :data:`DEVICE_SHARE` of the device's free memory are read
row by row on the host by grain, in the very order a resident feed would have used: the numbers are the same.
Any other iterable of batches (a grain data set, a ``keras.utils.PyDataset``, a list) is taken as it comes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kilter import backend  # noqa: F401

# isort: split
import keras

from kilter.engine.batches import Rows, collect
from kilter.engine.feed import Block, Order
from kilter.errors import DataError

DEVICE_SHARE = 0.6
BLOCK_BYTES = 1 << 27
PREFETCHED_BLOCKS = 2
_BATCHES_A_BLOCK = 32


def must_stream(x: Any) -> bool:
    """Whether the arrays lie in a file, or would fill more than :data:`DEVICE_SHARE` of the device.

    A device that does not tell its memory (a CPU shares the host's) takes all that is in memory already.
    """
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if any(isinstance(leaf, np.memmap) for leaf in leaves):
        return True
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit", 0) - statistics.get("bytes_in_use", 0)
    return bool(limit > 0 and sum(_bytes(leaf) for leaf in leaves) > DEVICE_SHARE * limit)


def _bytes(leaf: Any) -> int:
    # Data frames of pandas and polars have no nbytes; scalars are refused later.
    return int(leaf.nbytes if hasattr(leaf, "nbytes") else np.asarray(leaf).nbytes)


@dataclass(frozen=True)
class StreamFeed:
    """Arrays on the host, read ahead by grain in the order of a resident feed."""

    rows: Rows
    order: Order

    @classmethod
    def of(
        cls, x: Any, y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None, order: Order
    ) -> StreamFeed:
        """Check the arrays' lengths, y and the weights; x itself is only read in training, block by block."""
        lengths = keras.tree.map_structure(lambda leaf: np.zeros(np.shape(leaf)[:1], np.bool_), x)
        checked = collect(lengths, y, sample_weight, class_weight)
        _, targets, weights = jax.tree.map(np.asarray, checked.data)
        return cls(Rows((x, targets, weights), checked.count), order)

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return self.order.steps(self.rows.count)

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch as it stands."""
        return _device(self.rows.example(self.order.batch_size))

    def awaited(self) -> Iterator[Block]:
        """None: a block takes little memory."""
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
            yield _block(part.data, size, len(part.numbers) // size, part.numbers)
        for part in _read(self.rows.data, [(tail, len(tail)) for tail in tails]):
            last = _block(part.data, len(part.numbers), 1, part.numbers)
            yield last._replace(rare=self.order.is_rare_tail(count))


@dataclass(frozen=True)
class _Part:
    """Rows that grain read, and the numbers of those that are not padding."""

    data: Any
    numbers: np.ndarray


def _read(data: Any, parts: list[tuple[np.ndarray, int]]) -> Iterator[_Part]:
    from kilter.engine.reading_ahead import mapped_ahead

    def rows(part: tuple[np.ndarray, int]) -> _Part:
        numbers, length = part
        padded = np.concatenate([numbers, np.zeros(length - len(numbers), numbers.dtype)])
        return _Part(jax.tree.map(lambda leaf: np.asarray(leaf[padded]), data), numbers)

    return mapped_ahead(rows, parts, PREFETCHED_BLOCKS)


@dataclass(frozen=True)
class BatchFeed:
    """An iterable of batches ``x``, ``(x, y)`` or ``(x, y, sample_weight)``, gone through once an epoch.

    A grain data set, a ``keras.utils.PyDataset``, a list, a data loader of another library. Consecutive
    batches of one shape are trained in one call. Order and shuffling are the source's own.
    """

    source: Any

    def __post_init__(self) -> None:
        one_shot = iter(self.source) is self.source if hasattr(self.source, "__iter__") else False
        if one_shot or not (hasattr(self.source, "__iter__") or hasattr(self.source, "__getitem__")):
            raise DataError(
                expected="arrays, or an iterable of batches that can be gone through once an epoch",
                received=f"{type(self.source).__name__}, which can be gone through only once"
                if one_shot
                else f"{type(self.source).__name__}",
                remedy="pass arrays, a list of batches, a grain data set or a keras.utils.PyDataset",
            )

    @property
    def steps(self) -> int | None:
        """Batches an epoch, None where the source has no length."""
        return len(self.source) if hasattr(self.source, "__len__") else None

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch. Raises :class:`DataError` if there is none."""
        for batch in self._batches():
            return _device(batch)
        raise DataError(
            expected="at least one batch", received="an empty iterable", remedy="look at the source"
        )

    def awaited(self) -> Iterator[Block]:
        """None: what comes is not known before."""
        return iter(())

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Groups of consecutive batches of one shape, padded to one number of batches."""
        for _, group in itertools.groupby(self._batches(), key=_shapes):
            while batches := list(itertools.islice(group, _BATCHES_A_BLOCK)):
                padded = [*batches, *batches[-1:] * (_BATCHES_A_BLOCK - len(batches))]
                if len(batches) == 1:  # a last partial batch: no need to compile for more
                    padded = batches
                size = jax.tree.leaves(batches[0])[0].shape[0]
                yield _block(
                    jax.tree.map(lambda *leaves: np.concatenate(leaves), *padded), size, len(batches)
                )
        if isinstance(self.source, keras.utils.PyDataset):
            self.source.on_epoch_end()

    def _batches(self) -> Iterator[Any]:
        from kilter.engine.reading_ahead import items_ahead

        for batch in items_ahead(self.source, _BATCHES_A_BLOCK):
            parts = batch if isinstance(batch, tuple) else (batch,)
            x, y, weight = (*parts, None, None)[:3]
            yield jax.tree.map(np.asarray, (x, y, weight))


def _shapes(batch: Any) -> Any:
    leaves, structure = jax.tree.flatten(batch)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _device(batch: Any) -> tuple[Any, Any, Any]:
    return collect(*batch).data


def _block(data: Any, size: int, steps: int, numbers: np.ndarray | None = None) -> Block:
    rows = collect(*data, row_numbers=numbers)
    return Block(rows.data, jnp.arange(rows.count, dtype=jnp.int32).reshape(-1, size), steps)
