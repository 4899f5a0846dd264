"""Rows that stay on the disk, and are read a block at a time."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

# As many blocks are kept as two groups that are shuffled together have.
KEPT_BLOCKS: Final = 16


@dataclass(frozen=True)
class StoredRows:
    """Rows on the disk, indexed like an array by a slice or row numbers.

    Attributes:
        shape, dtype: of all rows together.
        block_rows: rows of a block, the last one may have fewer; ``read`` gives the block of a number.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    block_rows: int
    read: Callable[[int], np.ndarray]
    _kept: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict[int, np.ndarray], repr=False)

    @property
    def nbytes(self) -> int:
        """What all rows would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """Axes, rows included."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The given rows, in memory."""
        numbers = np.arange(len(self))[rows]
        if numbers.ndim == 0:
            return self[int(numbers) : int(numbers) + 1][0]
        found = np.empty((len(numbers), *self.shape[1:]), self.dtype)
        blocks = numbers // self.block_rows
        for block in dict.fromkeys(blocks.tolist()):
            places = np.flatnonzero(blocks == block)
            found[places] = self._block(block)[numbers[places] - block * self.block_rows]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All rows, in memory."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def _block(self, number: int) -> np.ndarray:
        if number not in self._kept:
            if len(self._kept) >= KEPT_BLOCKS:
                self._kept.popitem(last=False)
            self._kept[number] = self.read(number)
        self._kept.move_to_end(number)
        return self._kept[number]
