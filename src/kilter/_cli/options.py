"""How a command is declared, and the arguments and options that several commands share."""

import glob
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, is_dataclass
from pathlib import Path, PurePath
from typing import Annotated, Any, ClassVar, Final

import typer

from kilter._cli.output import opened
from kilter._system import at_home, ended_at_once_by_signals, sibling_names
from kilter._text import did_you_mean, printable
from kilter.errors import DataError, OptionError


def option(name: str, metavar: str, explanation: str, **limits: Any) -> Any:
    """An option ``--name METAVAR`` for typer."""
    return typer.Option(name, metavar=metavar, help=explanation, **limits)


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
    Path | None, option("--model", "FILE.KERAS", "A compiled model saved by Keras, to use with the data.")
]
TrueValues = Annotated[str | None, option("--target", "COLUMN", "The column with the true values, if any.")]
Epochs = Annotated[int | None, option("--epochs", "N", "Maximum number of epochs.")]
Devices = Annotated[
    str | None, option("--devices", "all|N", "Devices (GPUs) to use; each gets a share of every batch.")
]
Parent = Annotated[Path, option("--runs", "DIR", "Parent folder of the run directory.")]
Name = Annotated[str | None, option("--name", "NAME", "Name of the run.")]
AllowCode = Annotated[
    bool, typer.Option("--allow-code", help="Allow code in model files whose author you trust.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress.")]
PathOnly = Annotated[bool, typer.Option("--quiet", help="Print only the run directory.")]
Metric = Annotated[
    str | None,
    option("--metric", "NAME", "Measure to compare by, such as roc_auc; default: depends on the data."),
]
Seed = Annotated[int | None, option("--seed", "N", "Seed for weights, shuffling, dropout and splits.")]


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are used, and how."""

    target: Annotated[
        str | None, option("--target", "COLUMN", "The column to predict, if the data is a table.")
    ] = None
    ignore: Annotated[
        list[str] | None, option("--ignore", "COLUMN", "Do not use this column; repeatable.")
    ] = None
    only: Annotated[list[str] | None, option("--only", "COLUMN", "Use only this column; repeatable.")] = None
    kinds: Annotated[
        list[str] | None,
        option("--as", "COLUMN=KIND", "Type: number, category, date, text or ignore; repeatable."),
    ] = None
    missing: Annotated[
        list[str] | None,
        option("--missing", "[COLUMN=]ENTRY", "Entry that means missing, such as -999; repeatable."),
    ] = None

    @property
    def types(self) -> dict[str, str]:
        """The type of each column named by --as."""
        return dict(_column_and_kind(text) for text in self.kinds or ())


@dataclass(frozen=True)
class Overrides(Columns):
    """The options that override keys of a recipe."""

    settings: Annotated[
        list[str] | None, option("--set", "SECTION.KEY=VALUE", "Override a recipe key; repeatable.")
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
        int | None, option("--pairs", "N", "Runs per recipe; default 6, or more if needed.", max=10_000)
    ] = None
    metric: Metric = None
    seed: Annotated[
        int | None,
        option("--seed", "N", "Seed of the split and the first pair, or of all trials; default 0."),
    ] = None
    out: Annotated[Path | None, option("--out", "DIR", "Folder for the runs; finished ones are reused.")] = (
        None
    )
    workers: Annotated[int | None, option("--workers", "N", "Parallel processes; default: one per core.")] = (
        None
    )
    ray: Annotated[str | None, option("--ray", "ADDRESS", "Train on the nodes of this Ray cluster.")] = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of :func:`kilter.compare`."""
        return vars(self) | {"seed": self.seed or 0}


@dataclass(frozen=True)
class Search:
    """Values to search for the best, and how."""

    over: Annotated[
        list[str] | None,
        option(
            "--over",
            "SECTION.KEY=VALUES",
            "Values, or { low = 1e-4, high = 0.1, log = true }, to search for the best.",
        ),
    ] = None
    trials: Annotated[
        int | None, option("--trials", "N", "With --over: how many to try; default 20, or a whole grid.")
    ] = None
    sampler: Annotated[
        str | None, option("--sampler", "grid|random|tpe", "With --over: what to try next.")
    ] = None


@dataclass(frozen=True)
class Distribution:
    """The processes of a distributed training."""

    coordinator: Annotated[
        str | None,
        option("--coordinator", "HOST:PORT|auto", "Distributed training: address of process 0, or auto."),
    ] = None
    processes: Annotated[
        int | None, option("--processes", "N", "Number of processes that train together.", min=1)
    ] = None
    rank: Annotated[int | None, option("--rank", "R", "Rank of this process, from 0.", min=0)] = None


def _toml(value: Any) -> str:
    """Text or a list of texts, which JSON and TOML write alike."""
    return json.dumps(value, ensure_ascii=False)


def _column_and_kind(text: str) -> tuple[str, str]:
    column, equals, kind = text.rpartition("=")
    if not equals or not column:
        raise OptionError(
            expected="--as COLUMN=KIND", received=f"--as {text}", remedy="write for example --as zip=category"
        )
    return column, kind


def devices_from(text: str | None) -> int | str | None:
    """The value of --devices: a number, or the text, which the engine checks."""
    return int(text) if text is not None and text.isdecimal() else text


_RUNS: Final = ("model", "run")
_READ: Final = ("source", "data", *_RUNS, "check")  # arguments that name what is read
LOADING: Final = "Loading JAX and Keras"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command: its fields are its arguments and options, those of a field that is a dataclass too.

    The function of its name in ``kilter._cli.<module>`` does the work. It gets the command, and the progress,
    which first shows ``stage`` formatted with the arguments; nothing if that is "".
    """

    module: ClassVar[str]
    stage: ClassVar[str] = LOADING

    def execute(self) -> None:
        """Do the command's work."""
        arguments = vars(self)
        quiet = not self.stage or arguments.get("quiet", False) or arguments.get("path_only", False)
        _require_files(arguments)
        first = printable(self.stage.format_map(arguments))
        with opened(first, quiet=quiet, as_json=arguments.get("as_json", False)) as progress:
            with ended_at_once_by_signals():
                work = importlib.import_module(f"kilter._cli.{self.module}")
            getattr(work, command_name(type(self)).replace("-", "_"))(self, progress)


def command_name(command: type[Command]) -> str:
    """The name that users type, such as "find-lr" for ``FindLr``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", command.__name__).lower()


def with_options(command: type[Command]) -> Callable[..., None]:
    """A function with each field of a command as an option, which typer reads."""
    signature = inspect.signature(command, eval_str=True)
    own: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    # Those that it inherits are listed last.
    parameters = sorted(signature.parameters.items(), key=lambda one: one[0] not in command.__annotations__)
    for name, parameter in parameters:
        if is_dataclass(group := parameter.annotation) and isinstance(group, type):
            fields = inspect.signature(group, eval_str=True).parameters
            groups[name] = group, list(fields)
            own += fields.values()
        else:
            own.append(parameter)

    def run(**arguments: Any) -> None:
        for name, (group, fields) in groups.items():
            arguments[name] = group(**{field: arguments.pop(field) for field in fields})
        command(**arguments).execute()

    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    run.__doc__ = command.__doc__
    run.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    return run


def _require_files(arguments: dict[str, Any]) -> None:
    """Raise DataError for files and folders that do not exist, before JAX is loaded for them."""
    given = [(name, arguments.get(name)) for name in _READ]
    for name, one in [*given, *(("recipes", one) for one in arguments.get("recipes") or ())]:
        if one is None or (isinstance(one, str) and not _names_a_file(one)):
            continue
        path = at_home(one)
        with suppress(ValueError):  # a zero byte
            if os.path.lexists(path):
                continue
        remedy = did_you_mean(path.name, sibling_names(path), "check the name")
        if name in _RUNS and remedy == "check the name":
            remedy += importlib.import_module("kilter.runs.reading").near_run(path)
        raise DataError(
            expected="a run directory or a model" if name in _RUNS else "a file or folder that exists",
            received=f"{printable(str(one))}, which does not exist",
            remedy=remedy,
        )


def _names_a_file(text: str) -> bool:
    """Whether a text can only be a path, not the name of a data set or network, a URL or a pattern."""
    if text.startswith("sqlite:") or "://" in text or glob.has_magic(text):
        return False
    return os.sep in text or PurePath(text).suffix != ""
