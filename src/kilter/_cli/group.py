"""The group of commands: its help pages, and errors as three lines on stderr with an exit code.

The help pages break lines between words; typer's own cut words in narrow terminals.
"""

import errno
import inspect
import re
import shutil
import signal
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command_from_info
from typer.models import CommandInfo

from kilter._cli.options import Command, command_name, with_options
from kilter._cli.output import say
from kilter._layout import wrapped
from kilter._system import BAD_INPUT, BY_SIGNAL, FULL_DISK
from kilter._text import cause
from kilter.errors import KilterError, RunWarning

# Errors about options and values; typer does not export the class.
_UsageError: Any = typer.BadParameter.__base__
LONGEST: Final = 300  # characters shown of a path
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

_PARSED: Final = ", unable to parse string as an integer"  # the end of pydantic's message
_TYPE: Final = re.compile(r" <[^>]*>$")  # Python's type, which typer puts beside the name of an argument
_WIDEST: Final = 80
_LEAST_TEXT: Final = 24  # with less room beside an option, its text begins below it

# Typer includes a copy of click; its classes have no public name.
_Context: Any = TyperGroup.context_class
_Formatter: Any = _Context.formatter_class


class HelpPage(_Formatter):
    """The formatter that typer writes a help page to."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.width = min(shutil.get_terminal_size().columns, _WIDEST)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The usage line."""
        start = f"{'Usage: ' if prefix is None else prefix}{prog} "
        indent = " " * (len(start) if len(start) + _LEAST_TEXT <= self.width else 4)
        self._write_lines(wrapped(start + args, self.width, indent=indent))

    def write_text(self, text: str) -> None:
        """Paragraphs, divided by empty lines."""
        indent = " " * self.current_indent
        for number, paragraph in enumerate(text.split("\n\n")):
            self._write_lines([""] if number else [])
            self._write_lines(wrapped(indent + " ".join(paragraph.split()), self.width, indent=indent))

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Options or commands with their texts next to them, or below if there is no room."""
        start = min(max(len(name) for name, _ in rows), col_max) + col_spacing
        if self.width - self.current_indent - start < _LEAST_TEXT:
            start = 2 * self.indent_increment
        margin = " " * (self.current_indent + start)
        for name, text in [(_TYPE.sub("", name), text) for name, text in rows]:
            lines = wrapped(margin + " ".join(text.split()), self.width, indent=margin)
            label = " " * self.current_indent + name
            if len(label) + col_spacing <= len(margin):
                lines[0] = label.ljust(len(margin)) + lines[0][len(margin) :]
                self._write_lines(lines)
            else:
                self._write_lines([*wrapped(label, self.width, indent=margin), *(lines if text else [])])

    def _write_lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self.write(line.rstrip() + "\n")


class HelpContext(_Context):
    """A command's context; its help is a :class:`HelpPage`."""

    formatter_class = HelpPage


class KilterGroup(TyperGroup):
    """Prints an error that a user can fix as three lines; exit code 2, 130 after Ctrl-C, 143 after SIGTERM.

    Any other exception is a bug in kilter and keeps its traceback.
    """

    context_class = HelpContext
    declared: tuple[type[Command], ...] = ()  # the commands; each is built when it is asked for

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands in order."""
        return [command_name(one) for one in self.declared]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of this name. For an unknown one all are built, so that near names can be suggested."""
        named = dict(zip(self.list_commands(ctx), self.declared, strict=True))
        for name in [cmd_name] if cmd_name in named else named:
            if name not in self.commands:
                self.commands[name] = _built(name, named[name])
        return self.commands.get(cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The list of commands with the first sentence of each one's docstring."""
        docs = [inspect.getdoc(one) or "" for one in self.declared]
        with formatter.section("Commands"):
            names = self.list_commands(ctx)
            formatter.write_dl([(name, doc.split("\n")[0]) for name, doc in zip(names, docs, strict=True)])

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _warnings_as_lines():
                return super().invoke(ctx)
        except KilterError as error:
            fail(error.expected, error.received, error.remedy)
        except _UsageError as error:
            fail(*_as_three_parts(error))
        except KeyboardInterrupt as stopped:
            with suppress(OSError):  # after SIGHUP there may be no terminal
                say(str(stopped) or "Stopped.", err=True)
            raise typer.Exit(BY_SIGNAL + getattr(stopped, "signal", signal.SIGINT)) from None
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and OUT_OF_MEMORY not in str(error):
                raise
            fail(
                "enough memory",
                cause(error),
                "use a smaller model, smaller batches (train.batch_size) or smaller images",
            )
        except OSError as error:
            where = f" at {error.filename}" if error.filename else ""
            if error.errno in UNREACHABLE:
                fail(
                    "files and folders that can be accessed",
                    f"{error.strerror}{where}"[:LONGEST],
                    "correct the path, or its permissions",
                )
            if error.errno not in FULL_DISK:
                raise
            fail(
                "room on the disk",
                f"{error.strerror}{where}",
                "free some space, or write elsewhere (--runs, --out); earlier files are intact",
            )


def _as_three_parts(error: Any) -> tuple[str, str, str]:
    """An error about options and arguments: what was expected, what was received, how to fix it."""
    command = error.ctx.command_path if error.ctx is not None else "kilter"
    remedy = f"see `{command} --help`"
    option = getattr(error, "param", None)
    if option is not None and "RUN" in (option.metavar or "").split("|"):
        from kilter.runs.reading import near_run

        remedy += near_run(Path("runs"))
    problems = getattr(error.__cause__, "errors", None)  # of pydantic's error on a value
    if problems is not None and option is not None:
        problem = problems()[0]
        expected = problem["msg"].removesuffix(_PARSED).replace("Input should be", f"{option.opts[-1]} to be")
        return expected.replace("valid integer", "whole number"), f"{problem['input']!r}", remedy
    usage = " ".join(error.ctx.get_usage().split()) if error.ctx is not None else ""
    expected = (
        usage.removeprefix("Usage: ").removesuffix(" [ARGS]...") or "options as the command's help lists them"
    )
    message = error.format_message().rstrip(".")
    return expected, message[:1].lower() + message[1:], remedy


def _built(name: str, command: type[Command]) -> Any:
    """What typer runs for ``command``; it reads the options from the signature, which takes time."""
    info = CommandInfo(name, callback=with_options(command))
    built: Any = get_command_from_info(info, pretty_exceptions_short=True, rich_markup_mode=None)
    built.context_class = HelpContext
    return built


@contextmanager
def _warnings_as_lines() -> Generator[None]:
    """Print each :class:`RunWarning` as one line on stderr, without its line of code."""
    with warnings.catch_warnings():
        shown = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **where: Any) -> None:
            if issubclass(category, RunWarning):
                say(f"Warning: {message}.", err=True)
            else:
                shown(message, category, *place, **where)

        warnings.showwarning = show
        warnings.simplefilter("always", RunWarning)
        yield


def fail(expected: str, received: str, remedy: str) -> NoReturn:
    """Print an error as three lines on stderr, and end with exit code 2."""
    for title, text in (("Expected", expected), ("Received", received), ("To fix", remedy)):
        title = f"{title}:".ljust(12)
        say(title + text, indent=" " * len(title), err=True)
    raise typer.Exit(BAD_INPUT)
