"""How every command ends when something is wrong: in words on stderr, with an exit code, and no traceback."""

from __future__ import annotations

import errno
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from kilter.cli.help_pages import HelpContext
from kilter.cli.output import say
from kilter.errors import KilterError

# An option that does not exist, a value that is none: typer keeps the class to itself.
_UsageError: Any = typer.BadParameter.__base__
BAD_INPUT: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class KilterGroup(TyperGroup):
    """Turns the errors a person can mend into three lines and exit code 2, and Ctrl-C into exit code 130.

    Any other exception is a fault of kilter and keeps its traceback. Help pages fit the terminal.
    """

    context_class = HelpContext

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name, whose help fits the terminal too."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            command.context_class = HelpContext
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands, with the whole first sentence of what each does."""
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=1000)) for name, command in named])

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KilterError as error:
            fail(error.expected, error.received, error.remedy)
        except _UsageError as error:
            if error.ctx is not None:
                typer.echo(error.ctx.get_usage(), err=True)
                say(f"Try '{error.ctx.command_path} --help' for help.", err=True)
            say(f"Error: {error.format_message()}", err=True)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt as stopped:
            say(str(stopped) or "Stopped.", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            where = f" at {error.filename}" if error.filename else ""
            fail(
                "room on the disk",
                f"{error.strerror}{where}",
                "free some space, or write elsewhere (--runs, --out); what was written before is whole",
            )


def fail(expected: str, received: str, remedy: str) -> NoReturn:
    """Say on stderr what is wrong in three lines, and end with exit code 2."""
    for title, text in (("Expected", expected), ("Received", received), ("To mend it", remedy)):
        title = f"{title}:".ljust(12)
        say(title + text, indent=" " * len(title), err=True)
    raise typer.Exit(BAD_INPUT)
