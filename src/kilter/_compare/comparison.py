"""The result of a comparison: all runs, the differences from the baseline, and whether they are proven."""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np

from kilter._compare.looks import can_decide, too_few_pairs
from kilter._compare.statistics import (
    bootstrap_interval,
    comparable,
    holm,
    paired_differences,
    sign_flip_p,
)
from kilter._records import Figure, drawn
from kilter._text import number
from kilter._validation import one_of
from kilter.runs.best_epoch import direction_of
from kilter.runs.reading import RunRecords
from kilter.runs.records import Direction, to_json

# The prefix of a measure's name, by the part of the data.
PREFIXES: Final = {"validation": "val_", "test": "test_"}


def measures(parts: Mapping[str, Iterable[str]]) -> list[str]:
    """The names of all measures, from those on each part of the data."""
    return [PREFIXES[part] + name for part, names in parts.items() for name in names]


def measures_of(records: RunRecords) -> list[str]:
    """The measures by which a finished run can be scored."""
    evaluations = records.result.evaluations if records.result else {}
    if evaluations:
        return measures({part: one.metrics for part, one in evaluations.items()})
    return [name for name in (records.history[0].logs if records.history else ()) if name.startswith("val_")]


def choose_metric(asked: str | None, known: Sequence[str]) -> str:
    """The requested metric, or the default if `asked` is None.

    The default is the first validation metric that is better when higher (but for R²), such as the accuracy,
    else val_rmse, else val_loss. ``val_`` may be left out. Raises :class:`OptionError` for a metric that is
    not `known`.

    Example:
        >>> choose_metric(None, ["val_loss", "val_accuracy"]), choose_metric(None, ["val_loss", "val_mae"])
        ('val_accuracy', 'val_loss')
    """
    if asked is None:
        higher = [name for name in known if name.startswith("val_") and direction_of(name) == "max"]
        higher = [name for name in higher if name != "val_r2"]
        return next((name for name in [*higher, "val_rmse"] if name in known), "val_loss")
    asked = asked if asked in known or f"val_{asked}" not in known else f"val_{asked}"
    one_of("metric", asked, known)
    return asked


Verdict = Literal["better", "worse", "no evidence", "too few pairs"]


class OwnMeasure(NamedTuple):
    """One measure of one output of a trained model, and whether higher ("max") or lower is better.

    ``way``: from a constant prediction's measure to the perfect one; NaN where it is unknown.
    """

    value: float
    direction: Direction
    way: float = math.nan


@dataclass(frozen=True)
class PairedRun:
    """One run of one candidate.

    `score` is the metric of the best weights, NaN if the run diverged: no epoch was finite. `best_epoch`
    counts from 0. `seconds` is the training time with compilation. `history` has the logs of each epoch.
    `path` is the run directory. `own` has the measures of each output by name, only in the proof of a
    treatment.
    """

    seed: int
    score: float
    best_epoch: int | None
    seconds: float
    history: tuple[Mapping[str, float], ...]
    path: str
    own: Mapping[str, OwnMeasure] = field(default_factory=dict)

    @property
    def diverged(self) -> bool:
        """Whether the run diverged, which counts as worse than any score."""
        return not np.isfinite(self.score)


@dataclass(frozen=True)
class Candidate:
    """A candidate with a run for each pair, in the order of the seeds."""

    name: str
    runs: tuple[PairedRun, ...]

    @property
    def scores(self) -> tuple[float, ...]:
        """The metric of each run."""
        return tuple(run.score for run in self.runs)

    @property
    def median(self) -> float:
        """The median score; NaN if a run diverged."""
        return float(np.median(self.scores))


@dataclass(frozen=True)
class Difference:
    """A candidate against the baseline.

    `differences` says how much better each run is than the baseline's run with the same seed: positive for
    better, infinite if one of the two diverged. `mean` and its interval `low` to `high` use the finite ones
    (NaN without any; the interval with fewer than two). `p` is from the sign-flip test, `p_corrected` is
    Holm's over all candidates. The `verdict` is "better" or "worse" if `p_corrected` is at most the level,
    "too few pairs" if no differences could have reached it, and otherwise "no evidence".
    """

    candidate: str
    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float
    p_corrected: float
    verdict: Verdict

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of pairs in which the candidate is better and worse than the baseline."""
        better = sum(value > 0 for value in self.differences)
        return better, sum(value < 0 for value in self.differences)


@dataclass(frozen=True)
class Comparison:
    """The result of :func:`kilter.compare`.

    The first of `candidates` is the baseline; `differences` has one record for each of the others.
    `direction` says whether a higher ("max") or lower metric is better. `level` is the allowed probability of
    a false claim. `path` is the folder of the runs.
    """

    metric: str
    direction: Direction
    level: float
    candidates: tuple[Candidate, ...]
    differences: tuple[Difference, ...]
    path: str

    @property
    def baseline(self) -> Candidate:
        """The candidate that the others are compared with."""
        return self.candidates[0]

    def table(self) -> list[dict[str, Any]]:
        """A row for each candidate: mean, lowest and highest score, seconds, and the difference.

        Scores are those of the runs that did not diverge, None if all did. `seconds` is the median. The keys
        of the difference are None for the baseline.
        """
        against = {one.candidate: one for one in self.differences}
        keys = ("mean", "low", "high", "p", "p_corrected", "verdict")
        rows = []
        for candidate in self.candidates:
            scores = [run.score for run in candidate.runs if not run.diverged]
            difference = against.get(candidate.name)
            row: dict[str, Any] = {
                "name": candidate.name,
                self.metric: statistics.fmean(scores) if scores else None,
                "lowest": min(scores, default=None),
                "highest": max(scores, default=None),
                "diverged": len(candidate.runs) - len(scores),
                "seconds": statistics.median(run.seconds for run in candidate.runs),
            }
            for key in keys:
                row["difference" if key == "mean" else key] = getattr(difference, key, None)
            rows.append(row)
        return rows

    def plot(self) -> Figure:
        """Learning curves on validation data: the median over the pairs, and from lowest to highest.

        A test metric is drawn on validation data, too. An epoch that only some runs reached has the median of
        those. Values that are not finite are left out.
        """
        return drawn("comparison", self)

    def to_json(self) -> str:
        """Everything as JSON; non-finite numbers are the strings "nan", "inf" and "-inf"."""
        return to_json(asdict(self), indent=2)


def judge(
    candidates: Sequence[Candidate],
    metric: str,
    *,
    level: float,
    path: Path,
    direction: Direction | None = None,
) -> Comparison:
    """Compare each candidate's runs with the first candidate's, paired by position.

    ``direction``: whether a higher ("max") or lower ``metric`` is better; None takes it from the name.
    """
    baseline, *challengers = candidates
    direction = direction or direction_of(metric)
    pairs = [paired_differences(one.scores, baseline.scores, direction) for one in challengers]
    p_values = [sign_flip_p(values) for values in pairs]
    differences = tuple(
        _difference(one.name, values, p, p_corrected, level, can_decide(len(values), len(challengers), level))
        for one, values, p, p_corrected in zip(challengers, pairs, p_values, holm(p_values), strict=True)
    )
    return Comparison(metric, direction, level, tuple(candidates), differences, str(path))


def _difference(
    name: str, values: np.ndarray, p: float, p_corrected: float, level: float, decidable: bool
) -> Difference:
    finite = values[np.isfinite(values)]
    low, high = bootstrap_interval(finite, level)
    verdict: Verdict = "no evidence" if decidable else "too few pairs"
    if p_corrected <= level:
        verdict = "better" if comparable(values).mean() > 0 else "worse"
    mean = float(finite.mean()) if len(finite) else float("nan")
    return Difference(name, tuple(values.tolist()), mean, low, high, p, p_corrected, verdict)


def verdicts(comparison: Comparison) -> list[str]:
    """A sentence for each candidate except the baseline, and one if there were too few pairs for a proof."""
    note = too_few_pairs(len(comparison.baseline.runs), len(comparison.differences), comparison.level)
    return [*(_verdict(comparison, one) for one in comparison.differences), *([note] if note else [])]


def in_how_many(one: Difference) -> str:
    """The number of pairs in which a candidate is better or worse than the baseline, whichever is larger."""
    better, worse = one.counts
    word, count = ("worse", worse) if worse > better else ("better", better)
    return f"{word} in {count} of {len(one.differences)} pairs"


def proof_in_words(comparison: Comparison) -> str:
    """The proof of a treatment as text: pairs won, mean difference, p, and the level if it was missed."""
    one = comparison.differences[0]
    words = in_how_many(one)
    other = words.startswith("better") == (one.mean < 0)  # few large differences against many small ones
    word = "" if not other else "worse " if one.mean < 0 else "better "
    by = f", {word}by {number(abs(one.mean))} on average" if math.isfinite(one.mean) else ""
    result = f"{words}{by} (p = {one.p:.2g})"
    if one.verdict in ("better", "worse"):
        return result
    return f"no evidence that the changes help: {result[:-1]}, {comparison.level:.2g} needed)"


def _verdict(comparison: Comparison, one: Difference) -> str:
    baseline = comparison.baseline.name
    if one.verdict == "too few pairs":
        sentence = f"Too few pairs to tell whether {one.candidate} and {baseline} differ: "
    elif one.verdict == "no evidence":
        sentence = f"No evidence that {one.candidate} and {baseline} differ: "
    else:
        sentence = f"{one.candidate} is {one.verdict} than {baseline}: "
    if math.isfinite(one.mean):
        word = "worse" if one.mean < 0 else "better"
        sentence += f"{comparison.metric} {word} by {number(abs(one.mean))} on average"
    else:
        sentence += "a run diverged in every pair"
    if math.isfinite(one.low):
        sentence += f" ({1 - comparison.level:.0%} interval {number(one.low)} to {number(one.high)})"
    diverged = sum(not math.isfinite(value) for value in one.differences)
    if 0 < diverged < len(one.differences):
        sentence += f", leaving out {diverged} of {len(one.differences)} pairs in which a run diverged"
    corrected = " corrected" if len(comparison.differences) > 1 else ""
    return f"{sentence}; p = {one.p_corrected:.2g}{corrected}."


def paired_run(records: RunRecords, seed: int, metric: str) -> PairedRun:
    """A finished run with its score: the metric of its best weights, NaN if no epoch was finite."""
    result = records.result
    assert result is not None, "only finished runs are scored"
    return PairedRun(
        seed=seed,
        score=_score(records, metric),
        best_epoch=result.best_epoch,
        seconds=result.seconds,
        history=tuple(line.logs for line in records.history),
        path=str(records.path),
    )


def _score(records: RunRecords, metric: str) -> float:
    result = records.result
    if result is None or result.best_epoch is None:
        return math.nan
    for part, prefix in PREFIXES.items():
        if metric.startswith(prefix) and part in result.evaluations:
            return result.evaluations[part].metrics[metric.removeprefix(prefix)]
    best = next(line for line in records.history if line.epoch == result.best_epoch)
    return best.logs[metric]
