"""``kilter.compare``: which of several recipes, or functions that make models, is better, and proven?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kilter._compare import runs as layout
from kilter._compare.candidates import gather
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
from kilter._compare.pool import Pool, places
from kilter._compare.runs import Trial, check_recipes, in_this_process, in_workers, need_this_process
from kilter._progress import Pace, Verbose, shown
from kilter._progress import Progress as Listener
from kilter.errors import OptionError, RunError
from kilter.runs import lock
from kilter.runs.atomic import write_text
from kilter.runs.reading import RunRecords
from kilter.runs.training import Interrupted

_LAST_SEED = 2**31 - 1  # as in a recipe


@dataclass(frozen=True)
class Progress:
    """How far a comparison is: the run that was finished last, and how many of how many are done.

    `seconds_left` is an estimate from the runs that ended after each worker had finished one, compiling
    included in none of them; None before, and after the last run.
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
    level: float = 0.05,
    progress: Callable[[Progress], object] | None = None,
    allow_code: bool = False,
    verbose: Verbose = "auto",
) -> Comparison:
    """Train every candidate on the same seeds, and test each against the first one, the baseline.

    Pair k of n trains each candidate with seed ``seed + k``: weights, order of rows, dropout. The split is
    the same in all runs. Scores are those of the best weights, as ``kilter train`` keeps them.

    Args:
        candidates: by name, the baseline first: recipes (or paths of them) with the same ``[data]``, or
            functions ``seed -> compiled Keras model``, trained by :func:`kilter.fit`. A function that another
            process can import by its name is trained in a worker like a recipe; any other in this process,
            one run after the other.
        data: ``(x, y, x_val, y_val)`` for functions; recipes name their own.
        fit: options of :func:`kilter.fit` for functions, such as ``{"epochs": 10}``.
        pairs: runs of each candidate, at least 2. By default 6, or more where 6 could not prove any
            difference of so many candidates (see :func:`~kilter._compare.statistics.least_pairs`). Fewer
            than that are trained with a warning; their verdict is "too few pairs".
        metric: ``val_`` or ``test_`` and a measure. By default the validation accuracy of classes, the
            validation rmse of numbers; for functions the first ``val_`` metric of which more is better, or
            the validation loss. Losses hold the penalties too: they compare only what is penalised alike.
        out: the folder of runs. Runs that are finished there are not trained again, interrupted ones are
            resumed; where the folder has another candidate of the same name: :class:`RunError`.
        workers: processes, each on its own core, one on each by default; on an accelerator one.
            No score depends on it.
        level: the share of false claims allowed, over all candidates together.
        progress: called after each run.
        allow_code: let recipes run code: their factories, or code in their .keras files. Functions that are
            candidates themselves need no permission.
        verbose: as of :func:`kilter.diagnose`.

    Raises a :class:`~kilter.errors.KilterError` for anything that cannot be compared, before a run begins
    where that can be known. Ctrl-C ends the workers: :class:`~kilter.runs.Interrupted`; finished runs stay.

    Example::

        comparison = kilter.compare({"plain": "elu.toml", "normalized": "bn.toml"})
        comparison.differences[0].verdict
    """
    seeds = _seeds(seed, planned_pairs(pairs, max(len(candidates) - 1, 1), level))
    chosen = gather(candidates, data, fit, split_seed=seed)
    cores = places(workers)
    folder = layout.new_folder(chosen[0].name) if out is None else Path(out)
    layout.require_same(folder, chosen)
    # Pair by pair, so that the workers begin with different candidates and each is compiled once.
    trials = [
        Trial(one, number, layout.place(folder, one.name, number)) for number in seeds for one in chosen
    ]
    found = _finished(trials)
    with shown(verbose) as listener:
        try:
            metric = _train_missing(trials, found, folder, cores, metric, progress, listener, allow_code)
        except KeyboardInterrupt:
            raise Interrupted(
                folder,
                f"Stopped after {len(_finished(trials))} of {len(trials)} runs, which are kept. "
                f"To go on: the same comparison with the folder {folder} (--out)",
            ) from None
    runs = [
        Candidate(one.name, tuple(paired_run(found[t], t.seed, metric) for t in trials if t.candidate is one))
        for one in chosen
    ]
    judged = judge(runs, metric, level=level, path=folder)
    write_text(folder / layout.RESULT, judged.to_json() + "\n")
    return judged


def _finished(trials: Sequence[Trial]) -> dict[Trial, RunRecords]:
    return {trial: run for trial in trials if (run := layout.finished_run(trial.parent)) is not None}


def _train_missing(
    trials: Sequence[Trial],
    found: dict[Trial, RunRecords],
    folder: Path,
    cores: Sequence[int | None],
    metric: str | None,
    progress: Callable[[Progress], object] | None,
    listener: Listener,
    allow_code: bool,
) -> str:
    """Train the trials that are not in `found`, add them to it, and return the metric of all.

    Recipes are checked, and the metric with them, before anything is written.
    """
    chosen = list(dict.fromkeys(trial.candidate for trial in trials))
    missing = [trial for trial in trials if trial not in found]
    known = [measures_of(run) for run in found.values()]
    _require_same_rows(found)
    with ExitStack() as stack:
        runs = in_this_process(missing)
        if missing and not need_this_process(chosen):
            listener.stage(f"Comparing: starting {len(cores[: len(missing)])} workers, checking the recipes")
            pool = stack.enter_context(Pool(cores[: len(missing)]))
            known += check_recipes(chosen, pool, allow_code=allow_code)
            runs = in_workers(missing, pool, allow_code=allow_code)
        for names in known:
            metric = choose_metric(metric, names)
        layout.prepare(folder, chosen)
        stack.callback(lock.acquire(folder / layout.LOCK).release)
        pace, workers = Pace(time.monotonic), len(cores)
        listener.stage("Comparing: training", min(len(found) + 1, len(trials)), len(trials))
        for done, (trial, run) in enumerate(runs, start=1):
            metric = choose_metric(metric, measures_of(run))
            found[trial] = run
            _require_same_rows(found)
            if done == workers:
                pace.begin(done)  # each worker has loaded JAX and compiled once
            left = pace.seconds_left(done, len(missing)) if done < len(missing) else None
            if progress is not None:
                scored = paired_run(run, trial.seed, metric)
                progress(Progress(len(found), len(trials), trial.candidate.name, metric, scored, left))
            if done < len(missing):
                listener.stage("Comparing: training", len(found) + 1, len(trials), seconds_left=left)
    assert metric is not None, "there are at least two trials, and each has told its measures"
    return metric


def _require_same_rows(found: Mapping[Trial, RunRecords]) -> None:
    """The data may have changed on the disk since the first run."""
    digests = {run.data.sha256: trial for trial, run in found.items() if run.data is not None}
    if len(digests) > 1:
        first, other = list(digests.values())[:2]
        raise RunError(
            expected="the same training rows in all runs",
            received=f"other rows in {other.parent} than in {first.parent}",
            remedy="compare anew in another folder: the data have changed since the first run",
        )


def _seeds(first: int, pairs: int) -> range:
    if isinstance(first, bool) or not isinstance(first, int) or not 0 <= first <= _LAST_SEED - pairs:
        raise OptionError(
            expected=f"a seed from 0 to {_LAST_SEED - pairs}", received=f"seed={first!r}", remedy="take 0"
        )
    return range(first, first + pairs)
