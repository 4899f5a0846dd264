"""``kilter``: the entry point, and the list of commands."""

import io
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from kilter import __version__
from kilter._cli import commands
from kilter._cli.group import KilterGroup
from kilter._system import BY_SIGNAL, STOPPING, leave

_PAUSE_SECONDS: Final = 0.05  # until whatever dropped an exception has returned


class Commands(KilterGroup):
    """All commands, in the order of the help page."""

    declared = (
        commands.Train,
        commands.Transfer,
        commands.FindLr,
        commands.Diagnose,
        commands.Treat,
        commands.Schedule,
        commands.Resume,
        commands.Replay,
        commands.Evaluate,
        commands.Predict,
        commands.FoldBn,
        commands.Pretrain,
        commands.Compare,
        commands.Sweep,
        commands.Runs,
        commands.Report,
        commands.Data,
    )


app = typer.Typer(
    name="kilter",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: loading rich for its boxes would double the time it takes
    pretty_exceptions_enable=False,
    help="Deep networks that train, and the proof of why.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"kilter {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The entry point of the ``kilter`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals without × or σ
    for number in STOPPING:
        if signal.getsignal(number) is signal.SIG_DFL:  # not under nohup
            signal.signal(number, leave)
    sys.unraisablehook = _send_again
    try:
        app()
    except SystemExit as ended:
        _leave_at_once(ended.code)
        raise


def _send_again(lost: Any) -> None:
    """Repeat a signal whose exception Python dropped, as it does in destructors and in callbacks of its
    garbage collector (JAX has one), where a busy process spends much of its time.
    """
    error = lost.exc_value
    number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else 0
    if isinstance(error, SystemExit) and isinstance(error.code, int):
        number = max(0, error.code - BY_SIGNAL)
    if not number:
        sys.__unraisablehook__(lost)
        return
    again = threading.Timer(_PAUSE_SECONDS, signal.raise_signal, (number,))
    again.daemon = True
    again.start()


def _leave_at_once(code: int | str | None) -> None:
    """End the process after a signal without waiting for threads, such as one that is compiling."""
    if isinstance(code, int) and code > BY_SIGNAL and threading.active_count() > 1:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(code)
