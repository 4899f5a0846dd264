"""How every command ends when something is wrong: in words on stderr, with an exit code, and no traceback."""

from __future__ import annotations

import errno
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from kilter.cli.words import printable
from kilter.errors import KilterError
from kilter.words import first_line

LONGEST: Final = 300  # of what is shown of a path
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
OUT_OF_MEMORY: Final = "RESOURCE_EXHAUSTED"  # in the text of XLA's error
UNREACHABLE: Final = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EIO,
)
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class KilterGroup(TyperGroup):
    """Turns the errors a person can mend into three lines and exit code 2, and Ctrl-C into exit code 130.

    Any other exception is a fault of kilter and keeps its traceback.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KilterError as error:
            fail(error.expected, error.received, error.remedy)
        except KeyboardInterrupt as stopped:
            typer.echo(printable(str(stopped) or "Stopped."), err=True)
            raise typer.Exit(INTERRUPTED) from None
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and OUT_OF_MEMORY not in str(error):
                raise
            fail(
                "enough memory",
                f"{type(error).__name__}: {first_line(error)}",
                "use a smaller model, smaller batches (train.batch_size) or smaller images",
            )
        except OSError as error:
            where = f" at {error.filename}" if error.filename else ""
            if error.errno in UNREACHABLE:
                fail(
                    "files and folders that can be reached",
                    f"{error.strerror}{where}"[:LONGEST],
                    "correct the path, or its permissions",
                )
            if error.errno not in FULL:
                raise
            fail(
                "room on the disk",
                f"{error.strerror}{where}",
                "free some space, or write elsewhere (--runs, --out); what was written before is whole",
            )


def fail(expected: str, received: str, remedy: str) -> NoReturn:
    """Say on stderr what is wrong in three lines, and end with exit code 2."""
    typer.echo(f"Expected:   {printable(expected)}", err=True)
    typer.echo(f"Received:   {printable(received)}", err=True)
    typer.echo(f"To mend it: {printable(remedy)}", err=True)
    raise typer.Exit(BAD_INPUT)
