"""A feed of batches that come made: consecutive ones of one shape are trained in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from kilter._engine.arrays import collect, row_count
from kilter._engine.batch_source import Batch, Iterated, Source, source_of
from kilter._engine.feed import Block, Order
from kilter._engine.packing import Yielded, with_parts
from kilter._engine.stream import BLOCK_BYTES, block_of
from kilter.errors import DataError

_BATCHES_A_BLOCK = 32


@dataclass
class BatchFeed:
    """An iterable of batches ``x``, ``(x, y)`` or ``(x, y, sample_weight)``, gone through once an epoch.

    A grain data set, a ``keras.utils.PyDataset``, a list, a data loader of another library. Shuffling is the
    source's own, but for a PyDataset, whose batches come in ``order``.

    ``most``: an epoch is so many batches, and the next goes on where it ended. ``once``: there will be one
    epoch, so that it may be of a generator. ``inputs_only``: targets and weights are left out.
    ``check`` is called with each batch and the number of its first row in the epoch, ``check_block`` with
    each block and the numbers of its rows.
    """

    source: Any
    order: Order = field(default_factory=lambda: Order(1, shuffle=False, seed=0))
    most: int | None = None
    once: bool = False
    inputs_only: bool = False
    check: Callable[[Batch, int], None] = lambda batch, first: None
    check_block: Callable[[Block, np.ndarray], None] = lambda block, numbers: None
    _source: Source = field(init=False)

    def __post_init__(self) -> None:
        self._source = source_of(self.source, self.order)
        count, one_shot = self._source.count, isinstance(self._source, Iterated) and self._source.is_one_shot
        if count == 0:
            raise _without_batches()
        endless = count is None and not isinstance(self._source, Iterated)
        if self.most is None and (endless or (one_shot and not self.once)):
            raise DataError(
                expected="batches that can be gone through once an epoch, or a number of steps an epoch has",
                received=f"{type(self.source).__name__}, which "
                + ("has no end, or does not tell its length" if endless else "can be gone through only once"),
                remedy="pass steps_per_epoch (validation_steps, steps), or a list of batches",
            )

    @property
    def steps(self) -> int | None:
        """Batches an epoch, None where the source does not know."""
        return self._source.count if self.most is None else self.most

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch, the only one that is read. Raises :class:`DataError` if there is none."""
        batch = self._source.first()
        if batch is None:
            raise _without_batches()
        return collect(*self._used(batch)).data

    def awaited(self) -> Iterator[Block]:
        """None: what comes is not known before."""
        return iter(())

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Groups of consecutive batches of one shape, padded to one number of batches.

        Raises :class:`DataError` for an epoch without batches, and warns where there are less than ``most``.
        """
        rows = steps = 0
        given = self._source.epoch(epoch, self.most, room)
        for batches, length in _groups(self._used(batch) for batch in given):
            size, count = _rows(batches[0]), len(batches)
            yield self._block(batches, length, np.arange(rows, rows + count * size))
            rows, steps = rows + count * size, steps + count
        if steps == 0:
            raise _without_batches()
        if self.most is not None and steps < self.most:
            warn_of_end(steps, self.most)

    def _block(self, batches: list[Batch], length: int, numbers: np.ndarray) -> Block:
        """The batches as a block, padded to ``length`` of them; the list is emptied, to free their memory."""
        count, size = len(batches), len(numbers) // len(batches)
        data = jax.tree.map(lambda *leaves: _joined(leaves, length), *batches)
        block = block_of(data, size, count, numbers)
        block = block._replace(data=with_parts(data, *block.data))
        for batch, first in zip(batches, numbers[::size], strict=True):
            self.check(batch, first)
        self.check_block(block, numbers)
        batches.clear()
        return block

    def _used(self, batch: Batch) -> Batch:
        return Yielded(batch.x, None, None, parts=1) if self.inputs_only else batch


def warn_of_end(found: int, asked: int) -> None:
    """Warn that an epoch has fewer batches than were asked for, as Keras does."""
    warnings.warn(
        f"The data end after {found} of {asked} batches, and the epoch with them: "
        "let them have as many, or pass fewer steps.",
        stacklevel=3,
    )


def room(batch: Batch) -> int:
    """How many batches like this one make a block: as many as :data:`BLOCK_BYTES` hold, one at least."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
    return max(1, min(_BATCHES_A_BLOCK, BLOCK_BYTES // max(size, 1)))


def _groups(batches: Iterator[Batch]) -> Iterator[tuple[list[Batch], int]]:
    """Consecutive batches of one shape, up to as many as make a block, and how many they are padded to."""
    found: list[Batch] = []
    for batch in batches:
        if found and _shapes(batch) != _shapes(found[0]):
            yield found, _padded(found)
            found = []
        found.append(batch)
        if len(found) == room(batch):
            yield found, _padded(found)
            found = []
    if found:
        yield found, _padded(found)


def _padded(found: list[Batch]) -> int:
    # One alone is often a last partial batch: no need to compile for more.
    return 1 if len(found) == 1 else room(found[0])


def _joined(leaves: tuple[np.ndarray, ...], length: int) -> np.ndarray:
    rest = np.zeros(((length - len(leaves)) * len(leaves[0]), *leaves[0].shape[1:]), leaves[0].dtype)
    return np.concatenate([*leaves, rest])


def _rows(batch: Batch) -> int:
    x, y, weights = batch
    return row_count(x=x, y=y, sample_weight=weights)


def _shapes(batch: Batch) -> Any:
    leaves, structure = jax.tree.flatten(batch)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def _without_batches() -> DataError:
    return DataError(
        expected="at least one batch an epoch",
        received="an empty iterable, or one that has come to its end",
        remedy="look at the source; a generator must yield steps times epochs batches",
    )
