"""What a comparison leaves behind: tables as Markdown, every figure as JSON, pictures as HTML."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as graph_objects
from rich.console import Console
from rich.table import Table as RichTable

from bench.machine import describe
from bench.peers import HERE

RESULTS = HERE / "results"
HTML = '<!doctype html><meta charset="utf-8">\n'


@dataclasses.dataclass(frozen=True)
class Table:
    """A heading, a row of column names, rows of text, and sentences that stand below."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def show(self) -> None:
        """Print it on the terminal."""
        table = RichTable(*self.header, title=self.title, title_justify="left")
        for row in self.rows:
            table.add_row(*row)
        console = Console()
        console.print(table)
        for note in self.notes:
            console.print(note, highlight=False)

    def markdown(self) -> str:
        """The table as Markdown: the first column to the left, the others to the right.

        Example:
            >>> print(Table("Times", ("what", "s"), (("a", "1"),)).markdown())
            ## Times
            <BLANKLINE>
            | what | s |
            | --- | ---: |
            | a | 1 |
        """
        rule = ("---", *["---:"] * (len(self.header) - 1))
        lines = [f"| {' | '.join(cells)} |" for cells in (self.header, rule, *self.rows)]
        return "\n\n".join([f"## {self.title}", "\n".join(lines), *self.notes])


@dataclasses.dataclass(frozen=True)
class Page:
    """One run of a benchmark; ``figures`` is everything measured, as plain JSON types.

    A ``quick`` run shows that everything works; its files are named so, and say so.
    """

    name: str
    title: str
    introduction: str
    tables: Sequence[Table]
    figures: Mapping[str, Any]
    pictures: Mapping[str, graph_objects.Figure] = dataclasses.field(default_factory=dict)
    quick: bool = False

    def write(self, folder: Path = RESULTS) -> Path:
        """Write ``<date>-<name>`` as .md and .json, and -<picture>.html; returns the Markdown's path.

        Each file is written beside its place and then put there; one of the same day is replaced.
        """
        folder.mkdir(parents=True, exist_ok=True)
        stem = f"{datetime.date.today()}-{self.name}{'-quick' if self.quick else ''}"
        texts = {f"{stem}.json": self._json(), f"{stem}.md": self._markdown(stem)}
        for name, picture in self.pictures.items():
            drawn = picture.to_html(include_plotlyjs="cdn", full_html=False, default_height="100vh")
            texts[f"{stem}-{name}.html"] = HTML + drawn
        for name, text in texts.items():
            part = folder / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            os.replace(part, folder / name)
        return folder / f"{stem}.md"

    def _markdown(self, stem: str) -> str:
        machine = describe()
        head = [
            f"# {self.title}, {datetime.date.today()}"
            + (" (quick: no figure to quote)" if self.quick else ""),
            self.introduction,
            f"Machine: {machine.processor}, {machine.cores} cores, {machine.memory_bytes / 2**30:.0f} GiB, "
            f"{machine.system} ({', '.join(machine.flags)}); Python {machine.python}, {_versions()}. "
            f"Command: `{_command()}`.",
        ]
        pictures = [f"Picture: [{name}]({stem}-{name}.html)" for name in self.pictures]
        return "\n\n".join([*head, *(table.markdown() for table in self.tables), *pictures]) + "\n"

    def _json(self) -> str:
        record = {
            "date": str(datetime.date.today()),
            "command": _command(),
            "machine": dataclasses.asdict(describe()),
            "versions": _versions(),
            "quick": self.quick,
            "figures": self.figures,
        }
        return json.dumps(record, indent=1) + "\n"


def options_of(description: str, names: Collection[str]) -> argparse.Namespace:
    """The command line of a benchmark with parts: which one, how much, and where the page goes."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--only", choices=names, help="one of them (default: all)")
    parser.add_argument("--quick", action="store_true", help="few rows: does it run? No figures to quote")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for what is kept")
    return parser.parse_args()


def between(values: Sequence[float], form: str = ".2f") -> str:
    """The smallest and the largest value as text.

    Example:
        >>> between([3.0, 1.0, 2.0], ".1f")
        '1.0–3.0'
    """
    return f"{min(values):{form}}–{max(values):{form}}"


def _command() -> str:
    return shlex.join(("benchmarks/" + Path(sys.argv[0]).name, *sys.argv[1:]))


def _versions() -> str:
    names = ("kilter", "keras", "jax", "jaxlib", "numpy")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
