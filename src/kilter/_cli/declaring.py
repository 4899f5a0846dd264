"""How a command is declared. Its work is in a module that loads when the command runs."""

from __future__ import annotations

import functools
import glob
import importlib
import inspect
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import is_dataclass
from pathlib import PurePath
from typing import Any, Final

from kilter._cli.output import opened
from kilter._system import at_home, sibling_names
from kilter._text import did_you_mean, printable
from kilter.errors import DataError

Command = Callable[..., None]
_RUNS: Final = ("model", "run")
_READ: Final = ("source", "data", *_RUNS, "check")  # arguments that name what is read
LOADING: Final = "Loading JAX and Keras"


def done_in(module: str, stage: str = LOADING) -> Callable[[Command], Command]:
    """Let the function of the same name in ``kilter._cli.<module>`` do the command's work.

    It gets the command's arguments by name, except ``quiet``, and ``progress``, which first shows ``stage``
    formatted with the arguments.
    """

    def declared(command: Command) -> Command:
        @functools.wraps(command)
        def run(**arguments: Any) -> None:
            quiet = arguments.pop("quiet", False) or arguments.get("path_only", False)
            first = printable(stage.format_map(arguments))
            _require_files(arguments)
            with opened(first, quiet=quiet, as_json=arguments.get("as_json", False)) as progress:
                work = importlib.import_module(f"kilter._cli.{module}")
                getattr(work, command.__name__)(**arguments, progress=progress)

        return run

    return declared


def with_options(command: Command) -> Command:
    """``command`` with each field of its dataclasses as an option of its own, which typer reads."""
    signature = inspect.signature(command, eval_str=True)
    own: list[inspect.Parameter] = []
    groups: dict[str, tuple[type, list[str]]] = {}
    for name, parameter in signature.parameters.items():
        if is_dataclass(group := parameter.annotation) and isinstance(group, type):
            fields = inspect.signature(group, eval_str=True).parameters
            groups[name] = group, list(fields)
            own += fields.values()
        else:
            own.append(parameter)

    @functools.wraps(command)
    def run(**arguments: Any) -> None:
        for name, (group, fields) in groups.items():
            arguments[name] = group(**{field: arguments.pop(field) for field in fields})
        command(**arguments)

    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
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
