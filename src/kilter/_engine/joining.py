"""How several processes find each other, and how one that fails leaves the others."""

import atexit
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from typing import Any, Final

import jax

from kilter._engine.interrupt import awaited, started
from kilter._system import BAD_INPUT, BY_SIGNAL
from kilter._text import cause, first_line
from kilter.errors import KilterError, OptionError

AUTO: Final = "auto"
_LOST_SECONDS: Final = 20  # without a sign of life: a busy process is late, but the limit is 30
_TRIES: Final = 300  # one a second: to reach process 0, which may start later
_WAIT_SECONDS: Final = 300  # for the other processes
_GRACE_SECONDS: Final = 60  # JAX aborts the process when its own time is over


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
    if rank:
        _reach(coordinator or "")
    found = (None, None, None) if coordinator == AUTO else given
    # A CPU has no collectives of its own.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    _find_each_other(coordinator, processes, found)
    try:
        yield
    except BaseException as error:
        # Leaving politely would wait for the others, who may be gone.
        atexit.register(_leave, _code(error))
        raise
    jax.distributed.shutdown()


def _find_each_other(coordinator: str | None, processes: int | None, found: tuple[Any, ...]) -> None:
    limits = {
        "initialization_timeout": _WAIT_SECONDS + _GRACE_SECONDS,
        "heartbeat_timeout_seconds": _LOST_SECONDS,
    }
    if coordinator == AUTO:
        expected = "Slurm, Open MPI or Kubernetes, whose environment variables name all processes"
        remedy = "start it with srun, mpirun or a Kubernetes job, or pass HOST:PORT, --processes and --rank"
    else:
        expected = f"{processes} processes that connect to {coordinator}"
        remedy = "start every process with the same --coordinator and --processes, and ranks from 0"
    try:
        joining = started(lambda: jax.distributed.initialize(*found, **limits), daemon=True)
        awaited(joining, _WAIT_SECONDS)
    except TimeoutError:
        atexit.register(_leave, BAD_INPUT)  # the connection still waits
        received = f"not all of them connected within {_WAIT_SECONDS} seconds"
        raise OptionError(expected=expected, received=received, remedy=remedy) from None
    except (ValueError, RuntimeError, KeyError) as error:
        raise OptionError(expected=expected, received=first_line(error), remedy=remedy) from error


def _check(coordinator: str | None, processes: int | None, rank: int | None) -> None:
    host, _, port = (coordinator or "").rpartition(":")
    alone = coordinator == AUTO and processes is None and rank is None
    counted = isinstance(processes, int) and isinstance(rank, int) and 0 <= rank < processes
    if not alone and not (host and port.isdecimal() and int(port) < 1 << 16 and counted):
        raise OptionError(
            expected="--coordinator HOST:PORT --processes N --rank R with R from 0 to N - 1, or "
            "--coordinator auto under Slurm, Open MPI or Kubernetes",
            received=f"coordinator={coordinator}, processes={processes}, rank={rank}",
            remedy="give all three",
        )


def _reach(coordinator: str) -> None:
    """Wait until process 0 listens, or raise OptionError: JAX would abort this process without an error."""
    host, _, port = coordinator.rpartition(":")
    found = ""
    for _ in range(_TRIES):
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_LOST_SECONDS).close()
            return
        except OSError as error:
            found = cause(error)
            time.sleep(1)
    raise OptionError(
        expected=f"process 0 at {coordinator}",
        received=f"{found}, after {_TRIES} tries",
        remedy="start process 0 there, and check the address and the firewall",
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
