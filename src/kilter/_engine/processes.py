"""Several processes that train one model together, by ``jax.distributed``: on one machine or on many.

Every process runs the same program on the same rows in the same order and computes its share of each batch.
What a process decides alone, such as when to stop, it has to agree on with the others, or they would wait for
it for ever.
"""

import contextlib
import re
from collections.abc import Generator
from typing import Any, Final

import jax
import numpy as np

from kilter._text import first_line
from kilter.errors import DataError, RunError

_OF_COLLECTIVES: Final = re.compile("gloo|nccl|coordination|barrier|heartbeat|connection", re.IGNORECASE)
_MEETING_MILLISECONDS: Final = 900_000


def count() -> int:
    """How many processes train together; 1 for one alone."""
    return jax.process_count()


def is_first() -> bool:
    """Whether this process is alone, or the one that writes."""
    return jax.process_index() == 0


def meet() -> None:
    """Wait for all processes, which may compile for longer than a collective waits. All must call it."""
    from orbax.checkpoint.multihost import get_barrier_sync_fn

    with lost():
        get_barrier_sync_fn()(key="kilter", timeout_ms=_MEETING_MILLISECONDS)


def agreed(*values: int) -> np.ndarray:
    """These numbers of every process, shape (processes, values). All must call it at the same point."""
    from jax.experimental import multihost_utils

    meet()
    with lost():
        return np.asarray(multihost_utils.process_allgather(np.array(values, np.int32))).reshape(count(), -1)


def arrays_from_first(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays of process 0, on every process. All must call it at the same point."""
    from jax.experimental import multihost_utils

    meet()
    with lost():
        return multihost_utils.broadcast_one_to_all(arrays) if arrays else []


def require_same(digest: int, what: str, remedy: str) -> None:
    """Raise :class:`DataError` unless every process has this digest (32 bits). All must call it."""
    found = agreed(digest - (1 << 31))[:, 0]
    other = np.flatnonzero(found != found[0])
    if other.size:
        raise DataError(
            expected=f"the same {what} in all {count()} processes",
            received=f"process {', '.join(map(str, other))} differs from process 0",
            remedy=remedy,
        )


def from_first(content: bytes) -> bytes:
    """The bytes of process 0, on every process. All must call it at the same point."""
    from jax.experimental import multihost_utils

    meet()
    with lost():
        size = int(agreed(len(content))[0, 0])
        room = np.frombuffer(content, np.uint8) if is_first() else np.zeros(size, np.uint8)
        return np.asarray(multihost_utils.broadcast_one_to_all(room)).astype(np.uint8).tobytes()


@contextlib.contextmanager
def lost() -> Generator[None]:
    """Within it an error of a collective says that another process is gone."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # Gloo's errors are ValueErrors
        if count() == 1 or not _OF_COLLECTIVES.search(str(error)):
            raise
        raise RunError(
            expected=f"{count()} processes that train to the end",
            received=f"another process that is gone: {first_line(error)}",
            remedy="read its last output; then continue with kilter resume, with any number of processes",
        ) from error


def local(tree: Any) -> Any:
    """The arrays of ``tree`` as NumPy's, if they are spread over processes: each has all of their values."""
    return jax.tree.map(np.asarray, tree) if count() > 1 else tree
