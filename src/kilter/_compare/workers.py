"""Worker processes that train runs, one to a core.

Two workers on a core each finish more runs than one that uses both cores. The processes are joblib's (loky):
unlike the standard library's, they do not import the user's script, which may lack a ``__main__`` guard.
"""

import contextlib
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from importlib.metadata import entry_points
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Protocol, Self, TypeVar

from joblib.externals.loky import ProcessPoolExecutor, process_executor
from joblib.externals.loky.backend.context import get_context

from kilter._validation import whole_number
from kilter.errors import KilterError, RunError

Result = TypeVar("Result")

_SHOWN_LINES: Final = 3
_PAUSE_SECONDS: Final = 0.2
_TRACKER: Final = "ignore:resource_tracker"


def cores() -> list[int | None]:
    """The cores that this process may use, by number; None for each where they cannot be chosen (macOS)."""
    if sys.platform == "linux":
        return [*sorted(os.sched_getaffinity(0))]
    return [None] * (os.cpu_count() or 1)


def places(workers: int | None) -> list[int | None]:
    """The core of each worker, by default one worker for each core. None stands for any core.

    Where JAX may find an accelerator, the default is one worker, and workers are not bound to cores.

    Raises :class:`OptionError` unless `workers` is a whole number from 1 to the number of cores.
    """
    usable, bound = cores(), not _may_be_accelerated()
    if workers is None:
        return usable if bound else [None]
    expected = f"workers from 1 to {len(usable)}, the cores that this process may use"
    remedy = "leave it out for one worker per core"
    count = whole_number("workers", workers, 1, len(usable), expected=expected, remedy=remedy)
    return usable[:count] if bound else [None] * count


class AnyWorkers(Protocol):
    """Processes that run tasks, here or on other machines.

    Attributes:
        ships: tasks train elsewhere, and return their run packed.
    """

    ships: ClassVar[bool]

    def results(self, tasks: Sequence[Callable[[], Result]]) -> Iterator[tuple[int, Result]]:
        """The number of each task with its result, in the order in which they are done."""
        ...

    def unpack(self, packed: bytes | None, parent: Path) -> None:
        """Put the run that a task returned below ``parent``."""
        ...


class Workers:
    """Processes that run tasks, one at each place. A context manager: leaving it kills them, busy or not.

    Run directories are never half-written, so a worker may be killed at any moment.
    """

    ships: ClassVar[bool] = False

    def __init__(self, places: Sequence[int | None]) -> None:
        context = get_context("loky")
        # Python would put the working directory first on sys.path, and it may contain any file.
        environment = {
            "PYTHONSAFEPATH": "1",
            "PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path),
            # loky's helper process removes what an interrupted search leaves, and would warn of it.
            "PYTHONWARNINGS": ",".join(filter(None, [os.environ.get("PYTHONWARNINGS"), _TRACKER])),
        }
        self._folder = tempfile.TemporaryDirectory()
        self._log = Path(self._folder.name, "log.txt")
        self._log.touch()
        # A new process waits at the lifeline. Its other end is closed when this process ends.
        lifeline, self._alive = context.Pipe(duplex=False)
        with _environment(environment):  # for loky's own helper process, too
            free = context.SimpleQueue()
            for core in places:
                free.put(core)
            self._executor = ProcessPoolExecutor(
                len(places),
                context=context,
                initializer=_begin,
                initargs=(free, lifeline, str(self._log)),
                env=environment,
            )
            self._executor.submit(os.getpid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(kill_workers=True)
        self._alive.close()
        self._folder.cleanup()

    def results(self, tasks: Sequence[Callable[[], Result]]) -> Iterator[tuple[int, Result]]:
        """The number of each task with its result, in the order in which they are done.

        Raises the :class:`KilterError` of the first task that fails; any other error of a task, and the death
        of a worker, become a :class:`RunError`.
        """
        futures: dict[Any, int] = {self._executor.submit(task): number for number, task in enumerate(tasks)}
        waiting = set(futures)
        while waiting:
            # With pauses: Ctrl-C does not end a wait once polars has put its handler before Python's.
            done, waiting = wait(waiting, timeout=_PAUSE_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if isinstance(error, KilterError):
                    raise error
                if error is not None:
                    raise self._failure(error) from error
                yield futures[future], future.result()

    def unpack(self, packed: bytes | None, parent: Path) -> None:
        """Nothing to do: the run is there."""

    def _failure(self, error: BaseException) -> RunError:
        """What went wrong in a worker: the end of its traceback, or of what it printed before it died."""
        said = str(error.__cause__ or "") or self._log.read_text(encoding="utf-8", errors="replace")
        lines = said.strip('\n"').splitlines()
        return RunError(
            expected="a worker process that finishes training",
            received=f"one that failed: {'; '.join(lines[-_SHOWN_LINES:]) or error}",
            remedy="fix what the message says, or use workers=1 if memory is short; finished runs are kept",
        )


def _begin(free: SimpleQueue[int | None], lifeline: Connection, log: str) -> None:
    """Prepare this process, a new worker: Ctrl-C, output, core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that compares handles it, and ends the workers
    threading.Thread(target=_end_with, args=(lifeline,), daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    # loky replaces a worker that grows by 300 MB, which JAX's programs do; each replacement would compile
    # again.
    process_executor._USE_PSUTIL = False
    core = free.get()
    multiprocessing.util.Finalize(None, free.put, args=(core,), exitpriority=0)  # should it be replaced
    if core is not None and sys.platform == "linux":
        # Before JAX starts its threads, which inherit the core. Numbers depend on how many threads share an
        # operation: with one core for each worker they are the same for any number of workers.
        os.sched_setaffinity(0, {core})


def _end_with(lifeline: Connection) -> None:
    """End this process as soon as the comparing process has ended."""
    with contextlib.suppress(EOFError, OSError):
        lifeline.recv_bytes()
    os._exit(0)


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before: dict[str, Any] = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _may_be_accelerated() -> bool:
    """Whether JAX has a plugin for a device other than the CPU, and may use it.

    Decided without starting JAX, which would reserve the accelerator's memory.
    """
    return os.environ.get("JAX_PLATFORMS", "") != "cpu" and len(list(entry_points(group="jax_plugins"))) > 0
