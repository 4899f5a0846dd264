"""Help pages that break lines between words; typer's own cut words in narrow terminals."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any, Final

from typer.core import TyperGroup

from kilter._layout import wrapped

_WIDEST: Final = 80
_LEAST_TEXT: Final = 24  # with less room beside an option, its text begins below it

# Typer carries a copy of click, whose classes have no public name.
_Context: Any = TyperGroup.context_class
_Formatter: Any = _Context.formatter_class


class HelpPage(_Formatter):
    """What typer writes a help page into."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.width = min(shutil.get_terminal_size().columns, _WIDEST)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The line that says how the command is called."""
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
        """Options or commands with their texts beside them, or below if there is no room."""
        start = min(max(len(name) for name, _ in rows), col_max) + col_spacing
        if self.width - self.current_indent - start < _LEAST_TEXT:
            start = 2 * self.indent_increment
        margin = " " * (self.current_indent + start)
        for name, text in rows:
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
    """A command's context, whose help is a :class:`HelpPage`."""

    formatter_class = HelpPage
