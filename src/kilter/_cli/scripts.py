"""``kilter diagnose`` and ``kilter treat`` on a user's script, which runs in a separate process."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import typer

from kilter._cli.commands import Diagnose, Treat
from kilter._cli.options import command_name
from kilter._cli.output import say
from kilter._progress import SILENT, Display
from kilter._records import Diagnosis, Evidence, Finding
from kilter._text import printable
from kilter.errors import OptionError, RunError

SUFFIX: Final = ".py"


def run_script(asked: Diagnose | Treat, progress: Display, **options: Any) -> dict[str, Any] | None:
    """The diagnosis or treatment of the first model that a script trains, as JSON; None without a script.

    It has the ``lines`` of the layers, and after a treatment the ``diff`` of the script. Raises
    :class:`OptionError` for options that are for recipes and data, or for arguments without a script.
    """
    if not asked.source.endswith(SUFFIX):
        if asked.arguments:
            raise OptionError(
                expected="one recipe, data set or script",
                received=", ".join([asked.source, *asked.arguments]),
                remedy="pass them one by one; only a script takes arguments: "
                "kilter treat train.py -- --epochs 5",
            )
        return None
    if given := [*asked.overrides.given(), *(["--model"] if asked.model else [])]:
        raise OptionError(
            expected=f"{asked.source} without options for recipes and data",
            received=", ".join(given),
            remedy="leave them out: the script says what is trained, and on what",
        )
    options |= {"what": command_name(type(asked)), "epochs": asked.epochs}
    return _run(asked.source, {**options, "arguments": asked.arguments or []}, progress)


def show_changes(found: Mapping[str, Any], source: str, out: Path) -> None:
    """The diff of the script, the changes that it cannot express, and where the results are."""
    if found["diff"]:
        typer.echo(found["diff"], nl=False)
        say()
        say(f"to apply it: patch {source} {out / 'script.diff'}")
    for one in found["not_in_diff"]:
        say(f"not in the diff: {one['remedy']}")
        for line in one["snippet"].splitlines():
            typer.echo(f"    {printable(line)}")
    say(f"model: {found['model']}")
    say(f"report: {found['report']}")


def _run(source: str, options: dict[str, Any], progress: Display) -> dict[str, Any]:
    """What the process with the script found. Raises :class:`RunError` if it failed."""
    script = Path(source).resolve()
    if not script.is_file():
        raise RunError(expected="a script that exists", received=source, remedy="check the path")
    progress.close()
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        given = {**options, "script": str(script), "result": str(result), "quiet": progress is SILENT}
        command = [sys.executable, "-m", "kilter._cli.script_child", json.dumps(given)]
        # A window with a plot of the data would wait for someone to close it.
        setting = {"KERAS_BACKEND": "jax", "MPLBACKEND": "agg"}
        ended = subprocess.run(command, check=False, env={**os.environ, **setting})
        if not result.exists() and ended.returncode == 1:
            raise RunError(
                expected=f"a result from {source}",
                received="an error inside kilter, whose traceback is above",
                remedy="please report it with the traceback",
            )
        if not result.exists():
            raise RunError(
                expected=f"a result from {source}",
                received="its process ended without a result",
                remedy="run it with Python first; it may have ended the process or used too much memory",
            )
        found = json.loads(result.read_text(encoding="utf-8"))
    if "error" in found:
        raise RunError(**found["error"])
    return found


def diagnosis_of(found: Mapping[str, Any]) -> Diagnosis:
    """The findings of a result."""
    listed = []
    for one in found["findings"]:
        evidence = tuple(Evidence(**each) for each in one["evidence"])
        fixed = {name: tuple(one[name]) for name in ("where", "remedies")}
        listed.append(Finding(**{**one, **fixed, "evidence": evidence}))
    return Diagnosis(tuple(listed), tuple(found["unchecked"]))


def places_of(found: Mapping[str, Any], source: str) -> dict[str, str]:
    """For each code of a finding about layers, the lines of the script that make them, as text."""
    findings, lines = found.get("diagnosis", found)["findings"], found["lines"]
    places = {}
    for one in findings:
        names = [place.partition("#")[0].rpartition("/")[2] for place in one["where"]]
        if numbers := sorted({lines[name] for name in names if name in lines}):
            places[one["code"]] = (
                f" ({source}, line{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))})"
            )
    return places
