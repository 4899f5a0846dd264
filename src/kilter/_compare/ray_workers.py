"""Workers on a Ray cluster, with the interface of :class:`~kilter._compare.workers.Workers`.

A node need not share a disk with this machine: a task trains in a folder of its own and returns its run,
which is unpacked here. Ray starts the tasks of a lost node again elsewhere.
"""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final, Self

from filelock import FileLock, Timeout

from kilter._text import first_line
from kilter.errors import KilterError, OptionError, RunError
from kilter.runs.packing import unpack

_RETRIES: Final = 3
_held: list[FileLock] = []


class RayWorkers:
    """The nodes of a Ray cluster; each task gets one core. A context manager: leaving it disconnects."""

    ships: ClassVar[bool] = True

    def __init__(self, address: str) -> None:
        try:
            import ray  # pyright: ignore[reportMissingImports]  # an extra
        except ImportError:
            raise OptionError(
                expected="Ray for --ray",
                received="Ray is not installed",
                remedy="pip install 'kilter[ray]', on every node",
            ) from None
        self._ray: Any = ray
        self._address = address

    def __enter__(self) -> Self:
        try:
            self._ray.init(address=self._address, log_to_driver=False, configure_logging=False)
        except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
            raise OptionError(
                expected=f"a Ray cluster at {self._address}",
                received=f"none: {first_line(error)}",
                remedy="start one with ray start --head, and pass the address that it prints",
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ray.shutdown()

    def results(self, tasks: Sequence[Callable[[], Any]]) -> Iterator[tuple[int, Any]]:
        """The number of each task with its result, in the order in which they are done."""
        remote = self._ray.remote(num_cpus=1, max_retries=_RETRIES)(_on_one_core)
        waiting = {remote.remote(task): number for number, task in enumerate(tasks)}
        while waiting:
            (ready, *_), _ = self._ray.wait(list(waiting))
            number = waiting.pop(ready)
            try:
                yield number, self._ray.get(ready)
            except self._ray.exceptions.RayTaskError as error:
                cause = error.cause if isinstance(error.cause, KilterError) else None
                raise cause or self._failure(error) from error
            except self._ray.exceptions.RayError as error:
                raise self._failure(error) from error

    def unpack(self, packed: bytes | None, parent: Path) -> None:
        """Put the run that a task returned below ``parent``."""
        if packed is not None:
            unpack(packed, parent)

    def _failure(self, error: BaseException) -> RunError:
        return RunError(
            expected="a node that finishes training",
            received=f"one that failed {_RETRIES + 1} times or raised: {str(error).strip().splitlines()[-1]}",
            remedy="fix what the message says; finished trials are kept",
        )


def _on_one_core(task: Callable[[], Any]) -> Any:
    """Run the task as a worker of this machine would: on one core, so that the bits are the same."""
    if sys.platform == "linux" and not _held:
        for core in sorted(os.sched_getaffinity(0)):
            lock = FileLock(Path(tempfile.gettempdir(), f"kilter-core-{core}.lock"), mode=0o666)
            with contextlib.suppress(Timeout, OSError):
                lock.acquire(timeout=0)
                _held.append(lock)  # until this process ends
                os.sched_setaffinity(0, {core})  # before JAX starts its threads
                break
    return task()
