"""Progress of long calls: one updating line on a terminal or in a notebook, plain lines elsewhere.

Long-running code gets a :class:`Progress` and reports each stage to it. The displays here show the stages; a
test, or a program with its own window, passes a listener instead.
"""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, Protocol, TextIO

from kilter._layout import columns, wrapped
from kilter._text import duration
from kilter.errors import OptionError

_REPEAT_SECONDS: Final = 10.0  # least time between two plain lines of a stage
_TIMED_SECONDS: Final = 1.0  # shorter timings mostly measure overhead
QUICK: Final = 0.7  # usually quick calls show nothing before this time
_REDRAW_SECONDS: Final = 0.1  # least time between two changes of the updating line in a stage


class Progress(Protocol):
    """Receives the stages of a call."""

    def stage(
        self, name: str, done: int = 0, total: int = 0, *, detail: str = "", seconds_left: float | None = None
    ) -> None:
        """Report that stage ``name`` runs, number ``done`` of ``total`` (0: not counted, or unknown).

        ``detail``: what is being done or measured, separated by commas.
        ``seconds_left``: an estimate from timed steps without compilation; None if there is none.
        """

    def print(self, line: str) -> None:
        """Print a permanent line, such as an epoch's metrics."""


class Display(Progress, Protocol):
    """A progress for people, which ends."""

    def close(self) -> None:
        """Remove the temporary line; the next stage shows it again."""


Verbose = str | int | Progress


class Silent:
    """Shows nothing."""

    def stage(self, name: str, done: int = 0, total: int = 0, **details: Any) -> None:
        """Show nothing."""

    def print(self, line: str) -> None:
        """Print nothing."""

    def close(self) -> None:
        """Nothing is shown."""


SILENT: Final = Silent()


class _Throttle:
    """Passes a stage on if it is new, or was last shown more than ``seconds`` ago."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self.last: tuple[str, float] | None = None

    def passes(self, name: str) -> bool:
        now = self._clock()
        if self.last is not None and self.last[0] == name and now - self.last[1] < self._seconds:
            return False
        self.last = name, now
        return True


class Lines:
    """A plain line for each new stage, for pipes and logs; at most one every ten seconds within a stage."""

    def __init__(
        self, stream: TextIO, *, kept: TextIO | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._kept = stream if kept is None else kept
        self._throttle = _Throttle(_REPEAT_SECONDS, clock)

    def stage(self, name: str, done: int = 0, total: int = 0, **details: Any) -> None:
        """Print the stage, unless it was printed a moment ago."""
        if self._throttle.passes(name):
            _write(self._stream, "".join(_parts(name, done, total, **details)) + "...\n")

    def print(self, line: str) -> None:
        """Print a permanent line."""
        _write_lasting(self._kept, line)

    def close(self) -> None:
        """Nothing to remove."""


class UpdatingLine:
    """One line that is updated in place; parts that do not fit into ``columns`` are left out.

    Permanent lines go to ``kept``. Without it, as in a notebook, the updating line shows them, and the last
    one stays when the display closes.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        kept: TextIO | None = None,
        columns: Callable[[], int] = lambda: shutil.get_terminal_size().columns,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._kept = kept
        self._columns = columns
        self._throttle = _Throttle(_REDRAW_SECONDS, clock)
        self._shown = ""
        self._lasting = ""

    def stage(self, name: str, done: int = 0, total: int = 0, **details: Any) -> None:
        """Replace the line with this stage."""
        if self._throttle.passes(name):
            self._show(_fitting(_parts(name, done, total, **details), self._columns() - 1))

    def print(self, line: str) -> None:
        """Print a permanent line; in a notebook it stays until the next one."""
        if self._kept is None:
            self._lasting = line
            self._throttle.last = None
            self._show(line)
            return
        self._erase()
        _write_lasting(self._kept, line)

    def close(self) -> None:
        """Erase the line; a notebook keeps the last permanent one."""
        self._erase()
        if self._lasting:
            _write(self._stream, self._lasting + "\n")
            self._lasting = ""

    def _erase(self) -> None:
        if self._shown:
            self._show("")
            self._throttle.last = None

    def _show(self, text: str) -> None:
        # Spaces instead of control sequences: notebooks support only the carriage return.
        blanks = " " * (len(self._shown) - len(text))
        _write(self._stream, f"\r{text}{blanks}" + ("" if text else "\r"))
        self._shown = text


class Later:
    """A display that starts after some seconds, so that quick calls show nothing."""

    def __init__(self, shown: Display, seconds: float) -> None:
        self._display = shown
        self._lock = threading.Lock()
        self._waiting: dict[str, Any] | None = {}
        self._timer = threading.Timer(seconds, self._begin)
        self._timer.daemon = True
        self._timer.start()

    def stage(self, name: str, done: int = 0, total: int = 0, **details: Any) -> None:
        """Show the stage, or keep it until the display starts."""
        with self._lock:
            if self._waiting is None:
                self._display.stage(name, done, total, **details)
            else:
                self._waiting = {"name": name, "done": done, "total": total, **details}

    def print(self, line: str) -> None:
        """Print a permanent line at once."""
        with self._lock:
            self._display.print(line)

    def close(self) -> None:
        """Stop showing."""
        self._timer.cancel()
        with self._lock:
            self._waiting = {}
            self._display.close()

    def _begin(self) -> None:
        with self._lock:
            if self._waiting:
                self._display.stage(**self._waiting)
            self._waiting = None


class Pace:
    """Steps per second and the time left, from steps timed for at least a second.

    ``clock`` returns seconds; for a training run, without compilation.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._began: tuple[float, float] | None = None

    def begin(self, steps: float) -> None:
        """Start timing after this many steps."""
        self._began = steps, self._clock()

    def rate(self, steps: float) -> float | None:
        """Steps per second after this many steps; None before enough are timed."""
        seconds = 0.0 if self._began is None else self._clock() - self._began[1]
        if self._began is None or steps <= self._began[0] or seconds < _TIMED_SECONDS:
            return None
        return (steps - self._began[0]) / seconds

    def seconds_left(self, steps: float, total: float) -> float | None:
        """Seconds until ``total`` steps are done; None before enough steps are timed."""
        rate = self.rate(steps)
        return None if rate is None else max(total - steps, 0) / rate


def check_verbose(verbose: Any) -> None:
    """Raise :class:`OptionError` unless it is 0, 1, 2, "auto", or has a ``stage`` to call."""
    known = isinstance(verbose, str | int) and verbose in (0, 1, 2, "auto")
    if not known and not hasattr(verbose, "stage"):
        raise OptionError(
            expected='verbose as 0, 1, 2 or "auto"',
            received=f"verbose={verbose!r}",
            remedy="choose one of these",
        )


def display(verbose: str | int, stream: TextIO | None = None, *, kept: TextIO | None = None) -> Display:
    """The display of progress on ``stream``, by default standard output.

    0 shows nothing, 1 an updating line, 2 plain lines; "auto" is 1 on a terminal and in a notebook, else 2.
    ``kept``: where permanent lines go, by default ``stream``. Raises :class:`OptionError` for anything else.
    """
    check_verbose(verbose)
    chosen: TextIO | None = sys.stdout if stream is None else stream
    if verbose == 0 or chosen is None:  # a program without a console has no standard output
        return SILENT
    if is_notebook(chosen):
        return Lines(chosen, kept=kept) if verbose == 2 else UpdatingLine(chosen, kept=kept)
    if verbose == 1 or (verbose == "auto" and chosen.isatty()):
        return UpdatingLine(chosen, kept=chosen if kept is None else kept)
    return Lines(chosen, kept=kept)


@contextlib.contextmanager
def shown(verbose: Verbose, *, after: float = 0.0) -> Generator[Progress]:
    """The progress that ``verbose`` selects, for the duration of a call: a display, or the listener itself.

    ``after``: a display starts only after this many seconds.
    """
    check_verbose(verbose)
    if not isinstance(verbose, str | int):
        yield verbose
        return
    own: Any = display(verbose)
    if after and own is not SILENT:
        own = Later(own, after)
    try:
        yield own
    finally:
        own.close()


def is_notebook(stream: TextIO) -> bool:
    """Whether the stream is a Jupyter notebook's."""
    return type(stream).__module__.partition(".")[0] == "ipykernel"


def _parts(
    name: str, done: int, total: int, *, detail: str = "", seconds_left: float | None = None
) -> list[str]:
    """A stage as text, as parts; all parts but the first may be left out, from the end.

    Example:
        >>> "".join(_parts("Trial", 3, 8, detail="scale-inputs"))
        'Trial 3 of 8: scale-inputs'
        >>> "".join(_parts("Full training: epoch", 4, 30, seconds_left=12.0))
        'Full training: epoch 4 of 30, 12.0 s left'
    """
    of = f" of {total}" if total else ""
    parts = [f"{name} {done}{of}" if done else name]
    if seconds_left is not None:
        parts.append(f", {duration(seconds_left)} left")
    for number, one in enumerate(detail.split(", ") if detail else []):
        parts.append((", " if number or seconds_left is not None else ": ") + one)
    return parts


def _fitting(parts: Sequence[str], columns: int) -> str:
    """As many whole parts as fit; whole words of the first part if that is too long."""
    text = ""
    for part in parts:
        if len(text + part) > columns:
            break
        text += part
    words = parts[0]
    while not text and len(words) > columns and " " in words:
        words = words.rpartition(" ")[0]
    return text or words


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _write_lasting(stream: TextIO, line: str) -> None:
    _write(stream, "\n".join(wrapped(line, columns(stream), indent="    ")) + "\n")
