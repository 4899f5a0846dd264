"""The runs of a comparison: which are missing, and training them, in workers or in this process."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import numpy as np

from kilter._compare.candidates import (
    AnyCandidate,
    FunctionCandidate,
    RecipeCandidate,
    importable,
    train_function,
    transferable,
)
from kilter._compare.pool import Job, Pool
from kilter.errors import RunError
from kilter.recipe import dump_recipe
from kilter.runs.atomic import errors_named, write_text
from kilter.runs.reading import DATA, RunRecords, is_run, open_run

ASKED = "asked.txt"
LOCK = "lock"
RESULT = "comparison.json"
PARENT = Path("comparisons")


class Asked(Protocol):
    """A candidate, as far as its folder goes."""

    @property
    def name(self) -> str:
        """The name of its folder."""
        ...

    @property
    def text(self) -> str:
        """What it is: the same text means the same runs."""
        ...


def new_folder(baseline: str) -> Path:
    """Where a comparison goes that was not told where to; it is not made."""
    return PARENT / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{baseline}"


def require_same(folder: Path, candidates: Sequence[Asked]) -> None:
    """Raise :class:`RunError` where the folder has runs of another candidate under one of the names.

    So it does where there is something else in the folder's place.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(
            expected="a folder for the runs", received=f"{folder}, which is a file", remedy="name another one"
        )
    for candidate in candidates:
        path = folder / candidate.name / ASKED
        if not path.exists():
            continue
        with errors_named(path, doing="read"):
            before = path.read_bytes().decode("utf-8", errors="replace")
        if before != candidate.text:
            raise RunError(
                expected=f"in {folder} runs of {candidate.name} as it is now",
                received=f"runs of another one of this name ({_first_difference(before, candidate.text)})",
                remedy="choose another folder, or give the candidate back what it was",
            )


def prepare(folder: Path, candidates: Sequence[Asked]) -> None:
    """Make the folder, and write down what its candidates are."""
    with errors_named(folder):
        for candidate in candidates:
            (folder / candidate.name).mkdir(parents=True, exist_ok=True)
    for candidate in candidates:
        write_text(folder / candidate.name / ASKED, candidate.text)


def place(folder: Path, name: str, seed: int) -> Path:
    """The parent of the run directory of one candidate in one pair."""
    return folder / name / f"seed-{seed}"


def finished_run(parent: Path) -> RunRecords | None:
    """The run below `parent` that came to its end; None where none has."""
    for path in _runs(parent):
        records = open_run(path)
        if records.status == "finished":
            return records
    return None


def begun_run(parent: Path) -> Path | None:
    """A run below `parent` that can be resumed: its data are described already, and it did not end."""
    begun = [path for path in _runs(parent) if (path / DATA).is_file()]
    return next((path for path in begun if open_run(path).status != "finished"), None)


def _runs(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if is_run(path)) if parent.is_dir() else []


def _first_difference(before: str, now: str) -> str:
    """The first line that is not the same, as it was and as it is."""
    lines = zip([*before.splitlines(), ""], [*now.splitlines(), ""], strict=False)
    was, is_now = next(((one, other) for one, other in lines if one != other), ("", ""))
    return f"{was!r} there, {is_now!r} now"


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
