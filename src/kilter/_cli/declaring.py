"""How a command is declared. Its work is in a module that loads when the command runs."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, Final

from kilter._cli.output import opened
from kilter._text import printable

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
