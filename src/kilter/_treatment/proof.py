"""The proof of the chosen changes: paired seeds that the search did not see, and the exact sign-flip test."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

from kilter._compare.comparison import (
    Candidate,
    Comparison,
    Difference,
    OwnMeasure,
    PairedRun,
    in_how_many,
    judge,
)
from kilter._compare.looks import Test, can_decide
from kilter._compare.statistics import holm
from kilter._progress import SILENT, Progress
from kilter._treatment.deadline import Deadline
from kilter._treatment.effect import Effect, effect
from kilter._treatment.policy import ScoringPolicy
from kilter._treatment.result import Trial, Trials
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import Search
from kilter._treatment.subject import Subject
from kilter._treatment.trial_runner import TrialRunner
from kilter.runs.records import Direction

# The seeds of a second round's proof are this much above those of the first.
_SECOND_ROUND: Final = 1_000
_ORIGINAL: Final = "original model"


def proven(
    original: Subject, chosen: Subject, search: Search, test: Test, *, before: Trials | None = None
) -> Trials:
    """The trials of a search, with the proof of the chosen subject against the original one.

    ``test``: the looks that are planned. ``before``: the trials of another choice that was not proven; its
    runs of the original subject are used again.
    """
    known = () if before is None or before.proof is None else before.proof.baseline.runs
    runner = search.runner(chosen)
    # A second round depends on what the first one proved, so its test needs other seeds.
    seed = search.seed + 1 + (_SECOND_ROUND if search.thorough else 0)
    proof = prove(
        search.runner(original),
        runner,
        search.epochs,
        seed,
        test,
        known=known,
        progress=search.progress,
        deadline=search.deadline,
    )
    return Trials(
        search.scoring.measure,
        search.epochs,
        runner.rows_per_epoch,
        (_median(proof.baseline), *_marked(search.tried, chosen.remedies)),
        proof,
        refusal(proof, search.scoring),
        effect=effect_of(proof, search.scoring),
    )


def prove(
    baseline: TrialRunner,
    chosen: TrialRunner,
    epochs: int,
    seed: int,
    test: Test,
    *,
    known: Sequence[PairedRun] = (),
    progress: Progress = SILENT,
    deadline: Deadline | None = None,
) -> Comparison:
    """Train both with the seeds from ``seed`` on, and judge by the exact sign-flip test on the pairs.

    ``test``: the planned looks. There is a later look if the one before proved nothing, but more pairs gain
    by the changes than lose: a network that fails with every other seed needs more pairs than one that
    always fails. ``known``: runs of the baseline with the first of these seeds, which are not repeated.
    """
    runs: list[list[PairedRun]] = [[], []]
    judged: Comparison | None = None
    for look in test:
        assert can_decide(look.pairs, 1, look.level), "a look that can reach no verdict"
        if judged is not None and deadline is not None and deadline.stops("more pairs of the proof"):
            break
        seeds = range(seed + len(runs[0]), seed + look.pairs)
        ready = known[len(runs[0]) : look.pairs]
        name = "Proof: training" if not runs[0] else "Proof with more pairs: training"
        begin = _counter(progress, name, len(seeds[len(ready) :]) + len(seeds))
        runs[0] += [*ready, *baseline.runs(seeds[len(ready) :], epochs, begin)]
        runs[1] += chosen.runs(seeds, epochs, begin)
        candidates = [Candidate(_ORIGINAL, tuple(runs[0])), Candidate("treated", tuple(runs[1]))]
        scoring = baseline.scoring
        judged = judge(
            candidates, scoring.measure, level=look.level, path=Path(), direction=scoring.direction
        )
        if judged.differences[0].verdict == "worse" or _is_settled(judged, baseline.scoring):
            break
        if not _is_promising(runs, baseline.scoring):
            break
    assert judged is not None, "a test has at least one look"
    return judged


def refusal(proof: Comparison, scoring: Scoring) -> str:
    """Why changes that the test calls better are still refused; "" if they are not.

    Either the gain is too small to matter, or one of an output's own measures got worse, by the same test on
    the same pairs, corrected for the number of measures.
    """
    if proof.differences[0].verdict != "better":
        return ""
    worse = _worse(proof, scoring.policy)
    if worse:
        return worse
    found = effect_of(proof, scoring)
    return "" if found.matters else f"no difference that matters: {found}"


def effect_of(proof: Comparison, scoring: Scoring) -> Effect:
    """The effect of the changes in a proof, on the way from a constant prediction to perfection."""
    before, after = (one.runs for one in proof.candidates)
    gains = [scoring.gain(new.score, old.score) for old, new in zip(before, after, strict=True)]
    return effect(gains, scoring.policy.least_gain, proof.level)


def _worse(proof: Comparison, policy: ScoringPolicy) -> str:
    """The first of the own measures that got worse by a difference that matters, as text; "" for none."""
    before, after = (one.runs for one in proof.candidates)
    known: dict[str, OwnMeasure] = {name: own for run in (*before, *after) for name, own in run.own.items()}
    judged = {name: _judged(proof, name, own.direction) for name, own in known.items()}
    corrected = holm([one.p for one in judged.values()]) if judged else ()
    for (name, one), p in zip(judged.items(), corrected, strict=True):
        # Few pairs cannot reach a level that is corrected for many measures: then it counts if all agree.
        every = one.counts[1] == len(one.differences)
        found = one.mean < 0 or not math.isfinite(one.mean)
        if (
            found
            and one.verdict == "worse"
            and (p <= proof.level or every)
            and _is_harm(one, known[name], policy)
        ):
            return f"{name} got worse: {in_how_many(one)}, p = {one.p:.2g}"
    return ""


def _judged(proof: Comparison, name: str, direction: Direction) -> Difference:
    """The difference of the same runs, scored by one of their own measures."""
    unknown = OwnMeasure(math.nan, direction)
    sides = [
        Candidate(one.name, tuple(replace(run, score=run.own.get(name, unknown).value) for run in one.runs))
        for one in proof.candidates
    ]
    return judge(sides, name, level=proof.level, path=Path(), direction=direction).differences[0]


def _is_harm(one: Difference, own: OwnMeasure, policy: ScoringPolicy) -> bool:
    """Whether the loss is one that matters; any is where the way to perfection is unknown."""
    return not (math.isfinite(own.way) and math.isfinite(one.mean)) or -one.mean > policy.least_gain * own.way


def _counter(progress: Progress, name: str, total: int) -> Callable[[], None]:
    """A function to call at the start of each of ``total`` training runs."""
    numbers = count(1)
    return lambda: progress.stage(name, next(numbers), total)


def _is_promising(runs: Sequence[Sequence[PairedRun]], scoring: Scoring) -> bool:
    """Whether more pairs gain what one more change is worth than lose it."""
    worth = scoring.policy.worth
    gains = [scoring.better_by(after.score, before.score) for before, after in zip(*runs, strict=True)]
    return sum(gain > worth for gain in gains) > sum(gain < -worth for gain in gains)


def _is_settled(judged: Comparison, scoring: Scoring) -> bool:
    """Whether more pairs are of no use: a gain that matters, or one so small that it does not."""
    if judged.differences[0].verdict != "better":
        return False
    found = effect_of(judged, scoring)
    return found.matters or found.mean <= scoring.policy.least_gain


def _median(original: Candidate) -> Trial:
    """The original model's runs in the proof, as one line of the trials."""
    seconds = statistics.median(run.seconds for run in original.runs)
    return Trial((), original.median, seconds, f"{_ORIGINAL}: median of {len(original.runs)} short runs")


def _marked(tried: list[Trial], chosen: tuple[str, ...]) -> list[Trial]:
    """All trials, that of the chosen set marked: its short one, or its full one if there was no other."""
    found = sorted((one for one in tried if one.remedies == chosen), key=lambda one: "full" in one.outcome)
    return [replace(one, outcome=f"{one.outcome}, chosen") if one in found[:1] else one for one in tried]
