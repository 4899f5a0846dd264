"""Worker processes, one to a core: two pinned to a core each finish more runs than one that uses both.

A worker (:mod:`kilter._compare.worker`) takes jobs as lines of JSON on its standard input and answers each
with a line on its standard output. It lives as long as its input is open.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib.metadata import entry_points
from types import TracebackType
from typing import Any, Self

from kilter import errors
from kilter.errors import KilterError, OptionError, RunError

Job = Mapping[str, Any]
Answer = Mapping[str, Any]

# Long enough for a process to leave; its runs are whole whenever it goes.
_SECONDS_TO_LEAVE = 5.0
_SHOWN_LINES = 3


def cores() -> list[int | None]:
    """The cores that this process may use, by number; None for each where they cannot be chosen (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return [*sorted(os.sched_getaffinity(0))]
    return [None] * (os.cpu_count() or 1)


def places(workers: int | None) -> list[int | None]:
    """The core of each worker, by default each core once; None is any core.

    Where JAX may find an accelerator the default is one worker, and none is bound to a core.

    Raises :class:`OptionError` unless `workers` is a whole number from 1 to the number of cores.
    """
    usable = cores()
    if workers is None:
        return [None] if _may_be_accelerated() else usable
    if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= len(usable):
        raise OptionError(
            expected=f"workers from 1 to {len(usable)}, the cores that this process may use",
            received=f"workers={workers!r}",
            remedy="leave it out for one on each core",
        )
    return [None] * workers if _may_be_accelerated() else usable[:workers]


class Pool:
    """Workers that answer jobs; a context manager, at whose end they are gone, busy or not."""

    def __init__(self, places: Sequence[int | None]) -> None:
        self._workers = [_Worker(core) for core in places]
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(len(self._workers))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:  # which ends the waiting of the threads
            worker.stop()
        self._threads.shutdown(cancel_futures=True)

    def answers(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Answer]]:
        """The number of each job with its answer, in the order in which they are done.

        Raises the :class:`KilterError` of the first job that fails.
        """
        asked = {self._threads.submit(self._ask, job): number for number, job in enumerate(jobs)}
        for done in as_completed(asked):
            yield asked[done], done.result()

    def _ask(self, job: Job) -> Answer:
        worker = self._idle.get()
        try:
            return worker.ask(job)
        finally:
            self._idle.put(worker)


class _Worker:
    """A process, and what it says."""

    def __init__(self, core: int | None) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (closed by stop)
        self._process = subprocess.Popen(
            # -P: modules are looked for where this process looks, not in the working directory as well.
            [sys.executable, "-P", "-m", "kilter._compare.worker", *([] if core is None else [str(core)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path)},
            # Ctrl-C on the terminal is for this process, which then ends the workers.
            start_new_session=True,
        )

    def ask(self, job: Job) -> Answer:
        """The answer to a job; raises the error that it says, or :class:`RunError` where the process died."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        line = b""
        with contextlib.suppress(OSError, ValueError):  # gone, or stopped: then there is no answer either
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise RunError(
                expected=f"a worker process that trains {job.get('folder', 'a recipe')}",
                received=f"one that ended: {self._last_words()}",
                remedy="mend what it says (with workers=1 if the memory is short); finished runs are kept",
            )
        answer = json.loads(line)
        if "error" in answer:
            raise _error(answer["error"])
        return answer

    def stop(self) -> None:
        """End the process, whatever it does."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def _last_words(self) -> str:
        code = self._process.poll()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", errors="replace").strip().splitlines()
        return "; ".join(lines[-_SHOWN_LINES:]) or f"without a word, exit code {code}"


def _error(told: Mapping[str, str]) -> KilterError:
    """The error that a worker wrote down, of the same kind."""
    kind = getattr(errors, told["kind"])
    return kind(expected=told["expected"], received=told["received"], remedy=told["remedy"])


def _may_be_accelerated() -> bool:
    """Whether JAX has a plugin for another device than the processor, and is not told to leave it alone.

    Asked without starting JAX, which would take the accelerator's memory from the workers.
    """
    told = os.environ.get("JAX_PLATFORMS", "")
    return told != "cpu" and len(list(entry_points(group="jax_plugins"))) > 0
