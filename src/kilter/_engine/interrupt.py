"""Ctrl-C that waits for the end of the running chunk, so that no state is lost."""

import _thread
import math
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import CodeType, FrameType, TracebackType
from typing import Any, TypeVar

from kilter._engine.processes import agreed, count

Made = TypeVar("Made")

_PAUSE_SECONDS = 0.1
_LATE_SECONDS = 3.0


class Interrupt:
    """While active, the first Ctrl-C only sets ``.pending``, the second acts; for the main thread only.

    If nobody has asked after three seconds, as while a callback sleeps, the first one acts too, as soon as no
    function in ``whole`` runs. Not in one process of several: the others would wait for it.

    ``pending``: the number of the signal, 0 for none.
    """

    def __init__(self, whole: frozenset[CodeType] = frozenset()) -> None:
        self.pending = 0
        self._whole = whole
        self._previous: Any = None
        self._active = False
        self._is_late = False
        self._sending = threading.Lock()

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._remember)
            self._active = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._active = False
            with self._sending:  # no late signal reaches the handler before
                signal.signal(signal.SIGINT, self._previous)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self._is_late:
            self._is_late = False
            if self._active and not self._is_within_whole(frame):
                raise KeyboardInterrupt(*{self.pending} - {signal.SIGINT})
        elif self.pending:
            raise KeyboardInterrupt
        else:
            self.pending = number
            if count() == 1 and hasattr(signal, "pthread_kill"):
                _thread.start_new_thread(self._act_late, ())  # takes no lock that the main thread may hold

    def _act_late(self) -> None:
        time.sleep(_LATE_SECONDS)
        main = threading.main_thread().ident or 0
        while self._active:
            with self._sending:
                if self._active:
                    self._is_late = True
                    signal.pthread_kill(main, signal.SIGINT)  # ends a sleep, too
            time.sleep(_PAUSE_SECONDS)

    def _is_within_whole(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code in self._whole:
                return True
            frame = frame.f_back
        return False

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
