"""How a command is declared. Its work is in a module that loads when the command runs."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable
from typing import Any, Final

from kilter._cli.output import opened
from kilter._text import printable
from kilter.errors import OptionError

Command = Callable[..., None]
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
            with opened(first, quiet=quiet, as_json=arguments.get("as_json", False)) as progress:
                if "kinds" in arguments:
                    _choose_columns(arguments)
                work = importlib.import_module(f"kilter._cli.{module}")
                getattr(work, command.__name__)(**arguments, progress=progress)

        return run

    return declared


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
