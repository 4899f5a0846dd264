"""Ctrl-C that waits for the end of the running chunk, so that no state is lost."""

import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any, TypeVar

from kilter._engine.processes import agreed, count

Made = TypeVar("Made")

_PAUSE_SECONDS = 0.1


class Interrupt:
    """While active, the first Ctrl-C only sets ``.pending``, the second acts; for the main thread only.

    ``pending``: the number of the signal, 0 for none.
    """

    def __init__(self) -> None:
        self.pending = 0
        self._previous: Any = None
        self._active = False

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._remember)
            self._active = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            signal.signal(signal.SIGINT, self._previous)
            self._active = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = number

    def asked(self) -> bool:
        """Whether Ctrl-C was pressed, in any of the processes that train together; all must call it."""
        if count() > 1:
            self.pending = int(agreed(self.pending).max())
        return bool(self.pending)

    def check(self) -> None:
        """Raise KeyboardInterrupt if :meth:`asked`, with the number of the signal if it is not Ctrl-C's."""
        if self.asked():
            raise KeyboardInterrupt(*{self.pending} - {signal.SIGINT})


def started(work: Callable[[], Made], *, daemon: bool = False) -> Future[Made]:
    """The coming result of ``work``, which runs in another thread.

    For long work outside of Python, such as a compilation: Python handles signals between two instructions of
    the main thread, which can wait for the result in the meantime.
    """
    result: Future[Made] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001  (raised by result.result() in the waiting thread)
            result.set_exception(error)

    threading.Thread(target=run, name="kilter-work", daemon=daemon).start()
    return result


def awaited(result: Future[Made], limit_seconds: float = math.inf) -> Made:
    """The result, when it is there; KeyboardInterrupt as soon as Ctrl-C is pressed, TimeoutError when late.

    The work then goes on, and its result is dropped.
    """
    deadline = time.monotonic() + limit_seconds
    is_main = threading.current_thread() is threading.main_thread()
    while True:
        try:
            return result.result(_PAUSE_SECONDS)
        except TimeoutError:
            if result.done() or time.monotonic() > deadline:  # or the work itself timed out
                raise
            active = getattr(signal.getsignal(signal.SIGINT), "__self__", None)
            asked = is_main and isinstance(active, Interrupt) and active.pending
            if asked and count() == 1:  # others would wait
                raise KeyboardInterrupt from None
