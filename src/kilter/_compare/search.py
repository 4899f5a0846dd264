"""``kilter.search``: the best values of a recipe's keys, by trials on one seed.

Trials run in rounds of :data:`ROUND`. Trials within a round are independent, so the
trials, and where they are stopped early, depend neither on the number of workers nor on which finishes first.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from kilter._compare.comparison import choose_metric, measures_of, paired_run
from kilter._compare.ray_workers import RayWorkers
from kilter._compare.runs import LOCK, finished_run, new_folder, recipe_measures, require_asked, training
from kilter._compare.samplers import Range, Space, Values, grid, sampler_for, settings, space_of
from kilter._compare.stopping import Limits
from kilter._compare.workers import Workers, places
from kilter._progress import Verbose, shown
from kilter._validation import whole_number
from kilter.recipe import Recipe, with_overrides
from kilter.recipe.text import recipe_of
from kilter.runs import lock
from kilter.runs.atomic import write_text
from kilter.runs.best_epoch import direction_of
from kilter.runs.build import with_absolute_paths
from kilter.runs.reading import RunRecords
from kilter.runs.records import to_json
from kilter.runs.termination import Interrupted

ROUND: Final = 4
ASKED: Final = "search.json"
RESULT: Final = "result.json"
_TRIALS: Final = 20
_MOST: Final = 10_000


@dataclass(frozen=True)
class SearchTrial:
    """One trial: the values it tried, and the measure of its best weights; NaN if it diverged.

    ``stopped``: it was worse than half of the earlier trials, and ended before its last epoch.
    """

    number: int
    values: Values
    score: float
    epochs: int
    stopped: bool
    seconds: float


@dataclass(frozen=True)
class Search:
    """The result of :func:`kilter.search`: all trials in order, and the recipe with the best values."""

    metric: str
    trials: tuple[SearchTrial, ...]
    recipe: Recipe
    path: Path

    @property
    def best(self) -> SearchTrial:
        """The trial with the best score; the first of several."""
        sign = _sign(self.metric)
        finite = [one for one in self.trials if math.isfinite(one.score)]
        return max(finite or self.trials, key=lambda one: sign * one.score if finite else 0)

    def to_json(self) -> str:
        """The trials and the metric, as JSON."""
        return to_json({"metric": self.metric, "trials": [asdict(one) for one in self.trials]}, indent=2)


def search(
    recipe: Recipe | str | Path,
    over: Mapping[str, Any],
    *,
    trials: int | None = None,
    sampler: str | None = None,
    stop_early: bool = True,
    metric: str | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    ray: str | None = None,
    progress: Callable[[SearchTrial], object] | None = None,
    allow_code: bool = False,
    verbose: Verbose = "auto",
) -> Search:
    """Try values of a recipe's keys, and find the best.

    A search finds; :func:`kilter.compare` proves: the best of many trials on one seed is partly luck.

    Args:
        recipe: a recipe, the path of one, or a data source, which gets the default recipe.
        over: by key a list of values, or a range ``{"low": 1e-4, "high": 0.1, "log": True}``.
        trials: how many; by default all of a grid, else 20.
        sampler: "grid" (every combination), "random", or "tpe" (Optuna's, in the extra ``kilter[sweep]``). By
            default "grid" for lists alone, else "tpe".
        stop_early: end a trial that is worse than the median of earlier ones at the same epoch.
        metric: as of :func:`kilter.compare`.
        out: the folder of the trials. Those that are finished there are not trained again.
        workers: processes on this machine; the result does not depend on it.
        ray: the address of a Ray cluster ("auto" for the one of this machine) whose nodes train instead, one
            core for each trial (extra ``kilter[ray]``). A trial whose node is lost starts again on another.
        progress: called with each trial, in order.
        allow_code, verbose: as of :func:`kilter.compare`.

    Example::

        rates = {"low": 1e-4, "high": 0.1, "log": True}
        found = kilter.search("recipe.toml", {"optimizer.learning_rate": rates})
        found.best.values, found.recipe
    """
    base, space = with_absolute_paths(recipe_of(recipe)), space_of(over)
    chosen = sampler or ("tpe" if any(isinstance(one, Range) for one in space.values()) else "grid")
    proposing = sampler_for(chosen, space, base.seed)
    most = len(grid(space)) if chosen == "grid" else _TRIALS
    count = whole_number("trials", most if trials is None else trials, 1, _MOST)
    folder = new_folder(f"{base.name}-search") if out is None else Path(out)
    described = _described(base, space, chosen, stop_early)
    require_asked(folder / ASKED, described, "this search")
    pool: Any = RayWorkers(ray) if ray is not None else Workers(places(workers)[: min(count, ROUND)])
    done: list[SearchTrial] = []
    with shown(verbose) as listener, pool:
        names = next(pool.results([partial(recipe_measures, _tried(base, _first(space)), allow_code)]))[1]
        metric = choose_metric(metric, names)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / ASKED, described)
        held = lock.acquire(folder / LOCK)
        try:
            limits = Limits()
            while len(done) < count and (asked := proposing.ask(min(ROUND, count - len(done)))):
                listener.stage("Searching: trial", len(done) + 1, count)
                runs = _round(base, asked, folder, len(done), pool, limits, allow_code, stop_early)
                found = [_scored(len(done) + place, *one, base, metric) for place, one in enumerate(runs)]
                proposing.tell([_sign(metric) * one.score for one in found])
                limits = limits.seen([run for _, run in runs])
                done += found
                if progress is not None:
                    for one in found:
                        progress(one)
        except KeyboardInterrupt:
            raise Interrupted(
                folder,
                f"Stopped after {len(done)} of {count} trials, which are kept. "
                f"To resume: run the same search with the folder {folder} (--out)",
            ) from None
        finally:
            held.release()
    best = Search(metric, tuple(done), base, folder).best
    result = Search(metric, tuple(done), _tried(base, best.values), folder)
    write_text(folder / RESULT, result.to_json() + "\n")
    return result


def _first(space: Space) -> Values:
    """The first combination of values, to check the recipe with before any training."""
    return {key: one.low if isinstance(one, Range) else one.values[0] for key, one in space.items()}


def _round(
    base: Recipe,
    asked: Sequence[Values],
    folder: Path,
    first: int,
    pool: Any,
    limits: Limits,
    allow_code: bool,
    stop_early: bool,
) -> list[tuple[Values, RunRecords]]:
    """The runs of one round, trained unless they are finished."""
    parents = [folder / f"trial-{first + place:04d}" for place in range(len(asked))]
    missing = [place for place, parent in enumerate(parents) if finished_run(parent) is None]
    callbacks = (limits.callback,) if stop_early else ()
    tasks = [
        training(_tried(base, asked[place]), parents[place], allow_code, callbacks, ships=pool.ships)
        for place in missing
    ]
    for number, packed in pool.results(tasks):
        pool.unpack(packed, parents[missing[number]])
    found = [finished_run(parent) for parent in parents]
    return [(values, run) for values, run in zip(asked, found, strict=True) if run is not None]


def _scored(number: int, values: Values, run: RunRecords, base: Recipe, metric: str) -> SearchTrial:
    metric = choose_metric(metric, measures_of(run))
    scored = paired_run(run, base.seed, metric)
    epochs = len(run.history)
    planned = _tried(base, values).train.epochs
    waited = run.result is not None and run.result.reason == "patience"
    return SearchTrial(number, values, scored.score, epochs, epochs < planned and not waited, scored.seconds)


def _tried(base: Recipe, values: Values) -> Recipe:
    return with_overrides(base, settings(values))


def _sign(metric: str) -> float:
    return 1.0 if direction_of(metric) == "max" else -1.0


def _described(base: Recipe, space: Space, sampler: str, stop_early: bool) -> str:
    over = {key: repr(one) for key, one in space.items()}
    asked = {"recipe": base.model_dump(mode="json"), "over": over, "sampler": sampler}
    return json.dumps(asked | {"stop_early": stop_early}, indent=2, default=str)
