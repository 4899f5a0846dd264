"""Signals that ask a process to end, apart from Ctrl-C."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn

# Closing the terminal sends SIGHUP, which Windows does not have.
STOPPING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
BY_SIGNAL = (
    128  # the exit code after a signal is this plus its number, as in shells: 130 for Ctrl-C, 143 for SIGTERM
)


def leave(number: int, frame: FrameType | None) -> NoReturn:
    """The command line's handler of :data:`STOPPING`: clean up and end with the signal's exit code."""
    raise SystemExit(BY_SIGNAL + number)
