"""A process that trains what it is told, one run after another: ``python -m kilter._compare.worker [CORE]``.

Jobs come as lines of JSON, answers go as lines of JSON (see :mod:`kilter._compare.pool`). When its input is
closed the process ends at once: run directories are never half-written.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any, Final

import numpy as np

from kilter._compare.candidates import PARTS, train_function
from kilter._compare.comparison import measures
from kilter._compare.runs import begun_run
from kilter.errors import KilterError
from kilter.recipe import parse_recipe
from kilter.runs.build import prepare
from kilter.runs.from_recipe import import_function
from kilter.runs.training import resume, train


def check(job: dict[str, Any]) -> dict[str, Any]:
    """Whether the recipe can be trained, and by which measures it can be compared."""
    prepared = prepare(parse_recipe(tomllib.loads(job["recipe"])), allow_code=job["allow_code"])
    names = ["loss", *prepared.objective.metrics]
    return {"measures": measures(dict.fromkeys(prepared.parts.evaluated, names))}


def train_recipe(job: dict[str, Any]) -> dict[str, Any]:
    """Train the recipe, or go on with the run of it that was interrupted: the same bits."""
    folder = Path(job["folder"])
    begun = begun_run(folder)
    if begun is not None:
        resume(begun, verbose=0, allow_code=job["allow_code"])
    else:
        recipe = parse_recipe(tomllib.loads(job["recipe"]))
        train(recipe, parent=folder, verbose=0, allow_code=job["allow_code"])
    return {}


def train_named(job: dict[str, Any]) -> dict[str, Any]:
    """Train the model of a function that is found by its name, on arrays from a file."""
    with np.load(job["data"], allow_pickle=False) as arrays:
        data = {part: arrays[part] for part in PARTS}
    train_function(import_function(job["function"]), job["seed"], data, job["fit"], Path(job["folder"]))
    return {}


JOBS: Final = {"check": check, "recipe": train_recipe, "function": train_named}


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """What the job gives, or the error that a person can mend; any other one ends the process."""
    try:
        return JOBS[job["do"]](job)
    except KilterError as error:
        told = {"expected": error.expected, "received": error.received, "remedy": error.remedy}
        return {"error": {"kind": type(error).__name__, **told}}


def main() -> None:
    """Take jobs until the input is closed."""
    if len(sys.argv) > 1:
        # Before JAX makes its threads, which stay on the core then. The numbers of a run depend on how many
        # threads share an operation: one core each makes them the same for any number of workers.
        os.sched_setaffinity(0, {int(sys.argv[1])})
    # What the user's code prints must not stand between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(jobs,), daemon=True).start()
    while True:
        print(json.dumps(answer(json.loads(jobs.get()))), file=answers, flush=True)


def _read(jobs: queue.SimpleQueue[str]) -> None:
    for line in sys.stdin:
        jobs.put(line)
    os._exit(0)


if __name__ == "__main__":
    main()
