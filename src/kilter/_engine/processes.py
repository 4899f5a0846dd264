"""Several processes that train one model together, by ``jax.distributed``: on one machine or on many.

Every process runs the same program on the same rows in the same order and computes its share of each batch.
What a process decides alone, such as when to stop, it has to agree on with the others, or they would wait for
it for ever.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal
import sys
from collections.abc import Generator
from typing import Any, Final

import jax
import numpy as np

from kilter._system import BAD_INPUT, BY_SIGNAL
from kilter._text import first_line
from kilter.errors import DataError, KilterError, OptionError, RunError

AUTO: Final = "auto"
_LOST_SECONDS: Final = 10  # without a sign of life from a process
_OF_COLLECTIVES: Final = re.compile("gloo|nccl|coordination|barrier|heartbeat|connection", re.IGNORECASE)
_MEETING_MILLISECONDS: Final = 900_000


@contextlib.contextmanager
def together(coordinator: str | None, processes: int | None, rank: int | None) -> Generator[None]:
    """Join the other processes; the devices of all are then those of this process too.

    ``coordinator``: host:port of process 0, or "auto": Slurm, Open MPI or Kubernetes say all three. Must be
    entered before JAX computes anything. Nothing happens if all are None.
    """
    given = (coordinator, processes, rank)
    if given == (None, None, None):
        yield
        return
    _check(*given)
    found = (None, None, None) if coordinator == AUTO else given
    # A CPU has no collectives of its own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    try:
        jax.distributed.initialize(*found, heartbeat_timeout_seconds=_LOST_SECONDS)
    except (ValueError, RuntimeError) as error:
        raise OptionError(
            expected=f"{processes or 'the'} processes that find each other at {coordinator}",
            received=first_line(error),
            remedy="start every process with the same --coordinator and --processes, and ranks from 0",
        ) from error
    try:
        yield
    except BaseException as error:
        # Leaving politely would wait for the others, who may be gone.
        atexit.register(_leave, _code(error))
        raise
    jax.distributed.shutdown()


def _check(coordinator: str | None, processes: int | None, rank: int | None) -> None:
    host, _, port = (coordinator or "").rpartition(":")
    alone = coordinator == AUTO and processes is None and rank is None
    counted = isinstance(processes, int) and isinstance(rank, int) and 0 <= rank < processes
    if not alone and not (host and port.isdecimal() and counted):
        raise OptionError(
            expected="--coordinator HOST:PORT --processes N --rank R with R from 0 to N - 1, or "
            "--coordinator auto under Slurm, Open MPI or Kubernetes",
            received=f"coordinator={coordinator}, processes={processes}, rank={rank}",
            remedy="give all three",
        )


def _code(error: BaseException) -> int:
    """The exit code that the command line gives for an error."""
    if isinstance(error, KeyboardInterrupt):
        return BY_SIGNAL + getattr(error, "signal", signal.SIGINT)
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        return error.code
    return BAD_INPUT if isinstance(error, KilterError) else 1


def _leave(code: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


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
