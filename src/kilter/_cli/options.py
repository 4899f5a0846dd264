"""The arguments and options that several commands share.

A command whose parameter is one of the dataclasses here has each field as an option.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from kilter.errors import OptionError

Source = Annotated[
    str,
    typer.Argument(metavar="RECIPE.TOML|DATA", help="A recipe, or data: a file, folder or named data set."),
]
SourceOrScript = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE.TOML|DATA|SCRIPT.PY",
        help="A recipe, data, or your script, which runs up to its first training.",
    ),
]
ScriptArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[-- ARGUMENTS]", help="Arguments of your script.", show_default=False),
]
Data = Annotated[str, typer.Argument(metavar="DATA", help="A file, a folder or a named data set.")]
RunsFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The folder of run directories.")]
ReuseData = Annotated[
    str,
    typer.Argument(metavar="DATA|RECIPE.TOML", help="Training data, or a recipe (its model is replaced)."),
]
Run = Annotated[Path, typer.Argument(metavar="RUN", help="A run directory.")]
Model = Annotated[
    Path, typer.Argument(metavar="RUN|MODEL.KERAS", help="A run directory, or a model saved by Keras.")
]
SavedModel = Annotated[
    Path | None,
    typer.Option("--model", metavar="FILE.KERAS", help="A compiled model saved by Keras, for the data."),
]
TrueValues = Annotated[
    str | None, typer.Option("--target", metavar="COLUMN", help="The column with the true values, if any.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", metavar="N", help="Maximum number of epochs.")]
Devices = Annotated[
    str | None,
    typer.Option(
        "--devices", metavar="all|N", help="Devices (GPUs) to use; each gets a share of every batch."
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Parent folder of the run directory.")]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the run.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Allow code in model files whose author you trust.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress.")]
PathOnly = Annotated[bool, typer.Option("--quiet", help="Print only the run directory.")]
Metric = Annotated[
    str | None,
    typer.Option(
        "--metric",
        metavar="NAME",
        help="Measure to compare by, such as roc_auc; default: depends on the data.",
    ),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="Seed for weights, shuffling, dropout and splits.")
]


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are used, and how."""

    target: Annotated[
        str | None,
        typer.Option("--target", metavar="COLUMN", help="The column to predict, if the data is a table."),
    ] = None
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="COLUMN", help="Do not use this column; repeatable."),
    ] = None
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="COLUMN", help="Use only this column; repeatable."),
    ] = None
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--as", metavar="COLUMN=KIND", help="Type: number, category, date, text or ignore; repeatable."
        ),
    ] = None
    missing: Annotated[
        list[str] | None,
        typer.Option(
            "--missing", metavar="[COLUMN=]ENTRY", help="Entry that means missing, such as -999; repeatable."
        ),
    ] = None

    @property
    def types(self) -> dict[str, str]:
        """The type of each column named by --as."""
        return dict(_column_and_kind(text) for text in self.kinds or ())


@dataclass(frozen=True)
class Overrides(Columns):
    """The options that override keys of a recipe."""

    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override a recipe key; repeatable."),
    ] = None

    @property
    def all(self) -> list[str]:
        """All of them as --set writes them; an option of its own wins over --set."""
        written = {
            name: _toml(value)
            for name in ("target", "ignore", "only", "missing")
            if (value := getattr(self, name))
        }
        if types := self.types:  # as one table: a column's name may contain dots
            pairs = ", ".join(f"{_toml(name)} = {_toml(kind)}" for name, kind in types.items())
            written["as"] = f"{{{pairs}}}"
        return [*(self.settings or ()), *(f"data.{key}={value}" for key, value in written.items())]

    def given(self, *, but: Sequence[str] = ()) -> list[str]:
        """The options that are set, by the names that users write, except the fields ``but``."""
        names = {"settings": "--set", "kinds": "--as"}
        return [
            names.get(name, f"--{name}") for name, value in vars(self).items() if value and name not in but
        ]


@dataclass(frozen=True)
class Pairing:
    """How candidates are compared, and on what machines."""

    pairs: Annotated[
        int | None,
        typer.Option(
            "--pairs", metavar="N", max=10_000, help="Runs per recipe; default 6, or more if needed."
        ),
    ] = None
    metric: Metric = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Seed of the first pair and of the split, or of all trials; default 0.",
        ),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Folder for the runs; finished ones are reused."),
    ] = None
    workers: Annotated[
        int | None, typer.Option("--workers", metavar="N", help="Parallel processes; default: one per core.")
    ] = None
    ray: Annotated[
        str | None, typer.Option("--ray", metavar="ADDRESS", help="Train on the nodes of this Ray cluster.")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of :func:`kilter.compare`."""
        return vars(self) | {"seed": self.seed or 0}


@dataclass(frozen=True)
class Search:
    """Values to search for the best, and how."""

    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="SECTION.KEY=VALUES",
            help="Values, or { low = 1e-4, high = 0.1, log = true }, to search for the best.",
        ),
    ] = None
    trials: Annotated[
        int | None,
        typer.Option(
            "--trials", metavar="N", help="With --over: how many to try; default 20, or a whole grid."
        ),
    ] = None
    sampler: Annotated[
        str | None,
        typer.Option("--sampler", metavar="grid|random|tpe", help="With --over: what to try next."),
    ] = None


@dataclass(frozen=True)
class Distribution:
    """The processes of a distributed training."""

    coordinator: Annotated[
        str | None,
        typer.Option(
            "--coordinator",
            metavar="HOST:PORT|auto",
            help="Distributed training: address of process 0, or auto.",
        ),
    ] = None
    processes: Annotated[
        int | None,
        typer.Option("--processes", metavar="N", min=1, help="Number of processes that train together."),
    ] = None
    rank: Annotated[
        int | None, typer.Option("--rank", metavar="R", min=0, help="Rank of this process, from 0.")
    ] = None


def _toml(value: Any) -> str:
    """Text or a list of texts, which JSON and TOML write alike."""
    return json.dumps(value, ensure_ascii=False)


def _column_and_kind(text: str) -> tuple[str, str]:
    column, equals, kind = text.rpartition("=")
    if not equals or not column:
        raise OptionError(
            expected="--as COLUMN=KIND",
            received=f"--as {text}",
            remedy="write for example --as zip=category",
        )
    return column, kind


def devices_from(text: str | None) -> int | str | None:
    """The value of --devices: a number, or the text, which the engine checks."""
    return int(text) if text is not None and text.isdecimal() else text
