"""Sources of the same batches in many shapes, for the tests of what takes them."""

from typing import Any

import grain
import numpy as np

from kilter import _backend  # noqa: F401

# isort: split
import keras

from kilter._engine.feed import Order

from .cases import BATCH, rows

X, Y = rows(64)
BATCHES = [(X[start : start + BATCH], Y[start : start + BATCH]) for start in range(0, 64, BATCH)]
AS_THEY_STAND = Order(1, shuffle=False, seed=0)


class Numbered(keras.utils.PyDataset):
    """The batches by number; ``log`` has what it was asked for and told."""

    def __init__(self, batches: Any = BATCHES, **how: Any) -> None:
        super().__init__(**how)
        self.batches, self.log = batches, []

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> Any:
        self.log.append(index)
        return self.batches[index]

    def on_epoch_begin(self) -> None:
        self.log.append("begin")

    def on_epoch_end(self) -> None:
        self.log.append("end")

    def epochs(self) -> list[list[int]]:
        """The batches of each epoch that was told."""
        found: list[list[int]] = []
        for entry in self.log:
            if entry == "begin":
                found.append([])
            elif entry != "end":
                found[-1].append(entry)
        return found


class Loader:
    """It can be iterated, again and again."""

    def __init__(self, batches: Any) -> None:
        self.batches, self.read = batches, 0

    def __iter__(self) -> Any:
        for batch in self.batches:
            self.read += 1
            yield batch


class Unsized(Loader):
    """A loader that cannot tell its length, and says so as tf.data and torch do."""

    def __len__(self) -> int:
        raise TypeError("the cardinality is unknown")


class WithoutLen(keras.utils.PyDataset):
    """Keras's own way to tell the number of batches."""

    @property
    def num_batches(self) -> int:
        return len(BATCHES)

    def __getitem__(self, index: int) -> Any:
        return BATCHES[index]


class OneBuffer(Numbered):
    """A loader that reads every batch into the same memory."""

    def __init__(self) -> None:
        super().__init__()
        self.room = np.empty_like(BATCHES[0][0])

    def __getitem__(self, index: int) -> Any:
        self.room[:] = BATCHES[index][0]
        return self.room, BATCHES[index][1]


class Tensor:
    """An array of another library: on a device of its own, and without NumPy's protocol."""

    def __init__(self, array: np.ndarray, here: bool = False) -> None:
        self.array, self.here = array, here

    def cpu(self) -> "Tensor":
        return Tensor(self.array, here=True)

    def numpy(self) -> np.ndarray:
        assert self.here
        return self.array


def generated() -> Any:
    yield from BATCHES


AS_LISTS = [list(batch) for batch in BATCHES]

SOURCES = {
    "tuples": lambda: BATCHES,
    "lists": lambda: AS_LISTS,
    "a loader of lists": lambda: Loader(AS_LISTS),
    "a PyDataset of lists": lambda: Numbered(AS_LISTS),
    "tensors": lambda: Loader([[Tensor(x), Tensor(y)] for x, y in BATCHES]),
    "JAX arrays": lambda: [tuple(map(keras.ops.convert_to_tensor, batch)) for batch in BATCHES],
    "num_batches": WithoutLen,
    "a length that raises": lambda: Unsized(BATCHES),
    "one buffer": OneBuffer,
    "a loader with one buffer": lambda: Loader(OneBuffer()),
    "three threads": lambda: Numbered(workers=3),
    "a grain map with gaps": lambda: (
        grain.MapDataset.source([*BATCHES, *BATCHES]).filter(lambda batch: batch[0] is not X).slice(slice(4))
    ),
}


class Endless(Numbered):
    """Batches without end."""

    num_batches = None

    def __getitem__(self, index: int) -> Any:
        return super().__getitem__(index) if index < len(self.batches) else self[index - len(self.batches)]


def endlessly() -> Any:
    while True:
        yield from BATCHES


STEPPED = SOURCES | {"an endless generator": endlessly, "a dataset without end": Endless}

ONCE = {"a generator": generated, "an iterator": lambda: iter(AS_LISTS)}
