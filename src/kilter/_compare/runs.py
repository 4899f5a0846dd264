"""The runs of a comparison: their folder, which ones are missing, and how they are trained."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from kilter._compare.candidates import (
    PARTS,
    AnyCandidate,
    Factory,
    FunctionCandidate,
    RecipeCandidate,
    train_function,
)
from kilter._compare.comparison import measures
from kilter._compare.workers import AnyWorkers
from kilter.errors import OptionError, RunError
from kilter.recipe import Recipe
from kilter.runs.atomic import errors_named, write_text
from kilter.runs.build import prepare
from kilter.runs.evaluating import measure_names
from kilter.runs.packing import pack
from kilter.runs.reading import DATA, RunRecords, is_run, open_run, read_history
from kilter.runs.training import resume, train

ASKED: Final = "asked.txt"
LOCK: Final = "lock"
RESULT: Final = "comparison.json"
PARENT: Final = Path("comparisons")


@dataclass(frozen=True, eq=False)
class Trial:
    """One run to train: the candidate, the seed, and the folder that its run directory goes into."""

    candidate: AnyCandidate
    seed: int
    parent: Path


def plan(folder: Path, candidates: Sequence[AnyCandidate], seeds: Sequence[int]) -> list[Trial]:
    """All runs, pair by pair, so that workers start on different candidates and compile each once."""
    return [Trial(one, seed, folder / one.name / f"seed-{seed}") for seed in seeds for one in candidates]


def new_folder(baseline: str) -> Path:
    """The default folder of a comparison; it is not created."""
    return PARENT / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{baseline}"


def require_same(folder: Path, candidates: Sequence[AnyCandidate]) -> None:
    """Raise :class:`RunError` if `folder` is a file, or holds runs of another candidate of the same name."""
    if folder.exists() and not folder.is_dir():
        raise RunError(
            expected="a folder for the runs", received=f"{folder}, which is a file", remedy="name a folder"
        )
    for one in candidates:
        require_asked(folder / one.name / ASKED, one.text, f"runs of this {one.name}")


def require_asked(path: Path, text: str, what: str) -> None:
    """Raise :class:`RunError` if the folder was made for something else: `path` has another text."""
    if not path.exists():
        return
    with errors_named(path, doing="read"):
        before = path.read_bytes().decode("utf-8", errors="replace")
    if before != text:
        raise RunError(
            expected=f"{what} in {path.parent}",
            received=f"{what} with other settings ({_first_difference(before, text)})",
            remedy="choose another folder, or undo the change",
        )


def make_folder(folder: Path, candidates: Sequence[AnyCandidate]) -> None:
    """Create the folder, and record its candidates."""
    with errors_named(folder):
        for candidate in candidates:
            (folder / candidate.name).mkdir(parents=True, exist_ok=True)
    for candidate in candidates:
        write_text(folder / candidate.name / ASKED, candidate.text)


def finished_runs(trials: Sequence[Trial]) -> dict[Trial, RunRecords]:
    """The trials that are trained to the end, each with its run."""
    return {trial: run for trial in trials if (run := finished_run(trial.parent)) is not None}


def train_in_this_process(trials: Sequence[Trial]) -> Iterator[tuple[Trial, RunRecords]]:
    """Train functions that another process cannot import, one run after the other."""
    for trial in trials:
        one = trial.candidate
        assert isinstance(one, FunctionCandidate)
        train_function(one.function, trial.seed, one.data, one.options, trial.parent)
        yield trial, _run_of(trial)


def train_in_workers(
    trials: Sequence[Trial], workers: AnyWorkers, *, allow_code: bool
) -> Iterator[tuple[Trial, RunRecords]]:
    """Train in worker processes; each trial with its run, in the order in which they are done."""
    if workers.ships and not isinstance(trials[0].candidate, RecipeCandidate):
        raise OptionError(
            expected="recipes, to train on a Ray cluster",
            received="functions and arrays",
            remedy="write recipes with a factory, or leave --ray out",
        )
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder, "data.npz")
        if isinstance(one := trials[0].candidate, FunctionCandidate):
            np.savez(arrays, allow_pickle=False, **{part: np.asarray(one.data[part]) for part in PARTS})
        tasks = [_task(trial, arrays, allow_code, ships=workers.ships) for trial in trials]
        for number, packed in workers.results(tasks):
            workers.unpack(packed, trials[number].parent)
            yield trials[number], _run_of(trials[number])


def check_recipes(
    candidates: Sequence[AnyCandidate], workers: AnyWorkers, *, allow_code: bool
) -> list[list[str]]:
    """The measures of each recipe; raises the error of a recipe that cannot be trained."""
    recipes = [one.recipe for one in candidates if isinstance(one, RecipeCandidate)]
    names = dict(workers.results([partial(recipe_measures, one, allow_code) for one in recipes]))
    return [names[number] for number in range(len(recipes))]


def _task(trial: Trial, arrays: Path, allow_code: bool, *, ships: bool) -> Callable[[], Any]:
    """The task of a worker with its arguments; arrays go through a file, not with each task."""
    one = trial.candidate
    if isinstance(one, RecipeCandidate):
        return training(one.recipe_for(trial.seed), trial.parent, allow_code, ships=ships)
    return partial(_train_on_file, one.function, trial.seed, arrays, dict(one.options), trial.parent)


def recipe_measures(recipe: Recipe, allow_code: bool) -> list[str]:
    """The measures of a recipe; raises the error of one that cannot be trained."""
    prepared = prepare(recipe, allow_code=allow_code)
    names = ["loss", *measure_names(prepared.parts.train)]
    return measures(dict.fromkeys(prepared.parts.evaluated, names))


MakeCallback = Callable[[Sequence[Mapping[str, float]]], Any]
"""A Keras callback for a training run that has epochs with these logs behind it."""


def training(
    recipe: Recipe, parent: Path, allow_code: bool, callbacks: Sequence[MakeCallback] = (), *, ships: bool
) -> Callable[[], bytes | None]:
    """A task that trains a recipe below ``parent``; or elsewhere, if it ``ships`` the run back packed."""
    if ships:
        return partial(_train_packed, recipe, allow_code, tuple(callbacks))
    return partial(_train_recipe, recipe, parent, allow_code, tuple(callbacks))


def _train_packed(recipe: Recipe, allow_code: bool, callbacks: Sequence[MakeCallback]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _train_recipe(recipe, Path(folder), allow_code, callbacks)
        (run,) = _runs(Path(folder))
        return pack(run)


def _train_recipe(
    recipe: Recipe, parent: Path, allow_code: bool, callbacks: Sequence[MakeCallback] = ()
) -> None:
    """Train the recipe, or resume its interrupted run, bit for bit.

    Without the divergence guard: a comparison is of the recipes as they are.
    """
    begun = [path for path in _runs(parent) if (path / DATA).is_file()]
    unfinished = next((path for path in begun if open_run(path).status != "finished"), None)
    if unfinished is not None:
        made = [make([line.logs for line in read_history(unfinished)]) for make in callbacks]
        resume(unfinished, callbacks=made, verbose=0, allow_code=allow_code, guard=False)
    else:
        made = [make(()) for make in callbacks]
        train(recipe, parent=parent, callbacks=made, verbose=0, allow_code=allow_code, guard=False)


def _train_on_file(
    function: Factory, seed: int, arrays: Path, options: Mapping[str, Any], parent: Path
) -> None:
    with np.load(arrays, allow_pickle=False) as data:
        train_function(function, seed, {part: data[part] for part in PARTS}, options, parent)


def _run_of(trial: Trial) -> RunRecords:
    records = finished_run(trial.parent)
    if records is None:
        raise RunError(
            expected=f"a finished run in {trial.parent}",
            received="no finished run, although training ended",
            remedy="do not change the folder while kilter is comparing",
        )
    return records


def finished_run(parent: Path) -> RunRecords | None:
    """The run below ``parent`` that is trained to the end, if any."""
    opened = (open_run(path) for path in _runs(parent))
    return next((records for records in opened if records.status == "finished"), None)


def _runs(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if is_run(path)) if parent.is_dir() else []


def _first_difference(before: str, now: str) -> str:
    """The first line that differs, before and now."""
    lines = zip([*before.splitlines(), ""], [*now.splitlines(), ""], strict=False)
    was, is_now = next(((one, other) for one, other in lines if one != other), ("", ""))
    return f"{was!r} there, {is_now!r} now"
