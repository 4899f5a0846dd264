"""The process in which a user's script runs up to its first training, where it is diagnosed or treated.

Started by :mod:`kilter._cli.scripts` with one argument, the options as JSON; the result goes to a file.
"""

import contextlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from kilter import _backend as _backend  # chooses JAX before the script loads Keras
from kilter._cli.script_calls import Sites, Training, first_training, held_out
from kilter._cli.script_changes import rewritten
from kilter._cli.script_edits import Script
from kilter._diagnosis.diagnose import diagnose
from kilter._models.copying import FOREIGN_ERRORS
from kilter._progress import SILENT, display
from kilter._treatment.treat import treat
from kilter.errors import KilterError, RunError
from kilter.report import write_treatment
from kilter.runs.trained import write_model

_OTHER_BACKENDS: Final = ("tensorflow", "torch")


def main() -> None:
    """Run the script of the options, and write the result, or the error, to their ``result`` file."""
    options = json.loads(sys.argv[1])
    os.dup2(2, 1)  # what the script prints must not mix with the result
    script = Path(options["script"])
    sites = Sites(script)
    try:
        found = _worked(options, training_of(script, sites, options["arguments"]), script, sites)
    except KilterError as problem:
        found = {"error": {key: getattr(problem, key) for key in ("expected", "received", "remedy")}}
    Path(options["result"]).write_text(json.dumps(found), encoding="utf-8")


def training_of(script: Path, sites: Sites, arguments: Sequence[str] = ()) -> Training:
    """The first training of the script; :class:`RunError`, below the script's own traceback, if it fails."""
    try:
        return first_training(script, sites, arguments)
    except KilterError:
        raise
    except Exception as error:  # noqa: BLE001  (the script may raise anything)
        _print_from(error, str(script))
        remedy = "run it with Python first; its traceback is above"
        if isinstance(error, ModuleNotFoundError) and error.name in _OTHER_BACKENDS:
            remedy = (
                "kilter runs Keras 3 on JAX: replace `from tensorflow import keras` with `import keras`; "
                f"if the script itself needs {error.name}, install it"
            )
        received = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        raise RunError(
            expected=f"a script that runs without an error: {script}", received=received, remedy=remedy
        ) from None


def _print_from(error: Exception, script: str) -> None:
    """Print the traceback from the script's first frame on, without kilter's own frames."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename != script:
        place = place.tb_next
    traceback.print_exception(error.with_traceback(place))


def _worked(options: dict[str, Any], training: Training, script: Path, sites: Sites) -> dict[str, Any]:
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
    model = out / "model.keras"
    try:
        write_model(result.model, model)
    except (
        FOREIGN_ERRORS
    ):  # a class of the script that cannot be saved: it has the code, and needs the weights
        model = out / "model.weights.h5"
        result.model.save_weights(model)
    (out / "script.diff").write_text(diff, encoding="utf-8")
    unsaid = [{"remedy": one.remedy, "snippet": one.snippet} for one in result.changes if one.remedy in left]
    code = {f"These changes in {script.name}": diff}
    code |= {f"Not in the diff: {one['remedy']}": one["snippet"] for one in unsaid}
    page = write_treatment(replace(result, name=script.name), out / "report.html", code=code)
    return {
        **result.to_json(),
        "summary": result.summary(width=10_000),
        "diff": diff,
        "not_in_diff": unsaid,
        "report": str(page),
        "model": str(model),
        "lines": _lines(training, sites),
    }


if __name__ == "__main__":
    main()
