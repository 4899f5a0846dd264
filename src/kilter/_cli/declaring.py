"""How a command is declared. Its work is in a module that loads when the command runs."""

from __future__ import annotations

import functools
import glob
import importlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, Final

from kilter._cli.output import opened
from kilter._system import at_home
from kilter._text import did_you_mean, printable
from kilter.errors import DataError, OptionError

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
                if "kinds" in arguments:
                    _choose_columns(arguments)
                work = importlib.import_module(f"kilter._cli.{module}")
                getattr(work, command.__name__)(**arguments, progress=progress)

        return run

    return declared


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
        remedy = did_you_mean(path.name, _names_beside(path), "check the name")
        if name in _RUNS and remedy == "check the name":
            remedy += importlib.import_module("kilter.runs.reading").near_run(path)
        raise DataError(
            expected="a run directory or a model" if name in _RUNS else "a file or folder that exists",
            received=f"{path}, which does not exist",
            remedy=remedy,
        )


def _names_a_file(text: str) -> bool:
    """Whether a text can only be a path: other ones may be names of data or networks, or patterns."""
    if text.startswith("sqlite:") or glob.has_magic(text):
        return False
    return os.sep in text or PurePath(text).suffix != ""


def _names_beside(path: Path) -> list[str]:
    with suppress(OSError, ValueError):
        return sorted(entry.name for entry in path.parent.iterdir())
    return []


def _choose_columns(arguments: dict[str, Any]) -> None:
    """Turn --ignore, --only, --as and --missing into settings of the recipe, or for ``data`` of load().

    ``only_target`` is --target of a command whose work takes it from the recipe alone.
    """
    chosen = {name: arguments.pop(name) or [] for name in ("ignore", "only", "kinds", "missing")}
    named = dict(_column_and_kind(text) for text in chosen["kinds"])
    if "settings" not in arguments:
        arguments["columns"] = {**chosen, "kinds": named}
        return
    written = {key: _toml(chosen[key]) for key in ("ignore", "only", "missing") if chosen[key]}
    if named:  # as one table: a column's name may contain dots
        written["as"] = f"{{{', '.join(f'{_toml(name)} = {_toml(kind)}' for name, kind in named.items())}}}"
    if (target := arguments.pop("only_target", None)) is not None:
        written["target"] = _toml(target)
    given = [f"data.{key}={value}" for key, value in written.items()]
    arguments["settings"] = [*given, *(arguments["settings"] or ())]


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
