"""The process in which a user's script runs up to its first training, where it is diagnosed or treated.

Started by :mod:`kilter._cli.scripts` with one argument, the options as JSON; the result goes to a file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from kilter import _backend  # noqa: F401  (chooses JAX before the script loads Keras)
from kilter._cli.script_calls import Sites, Training, first_training, held_out
from kilter._cli.script_changes import rewritten
from kilter._cli.script_edits import Script
from kilter._diagnosis.diagnose import diagnose
from kilter._progress import SILENT, display
from kilter._treatment.treat import treat
from kilter.errors import KilterError
from kilter.report import write_treatment
from kilter.runs.trained import write_model


def main() -> None:
    """Run the script of the options, and write the result, or the error, to their ``result`` file."""
    options = json.loads(sys.argv[1])
    os.dup2(2, 1)  # what the script prints must not mix with the result
    script = Path(options["script"])
    sites = Sites(script)
    try:
        found = _worked(options, script, sites)
    except KilterError as problem:
        found = {"error": {key: getattr(problem, key) for key in ("expected", "received", "remedy")}}
    except Exception:  # noqa: BLE001  (the script's own code may raise anything)
        traceback.print_exc()
        last = traceback.format_exc().strip().splitlines()[-1]
        found = {"error": {"expected": f"a script that runs: {script}", "received": last,
                           "remedy": "run it with Python first; its traceback is above"}}  # fmt: skip
    Path(options["result"]).write_text(json.dumps(found), encoding="utf-8")


def _worked(options: dict[str, Any], script: Path, sites: Sites) -> dict[str, Any]:
    training = first_training(script, sites)
    shown = SILENT if options["quiet"] else display("auto", sys.stderr, kept=sys.stderr)
    with contextlib.closing(shown) as progress:
        if options["what"] == "diagnose":
            return _diagnosed(options, training, sites, progress)
        return _treated(options, script, training, sites, progress)


def _diagnosed(options: dict[str, Any], training: Training, sites: Sites, progress: Any) -> dict[str, Any]:
    given = dict(training.options)
    if options["epochs"] is not None:
        given["epochs"] = options["epochs"]
    found = diagnose(
        training.model, training.x, training.y, **given, steps=options["steps"], verbose=progress
    )
    return {**found.to_json(), "lines": _lines(training, sites), "fit": training.line}


def _lines(training: Training, sites: Sites) -> dict[str, int]:
    """The line of the script on which each layer is made."""
    places = {one.name: sites.of(one) for one in training.model._flatten_layers(include_self=False)}
    return {name: place[0] for name, place in places.items() if place is not None}


def _treated(
    options: dict[str, Any], script: Path, training: Training, sites: Sites, progress: Any
) -> dict[str, Any]:
    training, out = held_out(training), Path(options["out"])
    given = {"epochs": 1, **training.options}
    if options["epochs"] is not None:
        given["epochs"] = options["epochs"]
    result = treat(training.model, training.x, training.y, **given, keep=options["keep"], verbose=progress)
    source = Script(script.read_text(encoding="utf-8"))
    left = rewritten(source, training, result, sites)
    diff = source.diff(script.name)
    out.mkdir(parents=True, exist_ok=True)
    write_model(result.model, out / "model.keras")
    (out / "script.diff").write_text(diff, encoding="utf-8")
    page = write_treatment(result, out / "report.html")
    unsaid = [{"remedy": one.remedy, "snippet": one.snippet} for one in result.changes if one.remedy in left]
    return {
        **result.to_json(),
        "summary": result.summary(width=10_000),
        "diff": diff,
        "not_in_diff": unsaid,
        "report": str(page),
        "model": str(out / "model.keras"),
        "lines": _lines(training, sites),
    }


if __name__ == "__main__":
    main()
