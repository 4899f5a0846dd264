"""Ctrl-C, SIGTERM and SIGHUP during a run: what was trained is saved."""

import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

from kilter._system import BY_SIGNAL, STOPPING, leave
from kilter.errors import RunError
from kilter.runs.recorder import Recorder
from kilter.runs.records import Status


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, SIGTERM or SIGHUP (`signal`) during a run. The message says how to continue.

    The run directory at `path` has the best weights and a checkpoint of the last batch trained.
    """

    def __init__(self, path: Path, message: str, number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.path = path
        self.signal = number


class Terminated(Interrupted, SystemExit):
    """:class:`Interrupted` by SIGTERM or SIGHUP. Uncaught, it ends the process with 128 + the signal."""

    def __init__(self, path: Path, message: str, number: int) -> None:
        super().__init__(path, message, number)
        self.code = BY_SIGNAL + number


def _interrupted(path: Path, message: str, number: int) -> Interrupted:
    return (Interrupted if number == signal.SIGINT else Terminated)(path, message, number)


class Termination:
    """While active, SIGTERM and SIGHUP act as Ctrl-C does; `signal` is the one received, else SIGINT.

    Only in the main thread, and only for signals with the default handler or the command line's: a handler
    that the caller set stays, and so does ``nohup``.
    """

    def __init__(self) -> None:
        self.signal: int = signal.SIGINT
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                if signal.getsignal(number) in (signal.SIG_DFL, leave):
                    self._previous[number] = signal.signal(number, self._interrupt)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())

    @property
    def name(self) -> str:
        """The name of the signal that stopped the run."""
        return "Ctrl-C" if self.signal == signal.SIGINT else signal.Signals(self.signal).name

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if callable(on_ctrl_c):  # the engine's waits for the running chunk, Python's raises
            on_ctrl_c(number, frame)
        else:  # Ctrl-C is ignored, as in a background job
            raise KeyboardInterrupt


@contextmanager
def saving_what_is_done(
    recorder: Recorder, finish: Callable[[Status, str], object], how_to_go_on: Callable[[], str]
) -> Generator[None]:
    """If the training in the body ends early, save the newest state that is known and call `finish`."""
    path = recorder.run.path
    with Termination() as termination:
        try:
            yield
        except KeyboardInterrupt as pressed:
            termination.signal = next(iter(pressed.args), termination.signal)  # in another process, perhaps
            try:
                recorder.save_newest()
                recorder.keep_best()
                finish("interrupted", termination.name)
            except KeyboardInterrupt:  # a second one: do not wait
                message = f"Stopped at once, before everything was saved. {how_to_go_on()}"
                raise _interrupted(path, message, termination.signal) from None
            message = f"Stopped {_when(recorder)} {how_to_go_on()}"
            raise _interrupted(path, message, termination.signal) from None
        except SystemExit:  # sys.exit() in a callback or in a handler of SIGTERM that the caller set
            recorder.save_newest()
            recorder.keep_best()
            finish("interrupted", "sys.exit()")
            raise
        except RunError:
            raise
        except Exception as error:
            try:
                recorder.save_newest()
                finish("failed", f"{type(error).__name__}: {error}")
            except RunError as unsaved:
                error.add_note(f"The run in {path} could not be saved either: {unsaved}")
            raise


def _when(recorder: Recorder) -> str:
    watch, within = recorder.watch, recorder.within
    saved = "" if within is None else f" The checkpoint is after batch {within} of the next epoch."
    if watch.last_epoch is None:
        return f"before the first epoch ended.{saved.replace('the next', 'this')}"
    best = (
        "" if watch.best_epoch is None else f" The best weights, of epoch {watch.best_epoch + 1}, are saved."
    )
    return f"after epoch {watch.last_epoch + 1}.{saved}{best}"
