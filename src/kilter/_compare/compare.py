"""``kilter.compare`` and ``kilter.sweep``: which of several recipes or functions is better, with proof."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from kilter._compare.candidates import FunctionCandidate, gather
from kilter._compare.comparison import (
    Candidate,
    Comparison,
    PairedRun,
    choose_metric,
    judge,
    measures_of,
    paired_run,
)
from kilter._compare.looks import planned_pairs
from kilter._compare.ray_workers import RayWorkers
from kilter._compare.runs import (
    LOCK,
    RESULT,
    Trial,
    check_recipes,
    finished_runs,
    make_folder,
    new_folder,
    plan,
    require_same,
    train_in_this_process,
    train_in_workers,
)
from kilter._compare.samplers import grid, settings, space_of
from kilter._compare.workers import Workers, places
from kilter._progress import Pace, Verbose, shown
from kilter._progress import Progress as Listener
from kilter._validation import whole_number
from kilter.errors import OptionError, RunError
from kilter.recipe import Recipe, with_overrides
from kilter.recipe.text import recipe_of, run_name
from kilter.runs import lock
from kilter.runs.atomic import write_text
from kilter.runs.reading import RunRecords
from kilter.runs.termination import Interrupted

BASELINE: Final = "as-it-is"  # of a sweep
_LAST_SEED: Final = 2**31 - 1  # as in a recipe
# Each candidate needs another full set of runs, and raises the evidence that each one needs.
_MOST: Final = 64


@dataclass(frozen=True)
class Progress:
    """The progress of a comparison: the run that ended last, and how many of all runs are done.

    `seconds_left` is an estimate from the runs that ended after every worker had finished one, so that it
    excludes compilation. None until then, and after the last run.
    """

    done: int
    total: int
    name: str
    metric: str
    run: PairedRun
    seconds_left: float | None


def compare(
    candidates: Mapping[str, Any],
    data: Any = None,
    *,
    fit: Mapping[str, Any] | None = None,
    pairs: int | None = None,
    seed: int = 0,
    metric: str | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    ray: str | None = None,
    level: float = 0.05,
    progress: Callable[[Progress], object] | None = None,
    allow_code: bool = False,
    verbose: Verbose = "auto",
) -> Comparison:
    """Train every candidate on the same seeds, and test each against the first one, the baseline.

    Pair k of n trains each candidate with seed ``seed + k``, which sets initial weights, shuffling and
    dropout. The split is the same in all runs. Scores are those of the best weights, which ``kilter train``
    keeps.

    Args:
        candidates: by name, the baseline first: recipes (or their paths) with the same ``[data]``, or
            functions ``seed -> compiled Keras model``, trained by :func:`kilter.fit`. Functions that another
            process can import by name are trained in workers, like recipes. All others are trained in this
            process, one run after the other.
        data: ``(x, y, x_val, y_val)`` for functions; recipes name their own.
        fit: options of :func:`kilter.fit` for functions, such as ``{"epochs": 10}``.
        pairs: runs of each candidate, at least 2. By default 6, or more if 6 cannot prove any difference
            between so many candidates. With fewer than a verdict needs, kilter warns and the verdict is "too
            few pairs".
        metric: ``val_`` or ``test_`` and a measure. By default the validation accuracy of classes or the
            validation RMSE of numbers; for functions the first ``val_`` metric that is better when higher,
            or the validation loss. Losses include penalties: compare by a metric if those differ.
        out: the folder of runs. Runs that are finished there are not trained again, interrupted ones are
            resumed. :class:`RunError` if it holds another candidate of the same name.
        workers: the number of processes, each on its own core; by default one per core, on an accelerator
            one in all. Scores do not depend on it.
        ray: the address of a Ray cluster whose nodes train the recipes instead, as in :func:`kilter.search`.
        level: the probability of any false claim, over all candidates together.
        progress: called after each run.
        allow_code: let recipes run code: their factories, or code in their .keras files. Functions given as
            candidates need no permission.
        verbose: as of :func:`kilter.diagnose`.

    Raises a :class:`~kilter.errors.KilterError` if candidates cannot be compared, if possible before the
    first run. Ctrl-C ends the workers and raises :class:`~kilter.runs.Interrupted`; finished runs are kept.

    Example::

        comparison = kilter.compare({"plain": "elu.toml", "normalized": "bn.toml"})
        comparison.differences[0].verdict
    """
    number = planned_pairs(pairs, max(len(candidates) - 1, 1), level)
    seed = whole_number("seed", seed, 0, _LAST_SEED - number)
    chosen = gather(candidates, data, fit, split_seed=seed)
    cores = places(workers)
    pool = RayWorkers(ray) if ray is not None else None
    folder = new_folder(chosen[0].name) if out is None else Path(out)
    require_same(folder, chosen)
    trials = plan(folder, chosen, range(seed, seed + number))
    found = finished_runs(trials)
    with shown(verbose) as listener:
        try:
            metric = _train_missing(
                trials, found, folder, cores, metric, progress, listener, allow_code, pool
            )
        except KeyboardInterrupt:
            raise Interrupted(
                folder,
                f"Stopped after {len(finished_runs(trials))} of {len(trials)} runs, which are kept. "
                f"To resume: run the same comparison with the folder {folder} (--out)",
            ) from None
    runs = [
        Candidate(one.name, tuple(paired_run(found[t], t.seed, metric) for t in trials if t.candidate is one))
        for one in chosen
    ]
    judged = judge(runs, metric, level=level, path=folder)
    write_text(folder / RESULT, judged.to_json() + "\n")
    return judged


def _train_missing(
    trials: Sequence[Trial],
    found: dict[Trial, RunRecords],
    folder: Path,
    cores: Sequence[int | None],
    metric: str | None,
    progress: Callable[[Progress], object] | None,
    listener: Listener,
    allow_code: bool,
    pool: RayWorkers | None,
) -> str:
    """Train the trials that are not in `found`, add them to it, and return the metric.

    Recipes and metric are checked before anything is written.
    """
    chosen = list(dict.fromkeys(trial.candidate for trial in trials))
    missing = [trial for trial in trials if trial not in found]
    known = [measures_of(run) for run in found.values()]
    _require_same_rows(found)
    with ExitStack() as stack:
        runs = train_in_this_process(missing)
        # Train all in workers or none: a run on one core and one on all cores differ by rounding.
        if missing and not any(isinstance(o, FunctionCandidate) and not o.trains_in_workers for o in chosen):
            listener.stage("Comparing: starting the workers, checking the recipes")
            workers = stack.enter_context(pool or Workers(cores[: len(missing)]))
            known += check_recipes(chosen, workers, allow_code=allow_code)
            runs = train_in_workers(missing, workers, allow_code=allow_code)
        for names in known:
            metric = choose_metric(metric, names)
        make_folder(folder, chosen)
        stack.callback(lock.acquire(folder / LOCK).release)
        pace = Pace(time.monotonic)
        listener.stage("Comparing: training", min(len(found) + 1, len(trials)), len(trials))
        for done, (trial, run) in enumerate(runs, start=1):
            metric = choose_metric(metric, measures_of(run))
            found[trial] = run
            _require_same_rows(found)
            if done == len(cores):
                pace.begin(done)  # each worker has loaded JAX and compiled once
            left = pace.seconds_left(done, len(missing)) if done < len(missing) else None
            if progress is not None:
                scored = paired_run(run, trial.seed, metric)
                progress(Progress(len(found), len(trials), trial.candidate.name, metric, scored, left))
            if done < len(missing):
                listener.stage("Comparing: training", len(found) + 1, len(trials), seconds_left=left)
    assert metric is not None, "there are at least two trials, and each has measures"
    return metric


def _require_same_rows(found: Mapping[Trial, RunRecords]) -> None:
    """Raise :class:`RunError` if the data on the disk have changed since the first run."""
    digests = {run.data.sha256: trial for trial, run in found.items() if run.data is not None}
    if len(digests) > 1:
        first, other = list(digests.values())[:2]
        raise RunError(
            expected="the same training rows in all runs",
            received=f"different rows in {other.parent} and in {first.parent}",
            remedy="start again in another folder: the data have changed since the first run",
        )


def sweep(recipe: Recipe | str | Path, over: Mapping[str, Sequence[Any]], **options: Any) -> Comparison:
    """Compare a recipe with every combination of the given values, on paired seeds.

    Args:
        recipe: the baseline: a recipe, the path of one (``.toml``), or a data source, which gets the default
            recipe.
        over: the values to try, by key: ``{"optimizer.learning_rate": [1e-4, 1e-3]}``. None means "none".
            Combinations that equal the recipe are left out; at most 64 are allowed.
        options: pairs, seed, metric, out, workers, ray, level, progress, allow_code and verbose of
            :func:`kilter.compare`.

    Returns the comparison; its baseline is called "as-it-is", the others are named for their values. Raises
    :class:`OptionError` for no or too many combinations, :class:`~kilter.errors.RecipeError` for a key or
    value that a recipe cannot have, and what :func:`kilter.compare` raises.

    Example::

        kilter.sweep("recipe.toml", {"optimizer.learning_rate": [1e-4, 1e-3], "model.dropout": [0.0, 0.2]})
    """
    return compare(variants(recipe, over), **options)


def variants(recipe: Recipe | str | Path, over: Mapping[str, Sequence[Any]]) -> dict[str, Recipe]:
    """The recipes that :func:`sweep` compares, by name, the baseline first."""
    recipe = recipe_of(recipe)
    combinations = grid(space_of(over))
    if len(combinations) > _MOST:
        raise OptionError(
            expected=f"values to try, in 1 to {_MOST} combinations",
            received=f"{len(combinations)} combinations",
            remedy="leave out values of some keys",
        )
    named = {BASELINE: recipe}
    for values in combinations:
        written = settings(values)
        changed = with_overrides(recipe, written)
        if changed not in named.values():
            name = run_name(" ".join(setting.partition(".")[2] for setting in written))
            # Different values may get the same name: -1 and 1 do.
            named[name if name not in named else f"{name[:90]}-{len(named)}"] = changed
    return named
