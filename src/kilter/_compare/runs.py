"""The runs of a comparison: which are missing, and training them, in workers or in this process."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kilter._compare.candidates import AnyCandidate, FunctionCandidate, RecipeCandidate
from kilter._compare.folder import finished_run
from kilter._compare.functions import importable, train_function, transferable
from kilter._compare.pool import Job, Pool
from kilter.errors import RunError
from kilter.recipe import dump_recipe
from kilter.runs.reading import RunRecords


@dataclass(frozen=True, eq=False)
class Trial:
    """One run that is asked for: of which candidate, with which seed, in which folder."""

    candidate: AnyCandidate
    seed: int
    parent: Path


def in_workers(
    trials: Sequence[Trial], pool: Pool, *, allow_code: bool
) -> Iterator[tuple[Trial, RunRecords]]:
    """Train in the pool's processes; each trial with its run, in the order in which they are done."""
    with _arrays(trials) as path:
        for number, _ in pool.answers([_job(trial, path, allow_code) for trial in trials]):
            yield trials[number], _finished(trials[number])


def in_this_process(trials: Sequence[Trial]) -> Iterator[tuple[Trial, RunRecords]]:
    """Train functions that other processes cannot be told of, one run after the other."""
    for trial in trials:
        one = trial.candidate
        assert isinstance(one, FunctionCandidate)
        train_function(one.function, trial.seed, one.data, one.options, trial.parent)
        yield trial, _finished(trial)


def need_this_process(candidates: Sequence[AnyCandidate]) -> bool:
    """Whether one of the candidates cannot be trained by a worker. All are then trained here: alike."""
    functions = [one for one in candidates if isinstance(one, FunctionCandidate)]
    return any(
        importable(one.function) is None or not transferable(one.data, one.options) for one in functions
    )


def check_recipes(candidates: Sequence[AnyCandidate], pool: Pool, *, allow_code: bool) -> list[list[str]]:
    """The measures of each recipe; raises what speaks against training it."""
    recipes = [one for one in candidates if isinstance(one, RecipeCandidate)]
    jobs = [{"do": "check", "recipe": one.text, "allow_code": allow_code} for one in recipes]
    answers = dict(pool.answers(jobs))
    return [answers[number]["measures"] for number in range(len(recipes))]


def _finished(trial: Trial) -> RunRecords:
    records = finished_run(trial.parent)
    if records is None:
        raise RunError(
            expected=f"a finished run in {trial.parent}",
            received="none, though its training ended",
            remedy="leave the folder alone while kilter compares",
        )
    return records


def _job(trial: Trial, arrays: Path, allow_code: bool) -> Job:
    """What a worker is told."""
    one, where = trial.candidate, str(trial.parent)
    if isinstance(one, RecipeCandidate):
        text = dump_recipe(one.recipe_for(trial.seed))
        return {"do": "recipe", "recipe": text, "folder": where, "allow_code": allow_code}
    return {
        "do": "function",
        "function": importable(one.function),
        "seed": trial.seed,
        "data": str(arrays),
        "fit": dict(one.options),
        "folder": where,
    }


@contextlib.contextmanager
def _arrays(trials: Sequence[Trial]) -> Iterator[Path]:
    """A file with the arrays of functions, for as long as the workers need it; none for recipes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "data.npz")
        if isinstance(trials[0].candidate, FunctionCandidate):
            data = trials[0].candidate.data
            np.savez(path, x=data["x"], y=data["y"], x_val=data["x_val"], y_val=data["y_val"])
        yield path
