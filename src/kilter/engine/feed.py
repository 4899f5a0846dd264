"""Feeds: where the steps of an epoch take their rows from, block by block.

A block is data on the device and the order in which its rows make batches. Data that fit are one block an
epoch plus the last partial batch; data that do not are a block for every few batches (``stream``).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from kilter.engine.batches import Rows

# Whole batches an epoch from which on the partial one is rare.
_MANY = 16


class Block(NamedTuple):
    """Rows on the device and ``order`` (int32, shape (batches, batch size)), the row numbers of each batch.

    Only the first ``steps`` batches are to be used; the others pad the block to a shape already compiled.
    ``rare``: a batch of a size of its own, taken once an epoch, after many of another size.
    """

    data: Any
    order: jax.Array
    steps: int
    rare: bool = False


class Feed(Protocol):
    """What the loop needs of a source of rows."""

    @property
    def steps(self) -> int | None:
        """Batches an epoch, None where the source does not know."""
        ...

    def example(self) -> tuple[Any, Any, Any]:
        """One batch ``(x, y, sample_weight)``, to build a model from."""
        ...

    def blocks(self, epoch: int) -> Iterator[Block]:
        """The blocks of one epoch."""
        ...


@dataclass(frozen=True)
class Order:
    """How rows become batches: ``batch_size``, shuffled or as they stand, and the seed of the shuffle.

    ``most``: an epoch is at most so many batches, of its first rows, and whole ones where there are any. What
    else the order says does not depend on it, so that short epochs run in the program of long ones.
    """

    batch_size: int
    shuffle: bool
    seed: int
    most: int | None = None

    def rows(self, count: int, epoch: int) -> np.ndarray:
        """The row numbers (int32, shape (count,)) in the order of one epoch.

        A function of seed and epoch alone, so that a resumed run goes on with the order it would have had.
        """
        if not self.shuffle:
            return np.arange(count, dtype=np.int32)
        return np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(count).astype(np.int32)

    def steps(self, count: int) -> int:
        """Batches an epoch of ``count`` rows."""
        return self.whole(count) + bool(self.rest(count))

    def whole(self, count: int) -> int:
        """Whole batches an epoch."""
        whole = count // self.batch_size
        return whole if self.most is None else min(whole, self.most)

    def rest(self, count: int) -> int:
        """Rows of the last partial batch; 0 where there is none, or it is left out."""
        return 0 if self.most is not None and count >= self.batch_size else count % self.batch_size

    def is_rare_tail(self, count: int) -> bool:
        """Whether a last partial batch is one step among so many that its own speed hardly matters."""
        return count // self.batch_size >= _MANY


@dataclass(frozen=True)
class ResidentFeed:
    """Rows that lie on the device for the whole training."""

    rows: Rows
    order: Order

    @property
    def steps(self) -> int:
        """Batches an epoch."""
        return self.order.steps(self.rows.count)

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch as it stands."""
        return self.rows.example(self.order.batch_size)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """All full batches, then the last partial one if there is one."""
        numbers = self.order.rows(self.rows.count, epoch)
        size = self.order.batch_size
        count = self.rows.count
        end = count - count % size
        if end:
            batches = jnp.asarray(numbers[:end].reshape(-1, size))
            yield Block(self.rows.data, batches, self.order.whole(count))
        if rest := self.order.rest(count):
            batch = jnp.asarray(numbers[end : end + rest].reshape(1, -1))
            yield Block(self.rows.data, batch, 1, self.order.is_rare_tail(count))


def single_steps(feed: Feed, steps: int) -> Iterator[tuple[Block, int]]:
    """The first ``steps`` steps of training, over as many epochs as it takes, as block and place in it."""
    blocks = itertools.chain.from_iterable(feed.blocks(epoch) for epoch in itertools.count())
    return itertools.islice(((block, start) for block in blocks for start in range(block.steps)), steps)
