"""A feed of ready-made batches: consecutive batches of one shape are trained in one call."""

import collections
import itertools
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import keras
import numpy as np

from kilter._engine.arrays import (
    FiniteCheck,
    check_unmasked,
    class_weights,
    collect,
    row_count,
)
from kilter._engine.feed import BLOCK_BYTES, Block, Order, block_of, mapped_ahead, warn_of_end
from kilter._engine.host_rows import with_sparse_rows
from kilter._engine.step import Yielded, with_parts
from kilter.errors import DataError, OptionError

Batch = Yielded


def _source_of(source: Any, order: Order) -> "_Numbered | _Iterated":
    is_iterable, has_items = hasattr(source, "__iter__"), hasattr(source, "__getitem__")
    if not is_iterable and not has_items:
        raise DataError(
            expected="arrays, or an iterable of batches",
            received=type(source).__name__,
            remedy="pass arrays, a list of batches, a grain data set or a keras.utils.PyDataset",
        )
    if isinstance(source, keras.utils.PyDataset):
        return _Numbered(source, order, _length(source))
    # Others may index rows, or nothing: torch's iterable data sets inherit a __getitem__ that raises.
    is_grain_map = has_items and hasattr(source, "to_iter_dataset")
    if isinstance(source, Sequence) or is_grain_map or (not is_iterable and _length(source) is not None):
        return _Numbered(source, Order(1, shuffle=False, seed=0), _length(source))
    return _Iterated(source)


def _length(source: Any) -> int | None:
    """The number of batches that a source reports; None if it does not know it, or is endless."""
    try:
        found = source.num_batches if isinstance(source, keras.utils.PyDataset) else len(source)
    except (TypeError, NotImplementedError):  # no length, or one that raises, as in tf.data and torch
        return None
    return None if found == sys.maxsize else found  # grain's length of a data set that repeats


def _batch_of(item: Any) -> Batch:
    """A copy of a source's item, because a source may reuse its memory; a list counts as a tuple."""
    if isinstance(item, Yielded):  # the first of a generator, read before
        return item
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    if not 1 <= len(parts) <= 3:
        raise DataError(
            expected="batches x, (x, y) or (x, y, sample_weight)",
            received=f"a {type(item).__name__} of {len(parts)} parts",
            remedy="put several inputs into their own tuple or dict: ((a, b), y)",
        )
    x, y, sample_weight = jax.tree.map(_own, with_sparse_rows((*parts, None, None)[:3]))
    return Yielded(x, y, sample_weight, len(parts) if isinstance(item, tuple | list) else 0)


def _own(leaf: Any) -> np.ndarray:
    if hasattr(leaf, "cpu"):  # a torch tensor, which may be on an accelerator
        leaf = leaf.cpu()
    if hasattr(leaf, "numpy") and not hasattr(leaf, "__array__"):
        leaf = leaf.numpy()
    check_unmasked(leaf)
    return np.array(leaf)


class Replayed:
    """The batches of an iterator, of which the first ``most`` (all if None) are repeated from memory."""

    def __init__(self, source: Iterator[Any], most: int | None = None) -> None:
        self._source, self._most = source, most
        self._kept: list[Batch] = []

    def __iter__(self) -> Iterator[Batch]:
        """The batches kept, then those not read yet."""
        yield from self._kept
        for item in self._source:
            batch = _batch_of(item)
            if self._most is None or len(self._kept) < self._most:
                self._kept.append(batch)
            yield batch


_BEGIN, _END = "on_epoch_begin", "on_epoch_end"


@dataclass(frozen=True)
class _Numbered:
    """Batches by number: a ``keras.utils.PyDataset``, with its epoch callbacks, a sequence, a grain map.

    The batches of an epoch depend only on its number and on the seed of ``order``. As in Keras, a source that
    grows after the first does not lengthen the epochs. If it ``restarts``, as Keras's validation does, each
    pass is preceded by the hook of an epoch's end, and may be longer than the last one.
    """

    source: Any
    order: Order
    count: int | None = None  # None: endless
    restarts: bool = False

    def first(self, hooks: Sequence[str] = ()) -> Batch | None:
        """One batch, to build a model with, between the ``hooks``; :meth:`epoch` yields it again."""
        if _BEGIN in hooks:
            self._tell(_BEGIN)
        numbers = self._numbers(0, 1 if self.count is None else None, self.count)
        batch = next((read for number in numbers if (read := self._read(number)) is not None), None)
        if _END in hooks:
            self._tell(_END)
        return batch

    def epoch(self, epoch: int, most: int | None, room: Callable[[Batch], int]) -> Iterator[Batch]:
        """The batches of one epoch; as many as there is ``room`` for are read ahead."""
        numbers = self._numbers(epoch, most, self._begin())
        for place, number in enumerate(numbers):
            batch = self._read(number)
            if batch is not None:  # now the memory that a batch takes is known
                yield batch
                yield from mapped_ahead(self._read, numbers[place + 1 :], *self._threads(room(batch)))
                break
        self._tell(_END)

    def pass_over(self, epoch: int, most: int | None) -> None:
        """Call the epoch's hooks, by which a PyDataset may shuffle itself; nothing is read."""
        self._begin()
        self._tell(_END)

    def _begin(self) -> int | None:
        """Call the hooks before an epoch; the number of batches that it may have."""
        count = _length(self.source) if self.restarts else self.count
        if self.restarts:
            self._tell(_END)
        self._tell(_BEGIN)
        return count

    def _numbers(self, epoch: int, most: int | None, count: int | None) -> Sequence[int]:
        count = count if count is None else min(count, _length(self.source) or 0)
        if count is None:
            return range(epoch * (most or 0), (epoch + 1) * (most or 0))
        most = max(1, count if most is None else most)
        passed, part = divmod(epoch, max(1, math.ceil(count / most)))
        numbers = self.order.rows(count, passed).tolist() if self.order.shuffle else range(count)
        return numbers[part * most : (part + 1) * most]

    def _read(self, number: int) -> Batch | None:
        item = self.source[number]
        if item is None:  # filtered out by a grain map
            return None
        # As in Keras, a bare array of a PyDataset is a tuple of one.
        bare = isinstance(self.source, keras.utils.PyDataset) and isinstance(item, np.ndarray)
        return _batch_of((item,) if bare else item)

    def _threads(self, room: int) -> tuple[int, int]:
        """How many batches to read ahead, and with how many threads."""
        if not isinstance(self.source, keras.utils.PyDataset):
            return room, 1
        return max(1, min(room, self.source.max_queue_size)), max(1, self.source.workers)

    def _tell(self, moment: str) -> None:
        if isinstance(self.source, keras.utils.PyDataset):
            getattr(self.source, moment)()


@dataclass
class _Iterated:
    """Batches from an iterator of the source, such as another library's loader.

    If an epoch has ``most`` batches, the next one continues with the same iterator while that lasts.
    """

    source: Any
    _running: Iterator[Any] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.is_one_shot:
            self._running = self.source

    @property
    def is_one_shot(self) -> bool:
        """Whether the source is an iterator or generator, which can be used only once."""
        return isinstance(self.source, Iterator)

    def first(self, hooks: Sequence[str] = ()) -> Batch | None:
        """One batch, to build a model with; :meth:`epoch` yields it again. It has no hooks."""
        batches = self._running if self._running is not None else iter(self.source)
        batch = next((_batch_of(item) for item in batches), None)
        if self.is_one_shot and batch is not None:
            self._running = itertools.chain([batch], batches)
        return batch

    def epoch(self, epoch: int, most: int | None, room: Callable[[Batch], int]) -> Iterator[Batch]:
        """The batches of one epoch, read on demand: an iterator may be bound to its thread."""
        taken = 0
        for item in itertools.islice(self._batches(anew=epoch == 0 or most is None), most):
            taken += 1
            yield _batch_of(item)
        if most is not None and taken < most and not self.is_one_shot:
            self._running = None

    def pass_over(self, epoch: int, most: int | None) -> None:
        """Read the batches of an epoch where the next one continues after them; nothing for whole passes."""
        if most is not None:
            collections.deque(self.epoch(epoch, most, room), maxlen=0)

    def _batches(self, *, anew: bool) -> Iterator[Any]:
        if self._running is not None and (self.is_one_shot or not anew):
            first = list(itertools.islice(self._running, 1))
            if first or self.is_one_shot:
                return itertools.chain(first, self._running)
        self._running = iter(self.source)  # there is none, or it ended with the last epoch
        return self._running


_BATCHES_A_BLOCK = 32


@dataclass
class BatchFeed:
    """An iterable of batches ``x``, ``(x, y)`` or ``(x, y, sample_weight)``, one pass per epoch.

    A grain data set, a ``keras.utils.PyDataset``, a list, a data loader of another library. The source
    shuffles itself; only a PyDataset's batches are reordered by ``order``.

    Attributes:
        most: batches in an epoch; the next epoch continues where it ended.
        once: there will be one epoch, so a generator will do.
        inputs_only: leave out targets and weights.
        hooks: those of a PyDataset that reading the example calls, as Keras does to build a model.
        class_weight: a weight for each class, which gives the rows their weights.
        finite: what NaN and infinity do.
        check: called with each batch and the number of its first row in the epoch.
        check_block: called with each block and the numbers of its rows.
    """

    source: Any
    order: Order = field(default_factory=lambda: Order(1, shuffle=False, seed=0))
    most: int | None = None
    once: bool = False
    inputs_only: bool = False
    hooks: Sequence[str] = (_BEGIN, _END)
    class_weight: Mapping[int, float] | None = None
    finite: FiniteCheck = field(default_factory=FiniteCheck)
    check: Callable[[Batch, int], None] = lambda batch, first: None
    check_block: Callable[[Block, np.ndarray], None] = lambda block, numbers: None
    _source: _Numbered | _Iterated = field(init=False)

    def __post_init__(self) -> None:
        self._source = _source_of(self.source, self.order)
        count, iterated = _length(self.source), isinstance(self._source, _Iterated)
        one_shot = isinstance(self._source, _Iterated) and self._source.is_one_shot
        if count == 0:
            raise _without_batches()
        endless = count is None and not iterated
        if self.most is None and (endless or (one_shot and not self.once)):
            raise DataError(
                expected="batches that can be iterated once per epoch, or a number of steps per epoch",
                received=f"{type(self.source).__name__}, which "
                + ("is endless or has no length" if endless else "can be iterated only once"),
                remedy="pass steps_per_epoch (validation_steps, steps), or a list of batches",
            )
        if self.class_weight is not None and one_shot:
            raise OptionError(
                expected="no class_weight for an iterator or generator, as in Keras",
                received=f"class_weight={dict(self.class_weight)} and a {type(self.source).__name__}",
                remedy="yield (x, y, sample_weight), or make the source a keras.utils.PyDataset",
            )

    @property
    def steps(self) -> int | None:
        """Batches per epoch; None if the source does not know."""
        if self.most is not None:
            return self.most
        return self._source.count if isinstance(self._source, _Numbered) else _length(self.source)

    def example(self) -> tuple[Any, Any, Any]:
        """The first batch; no other is read. Raises :class:`DataError` if there is none."""
        batch = self._source.first(self.hooks)
        if batch is None:
            raise _without_batches()
        return collect(*self._used(batch), finite=self.finite).data

    def awaited(self) -> Iterator[Block]:
        """Empty: the batches to come are unknown."""
        return iter(())

    def restart(self) -> None:
        """Make each pass one of Keras's validation (:class:`_Numbered`)."""
        if isinstance(self._source, _Numbered):
            self._source = replace(self._source, restarts=True)

    def pass_over(self, epoch: int) -> None:
        """Leave the source as it is after an epoch, for a training run that begins with a later one."""
        self._source.pass_over(epoch, self.most)

    def blocks(self, epoch: int) -> Iterator[Block]:
        """Groups of consecutive batches of one shape, padded to the same number of batches.

        Raises :class:`DataError` for an empty epoch, and warns if there are fewer than ``most`` batches.
        """
        rows = steps = largest = 0
        given = self._source.epoch(epoch, self.most, room)
        for batches, length in _groups(self._used(batch) for batch in given):
            size, count = _rows(batches[0]), len(batches)
            block = self._block(batches, length, np.arange(rows, rows + count * size))
            yield block._replace(partial=length == 1 and size < largest)
            rows, steps, largest = rows + count * size, steps + count, max(largest, size)
        if steps == 0:
            raise _without_batches()
        if self.most is not None and steps < self.most:
            warn_of_end(steps, self.most)

    def _block(self, batches: list[Batch], length: int, numbers: np.ndarray) -> Block:
        """The batches as a block, padded to ``length`` batches; the list is emptied to free memory."""
        count, size = len(batches), len(numbers) // len(batches)
        data = jax.tree.map(lambda *leaves: _joined(leaves, length), *batches)
        block = block_of(data, size, count, numbers, self.finite)
        block = block._replace(data=with_parts(data, *block.data))
        for batch, first in zip(batches, numbers[::size], strict=True):
            self.check(batch, first)
        self.check_block(block, numbers)
        batches.clear()
        return block

    def _used(self, batch: Batch) -> Batch:
        if self.inputs_only:
            return Yielded(batch.x, None, None, parts=1)
        if self.class_weight is None:
            return batch
        if batch.sample_weight is not None:
            raise OptionError(
                expected="class_weight or sample_weight",
                received="class_weight with batches (x, y, sample_weight)",
                remedy="multiply the class weights into the sample weights",
            )
        weights = class_weights(batch.y, self.class_weight, all_rows=False)
        return Yielded(batch.x, batch.y, weights, parts=3)


def room(batch: Batch) -> int:
    """How many batches like this one make a block: as many as fit in :data:`BLOCK_BYTES`, at least one."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(batch))
    return max(1, min(_BATCHES_A_BLOCK, BLOCK_BYTES // max(size, 1)))


def _groups(batches: Iterator[Batch]) -> Iterator[tuple[list[Batch], int]]:
    """Consecutive batches of one shape, at most a block, and the number that they are padded to."""
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
    # A single batch is often the last partial one: no need to compile for more.
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
        received="an empty or exhausted iterable",
        remedy="check the source; a generator must yield steps times epochs batches",
    )
