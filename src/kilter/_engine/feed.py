"""Feeds: where the steps of an epoch get their rows, block by block.

A block is data on the device and the order in which its rows make batches. An epoch of data that fit is one
block plus the last partial batch. Arrays in a file (``numpy.memmap``), or larger than :data:`DEVICE_SHARE` of
the device's free memory, are streamed: grain reads a block for every few batches ahead, in the same order.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import keras
import numpy as np

from kilter._engine.arrays import FiniteCheck, Rows, collect, on_device
from kilter._engine.devices import placement
from kilter._engine.host_rows import SparseRows, in_place
from kilter._text import warn
from kilter.data.stored import KEPT_BLOCKS, StoredRows

# Rows of at least this many bytes go to the device after their programs are compiled.
_LARGE = 16 * 2**20
# A program call takes arrays of so many bytes from the host faster than Python puts them on a device.
_SMALL = 1 << 15


class Block(NamedTuple):
    """Rows on the device and ``order`` (int32, shape (batches, batch size)), the row numbers of each batch.

    Batches after the first ``steps`` are padding. ``split``: the data are batches already, shape (batches,
    batch size, ...), each over several devices. ``padded``: the order also has ``-1 - row`` for rows that
    only fill a batch. ``partial``: one batch, smaller than those before it.
    """

    data: Any
    order: jax.Array | np.ndarray
    steps: int
    split: bool = False
    padded: bool = False
    partial: bool = False


class Feed(Protocol):
    """What the loop needs of a source of rows."""

    @property
    def steps(self) -> int | None:
        """Batches per epoch; None if the source does not know."""
        ...

    def example(self) -> tuple[Any, Any, Any]:
        """One batch ``(x, y, sample_weight)``, to build a model with."""
        ...

    def awaited(self) -> Iterator[Block]:
        """Shapes of the blocks of several programs or of large rows, until the rows are on the device."""
        ...

    def blocks(self, epoch: int) -> Iterator[Block]:
        """The blocks of one epoch."""
        ...


@dataclass(frozen=True)
class Order:
    """How rows become batches.

    ``most``: batches of an epoch at most, and only whole ones if there are any. The order has all rows in
    any case, so short epochs run in the program of long ones. ``goes_on``: the next epoch takes the next
    batches of the same pass, the partial one too, and a pass begins after the end of the last one.
    ``block_rows``: rows that are read together; few blocks at a time are then shuffled with each other.
    """

    batch_size: int
    shuffle: bool
    seed: int
    most: int | None = None
    goes_on: bool = False
    block_rows: int | None = None

    def rows(self, count: int, epoch: int) -> np.ndarray:
        """The row numbers (int32, shape (count,)), first those of the epoch: by it and the seed alone."""
        passed, first = self._place(count, epoch)
        if not self.shuffle:
            order = np.arange(count, dtype=np.int32)
        else:
            drawn = np.random.Generator(np.random.PCG64([self.seed, passed]))
            order = _permuted(drawn, count, self.block_rows)
        whole = count - count % self.batch_size
        order[:whole] = np.roll(order[:whole], -first * self.batch_size)
        return order

    def steps(self, count: int, epoch: int = 0) -> int:
        """Batches in an epoch of ``count`` rows."""
        return self.whole(count, epoch) + bool(self.rest(count, epoch))

    def whole(self, count: int, epoch: int = 0) -> int:
        """Whole batches in an epoch."""
        left = count // self.batch_size - self._place(count, epoch)[1]
        return left if self.most is None else min(left, self.most)

    def say_end(self, count: int, epoch: int) -> None:
        """Warn if the pass ends within an epoch, which is then shorter."""
        if self.most is not None and self.goes_on and (found := self.steps(count, epoch)) < self.most:
            warn_of_end(found, self.most)

    def rest(self, count: int, epoch: int = 0) -> int:
        """Rows of the partial batch at the end of an epoch; 0 if there is none, or it is left out."""
        whole, rest = divmod(count, self.batch_size)
        if self.goes_on and self.most is not None:
            return rest if self._place(count, epoch)[1] + self.most > whole else 0
        return 0 if self.most is not None and whole else rest

    def _place(self, count: int, epoch: int) -> tuple[int, int]:
        """The pass of an epoch, and the number of its first batch in it."""
        if self.most is None or not self.goes_on:
            return epoch, 0
        passed, part = divmod(epoch, math.ceil(math.ceil(count / self.batch_size) / self.most))
        return passed, part * self.most


def _permuted(drawn: np.random.Generator, count: int, block_rows: int | None) -> np.ndarray:
    """All row numbers in a random order (int32); of ``block_rows``, shuffled in groups of random blocks.

    Example:
        >>> order = _permuted(np.random.default_rng(0), 100, 2)
        >>> sorted(order.tolist()) == list(range(100)), len(set(order[: 2 * KEPT_BLOCKS // 2] // 2))
        (True, 8)
    """
    if block_rows is None or count <= block_rows:
        return drawn.permutation(count).astype(np.int32)
    blocks = drawn.permutation(-(-count // block_rows))
    group = KEPT_BLOCKS // 2  # two groups meet in a block of batches
    parts = []
    for first in range(0, len(blocks), group):
        starts = blocks[first : first + group] * block_rows
        rows = np.concatenate([np.arange(start, min(start + block_rows, count)) for start in starts])
        parts.append(drawn.permutation(rows))
    return np.concatenate(parts).astype(np.int32)


def warn_of_end(found: int, asked: int) -> None:
    """Warn that an epoch has fewer batches than requested, as Keras does."""
    warn(
        f"The data ended after {found} of {asked} batches, and so did the epoch: "
        "provide more batches, or pass fewer steps."
    )


def _as_on_device(leaf: Any) -> Any:
    """A host array with the dtype that it would have on a device."""
    return (
        leaf if isinstance(leaf, jax.Array) else np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype))
    )


class Place:
    """Arrays on the device, each moved there on first use."""

    def __init__(self) -> None:
        self._arrays: dict[int, tuple[Any, Any]] = {}

    def holds(self, data: Any) -> bool:
        """Whether every array of ``data`` is on the device."""
        return all(isinstance(leaf, jax.Array) or id(leaf) in self._arrays for leaf in jax.tree.leaves(data))

    def put(self, data: Any) -> Any:
        """The arrays of ``data`` on the device. The originals stay alive, so that identities stay unique."""

        placed = placement()
        move = given if placed is None else placed.put

        def one(leaf: Any) -> Any:
            if id(leaf) not in self._arrays:
                self._arrays[id(leaf)] = leaf, move(leaf)
            return self._arrays[id(leaf)][1]

        return jax.tree.map(one, data)


def is_large(data: Any) -> bool:
    """Whether arrays, or shapes, take so much memory that their programs are compiled before they do."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(data)) >= _LARGE


def given(leaf: Any) -> Any:
    """What a program gets for an array: a small one as it is, a very large one on a CPU without a copy."""
    small = isinstance(leaf, np.ndarray) and leaf.nbytes <= _SMALL
    if small:
        return _as_on_device(leaf)
    found = in_place(leaf)
    return on_device(leaf) if found is leaf else found


@dataclass(frozen=True)
class ResidentFeed:
    """Rows that stay on the device from the first block on. ``padded``: all batches are whole."""

    rows: Rows
    order: Order
    padded: bool = False
    place: Place = field(default_factory=Place)

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.order.steps(self.rows.count)

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch."""
        return jax.tree.map(_as_on_device, self.rows.example(self.order.batch_size))

    def awaited(self) -> Iterator[Block]:
        """The blocks of an epoch, until the rows are on the device; nothing for one block of small rows."""
        if self.place.holds(self.rows.data):
            return
        placed = placement()
        where = None if placed is None else placed.everywhere
        rows = self.rows.data if placed else jax.tree.map(in_place, self.rows.data)
        blocks = self._blocks(rows, np.arange(self.rows.count, dtype=np.int32))
        for block in blocks if is_large(rows) or len(blocks) > 1 else []:
            data, order = jax.tree.map(
                lambda leaf: jax.ShapeDtypeStruct(
                    leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype), sharding=where
                ),
                (block.data, block.order),
            )
            yield block._replace(data=data, order=order)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """All whole batches, then the last partial one, if any."""
        numbers = self.order.rows(self.rows.count, epoch)
        for block in self._blocks(self.place.put(self.rows.data), numbers, epoch):
            order = block.order if block.order.nbytes <= _SMALL else jax.device_put(block.order)
            yield block._replace(order=order)
        self.order.say_end(self.rows.count, epoch)

    def _blocks(self, data: Any, numbers: np.ndarray, epoch: int = 0) -> list[Block]:
        size, count = self.order.batch_size, self.rows.count
        end, whole, rest = count - count % size, self.order.whole(count, epoch), self.order.rest(count, epoch)
        order, last = numbers[:end].reshape(-1, size), numbers[end:].reshape(1, -1)
        if self.padded and last.size:
            fill = np.full((1, size - last.size), -1 - last[0, 0], last.dtype)
            order = np.concatenate([order[:whole], np.hstack([last, fill]), order[whole:]])
            return [Block(data, order, whole + bool(rest), padded=True)] if whole or rest else []
        blocks = []
        if whole:
            blocks.append(Block(data, order, whole))
        if rest:
            blocks.append(Block(data, last, 1, partial=end > 0))
        return blocks


def single_steps(feed: Feed, steps: int) -> Iterator[tuple[Block, int]]:
    """The first ``steps`` steps of training, over several epochs if needed, as (block, index in it)."""
    blocks = itertools.chain.from_iterable(feed.blocks(epoch) for epoch in itertools.count())
    return itertools.islice(((block, start) for block in blocks for start in range(block.steps)), steps)


Part = TypeVar("Part")


def mapped_ahead(
    read: Callable[[Part], Any], parts: Sequence[Part], buffered: int, threads: int = 1
) -> Iterator[Any]:
    """``read(part)`` for every part in order, up to ``buffered`` of them ahead; None is left out."""
    import grain  # with orbax, which a training run on arrays does without

    if not parts:
        return iter(())
    ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=buffered)
    return iter(grain.MapDataset.source(parts).map(read).to_iter_dataset(ahead))


DEVICE_SHARE = 0.6
BLOCK_BYTES = 1 << 27
PREFETCHED_BLOCKS = 2


def must_stream(x: Any) -> bool:
    """Whether arrays are in a file, large and sparse, or would fill the device; a CPU takes all in memory."""
    leaves = [leaf for leaf in keras.tree.flatten(x) if leaf is not None]
    if any(isinstance(leaf, np.memmap | SparseRows | StoredRows) for leaf in leaves):
        return True
    statistics = jax.local_devices()[0].memory_stats() or {}
    limit = statistics.get("bytes_limit", 0) - statistics.get("bytes_in_use", 0)
    # pandas and polars frames have no nbytes; scalars are refused later.
    sizes = (leaf.nbytes if hasattr(leaf, "nbytes") else np.asarray(leaf).nbytes for leaf in leaves)
    return bool(limit > 0 and sum(map(int, sizes)) > DEVICE_SHARE * limit)


@dataclass
class StreamFeed:
    """Arrays on the host, read ahead by grain in the order of a resident feed. ``padded``: as there."""

    rows: Rows
    order: Order
    finite: FiniteCheck = field(default_factory=FiniteCheck)
    padded: bool = False
    check_block: Callable[[Block, np.ndarray], None] = lambda block, numbers: None

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Mapping[int, float] | None,
        order: Order,
        finite: FiniteCheck | None = None,
    ) -> "StreamFeed":
        """Check the arrays' lengths, y and the weights; x itself is only read during training."""
        lengths = jax.tree.map(lambda leaf: np.zeros(np.shape(leaf)[:1], np.bool_), x)
        checked = collect(lengths, y, sample_weight, class_weight, finite=finite)
        _, targets, weights = jax.tree.map(np.asarray, checked.data)
        stored = [leaf.block_rows for leaf in jax.tree.leaves(x) if isinstance(leaf, StoredRows)]
        if stored:
            order = replace(order, block_rows=min(stored))
        return cls(Rows((x, targets, weights), checked.count), order, finite or FiniteCheck())

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self.order.steps(self.rows.count)

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch."""
        return collect(*self.rows.example(self.order.batch_size), finite=self.finite).data

    def awaited(self) -> Iterator[Block]:
        """Empty: a block takes little memory."""
        return iter(())

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Blocks of whole batches, padded to one shape, then the last partial batch, if it is not in them."""
        numbers, size = self.order.rows(self.rows.count, epoch), self.order.batch_size
        count = self.rows.count
        end, rest = count - count % size, self.order.rest(count, epoch)
        whole, tail = numbers[: self.order.whole(count, epoch) * size], numbers[end : end + rest]
        if self.padded:
            whole, tail = np.concatenate([whole, tail]), tail[:0]
        row_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(self.rows.data)) / count
        # Of one shape in every epoch, also in one of few batches.
        most = self.order.whole(count) + self.padded
        batches = max(1, min(int(BLOCK_BYTES / max(row_bytes * size, 1)), most))
        parts = [whole[start : start + batches * size] for start in range(0, len(whole), batches * size)]
        for part in _read(self.rows.data, [(part, batches * size) for part in parts]):
            yield self._block(*part, size)
        for part in _read(self.rows.data, [(tail, len(tail))] if len(tail) else []):
            yield self._block(*part, len(tail))._replace(partial=end > 0)
        self.order.say_end(count, epoch)

    def _block(self, data: Any, numbers: np.ndarray, size: int) -> Block:
        steps = math.ceil(len(numbers) / size)
        block = block_of(data, size, steps, numbers, self.finite, padded=self.padded)
        self.check_block(block, numbers)
        return block


def _read(data: Any, parts: list[tuple[np.ndarray, int]]) -> Iterator[tuple[Any, np.ndarray]]:
    def rows(part: tuple[np.ndarray, int]) -> tuple[Any, np.ndarray]:
        numbers, length = part
        padded = np.concatenate([numbers, np.full(length - len(numbers), numbers[-1])])
        return jax.tree.map(lambda leaf: np.asarray(leaf[padded]), data), numbers

    return mapped_ahead(rows, parts, PREFETCHED_BLOCKS)


def block_of(
    data: Any, size: int, steps: int, numbers: np.ndarray, finite: FiniteCheck, *, padded: bool = False
) -> Block:
    """Rows in order as a block of batches of ``size``, of which the first ``steps`` are used.

    ``numbers`` are the row numbers for messages; rows beyond them are padding. ``padded``: as in
    :class:`Block`.
    """
    rows = collect(*data, row_numbers=numbers, finite=finite)
    order = np.arange(rows.count, dtype=np.int32)
    if padded:
        order[len(numbers) :] = -1 - order[len(numbers) :]
    return Block(rows.data, jnp.asarray(order.reshape(-1, size)), steps, padded=padded)
