"""Which changes: short trainings of growing sets, the smallest that suffices, its proof on paired seeds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Final

from kilter._compare.comparison import Candidate, Comparison, PairedRun, in_how_many, judge
from kilter._compare.looks import Test
from kilter._progress import SILENT, Progress
from kilter._records import Diagnosis, Finding
from kilter._treatment.plan import FURTHER, RemedySet, cumulative, further, wanted
from kilter._treatment.result import Trial, Trials
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter._treatment.trial_runner import TrialRunner
from kilter.runs.records import Direction

# A short training takes this share of the full training's time, and this long at least.
_SHARE: Final = 0.03
_SECONDS: Final = 0.1
# And so many steps, where all rows are trained on: fewer tell nothing, however busy the machine is.
_TRIAL_STEPS: Final = 64
# The search may take so long, and this share of the full training's time.
_SEARCH_SECONDS: Final = 6.0
_SEARCH_SHARE: Final = 0.3
# Fewer changes suffice if they lose no more than this to all of them; one more is worth it from this on.
_TOLERANCE: Final = 0.01
_WORTH: Final = 0.02
_LEAST_STEPS: Final = 20
# A search in which nothing learns is made once more, so many times as long; and it may take so many times
# the time that is meant for it, one that has not caught up with plain methods somewhat more than that time.
_LONGER: Final = 5
_SOMEWHAT_LONGER: Final = 2
# The seeds of a second round's proof are so many above those of the first.
_SECOND_ROUND: Final = 1_000
_AS_IT_CAME: Final = "as it came"
_CHOSEN: Final = "chosen"
IN_FULL: Final = "sound throughout, in full"


def _clocks() -> tuple[float, float]:
    """Seconds that pass, and this process's own: the lesser counts, or a busy machine cuts searches short."""
    return time.perf_counter(), time.process_time()


@dataclass
class Search:
    """The trials of one treatment: what was tried, what was chosen, and how many seconds it may take.

    ``seed`` is that of the search alone: the proof draws others, so that it knows nothing of the choice.
    ``thorough``: a second search, of what the first did not suffice for. ``full``: seconds that the full
    training takes, roughly, of a subject like the first. ``planned``: trials at most before further changes.
    """

    scoring: Scoring
    epochs: int
    rows: int
    seed: int
    seconds: float
    thorough: bool = False
    full: float = 0.0
    planned: int = 0
    progress: Progress = SILENT
    began: tuple[float, float] = field(default_factory=_clocks)
    tried: list[Trial] = field(default_factory=list)
    runners: dict[Subject, tuple[TrialRunner, PairedRun]] = field(default_factory=dict)

    def run(self, subject: Subject, outcome: str = "tried") -> float:
        """The score of a short training of ``subject``."""
        number = len(self.tried) + 1
        total = self.planned if number <= self.planned else 0
        self.progress.stage("Trial", number, total, detail=" + ".join(_remedies(subject)), at_most=True)
        runner = self.runner(subject)
        run = runner.run(self.seed, self.epochs)
        self.runners[subject] = runner, run
        self.tried.append(Trial(_remedies(subject), run.score, run.seconds, outcome))
        return run.score

    def runner(self, subject: Subject) -> TrialRunner:
        """The subject's runner, the same one each time."""
        held = self.runners.get(subject)
        return TrialRunner(subject, self.scoring, self.rows) if held is None else held[0]

    def over(self, score: float) -> bool:
        """Whether there is no time left to try more, with ``score`` as the best so far."""
        spent = min(now - began for now, began in zip(_clocks(), self.began, strict=True))
        short = self.scoring.falls_short(score)
        if self.scoring.learnt_nothing(score) or (self.thorough and short):
            return spent > self.seconds * _LONGER
        return spent > self.seconds * (_SOMEWHAT_LONGER if short else 1)


@dataclass(frozen=True, eq=False)
class Choice:
    """What a search chose, not yet proven: ``subject``, the score of its trial, and the search.

    ``search`` is None where no remedy applied, and the subject the one that came.
    """

    subject: Subject
    score: float
    search: Search | None


@dataclass(frozen=True, eq=False)
class Means:
    """What a treatment has: remedies, a measure, a share of the training's time, a seed, and a listener."""

    remedy_set: RemedySet
    scoring: Scoring
    budget: float
    seed: int
    progress: Progress = SILENT


def fewest(subject: Subject, diagnosis: Diagnosis, means: Means) -> Choice:
    """The fewest of the remedies for what is severe that are about as good as all, by short trials."""
    return _searched(subject, wanted(diagnosis, symptoms=False), diagnosis, means)


def further_changes(begin: Subject, diagnosis: Diagnosis, means: Means) -> Choice:
    """Changes beyond those of ``begin``, which do not suffice: by longer trials, one more at a time."""
    choice = _searched(begin, wanted(diagnosis), diagnosis, means, thorough=True)
    return choice if choice.search is None else persist(choice, diagnosis, means.remedy_set)


def _searched(
    begin: Subject,
    remedies: Sequence[tuple[str, Finding]],
    diagnosis: Diagnosis,
    means: Means,
    *,
    thorough: bool = False,
) -> Choice:
    """The smallest of the growing sets of ``remedies`` that suffices; of further ones where none applies."""
    means.progress.stage("Treating: preparing the remedies")
    sets = cumulative(begin, remedies, means.remedy_set)
    sets = sets or list(islice(further(begin, diagnosis, means.remedy_set), 1))
    if not sets:
        return Choice(begin, math.nan, None)
    means.progress.stage("Treating: compiling, and timing an epoch")
    search = _search(sets[-1], means)
    search.planned, search.progress = len(sets), means.progress
    if thorough:
        search.epochs = min(search.epochs * _LONGER, begin.options.epochs)
        search.thorough = True
    score = search.run(sets[-1], "all severe findings treated")
    return Choice(*_fewest(sets, score, search), search)


def persist(choice: Choice, diagnosis: Diagnosis, remedy_set: RemedySet) -> Choice:
    """The choice with further changes, one at a time; what has learnt nothing is tried for longer, once."""
    best, score, search = choice.subject, choice.score, choice.search
    assert search is not None
    for longer in (1, _LONGER):
        if longer > 1:
            search.epochs = min(search.epochs * longer, best.options.epochs)
            score = search.run(best, "tried for longer")
        best, score = _more(best, score, diagnosis, remedy_set, search)
        if not search.scoring.learnt_nothing(score) or search.epochs >= best.options.epochs:
            break
    return Choice(best, score, search)


def proven(
    came: Subject, chosen: Subject, search: Search, test: Test, *, before: Trials | None = None
) -> Trials:
    """The trials of a search, with the proof of what was chosen against the subject as it came.

    ``test``: the looks that are planned. ``before``: the same for another choice, which was not proven; its
    runs of the subject as it came serve again.
    """
    known: tuple[PairedRun, ...] = ()
    if before is not None and before.proof is not None:
        known = before.proof.baseline.runs
    runner = search.runner(chosen)
    # A second round depends on what the first one proved: its seeds are others, so that its test does not.
    seed = search.seed + 1 + (_SECOND_ROUND if search.thorough else 0)
    proof = prove(
        search.runner(came), runner, search.epochs, seed, test, known=known, progress=search.progress
    )
    runs = [one.runs[0] for one in proof.candidates]
    first = Trial((), runs[0].score, runs[0].seconds, _AS_IT_CAME)
    told = _told(search.tried, chosen, runs[1])
    return Trials(
        search.scoring.measure,
        search.epochs,
        runner.subject.rows_per_epoch,
        (first, *told),
        proof,
        refusal(proof, search.scoring),
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
) -> Comparison:
    """Train both with the seeds from ``seed`` on, and judge by the exact sign-flip test on the pairs.

    ``test``: the looks, whose pairs and levels were planned beforehand. A later look is taken where the one
    before proved nothing, but more of the pairs gain by the changes than lose: a network that fails with
    every other seed needs more pairs than one that always fails. The ``level`` of the comparison is that of
    its last look.

    ``known``: runs of the baseline with the first of these seeds, which are not made again.
    """
    runs: list[list[PairedRun]] = [[], []]
    for look in test:
        wanted = range(seed + len(runs[0]), seed + look.pairs)
        ready = known[len(runs[0]) : look.pairs]
        name = "Proof: training" if not runs[0] else "Proof with more pairs: training"
        begin = _counted(progress, name, len(wanted[len(ready) :]) + len(wanted))
        runs[0] += [*ready, *baseline.runs(wanted[len(ready) :], epochs, begin)]
        runs[1] += chosen.runs(wanted, epochs, begin)
        candidates = [
            Candidate(name, tuple(some)) for name, some in zip((_AS_IT_CAME, "treated"), runs, strict=True)
        ]
        judged = judge(candidates, baseline.scoring.measure, level=look.level, path=Path())
        if judged.differences[0].verdict != "no evidence" or not _promising(runs, baseline.scoring):
            break
    return judged


def refusal(proof: Comparison, scoring: Scoring) -> str:
    """Why changes that the test calls better are refused all the same; "" for none.

    Either an output's own measure got worse: the same test, on the same pairs, at the same level, for each
    measure by itself. Or the treated model still does no better than a constant answer, and gains next to
    nothing.
    """
    if proof.differences[0].verdict != "better":
        return ""
    before, after = (one.runs for one in proof.candidates)
    directions: dict[str, Direction] = {
        name: own.direction for run in (*before, *after) for name, own in run.own.items()
    }
    for name, direction in directions.items():
        sides = [Candidate(one.name, _on(one.runs, name)) for one in proof.candidates]
        judged = judge(sides, name, level=proof.level, path=Path(), direction=direction)
        one = judged.differences[0]
        if one.verdict == "worse":
            return f"{name} got worse: {in_how_many(one)}, p = {one.p:.2g}"
    idle = sum(scoring.learnt_nothing(run.score) for run in after) > len(after) / 2
    gains = [scoring.better_by(new.score, old.score) for old, new in zip(before, after, strict=True)]
    if idle and statistics.fmean(gains) < _TOLERANCE:
        return "the gain is next to nothing, and no better than a constant answer"
    return ""


def _on(runs: Sequence[PairedRun], measure: str) -> tuple[PairedRun, ...]:
    """The same runs, scored by one of their own measures."""
    return tuple(
        replace(run, score=run.own[measure].value if measure in run.own else math.nan) for run in runs
    )


def _counted(progress: Progress, name: str, total: int) -> Callable[[], None]:
    """To be called as each of ``total`` trainings begins."""
    numbers = count(1)
    return lambda: progress.stage(name, next(numbers), total)


def _promising(runs: Sequence[Sequence[PairedRun]], scoring: Scoring) -> bool:
    """Whether more of the pairs gain what one more change is worth than lose it."""
    gains = [scoring.better_by(after.score, before.score) for before, after in zip(*runs, strict=True)]
    return sum(gain > _WORTH for gain in gains) > sum(gain < -_WORTH for gain in gains)


def _search(subject: Subject, means: Means) -> Search:
    """How long a short training is: from the time that an epoch takes, once it is compiled."""
    scoring, budget, seed = means.scoring, means.budget, means.seed
    epochs = subject.options.epochs
    first = Search(scoring, 1, subject.rows, seed, math.inf)
    runner = first.runner(subject)
    runner.run(seed, 1)
    seconds = max(runner.run(seed, 1).seconds, 1e-4)
    allowed = max(_SECONDS, _SHARE * budget * epochs * seconds)
    for_all = _SEARCH_SECONDS + _SEARCH_SHARE * budget * epochs * seconds
    rows = subject.rows
    if seconds > allowed:
        least = _LEAST_STEPS * subject.options.batch_size
        rows = min(rows, max(least, int(rows * allowed / seconds)))
    least = math.ceil(_TRIAL_STEPS / subject.steps_per_epoch) if rows == subject.rows else 1
    short = min(epochs, max(least, int(allowed / seconds)))
    search = Search(scoring, short, rows, seed, for_all, full=epochs * seconds)
    if rows == subject.rows:
        search.runners[subject] = runner, PairedRun(seed, math.nan, None, seconds, (), "")
    return search


def _fewest(sets: list[Subject], score: float, search: Search) -> tuple[Subject, float]:
    """The smallest of the sets that is about as good as all of them, of those there is time to try."""
    for some in sets[:-1]:
        if search.over(score):
            break
        reached = search.run(some, "fewer changes")
        nothing = search.scoring.learnt_nothing(reached)
        if not nothing and search.scoring.better_by(score, reached) <= _TOLERANCE:
            return some, reached
    return sets[-1], score


def _more(
    best: Subject, score: float, diagnosis: Diagnosis, remedy_set: RemedySet, search: Search
) -> tuple[Subject, float]:
    """With further changes where each pays: the optimiser and the rate, and more while nothing is learnt.

    What is as good as plain methods already, after so short a training, is tried with another optimiser only.
    What still falls short of them in a thorough search is tried with everything.
    A change that does not pay is left out again.
    """
    scoring = search.scoring
    codes = FURTHER if scoring.falls_short(score) else FURTHER[:1]
    for number, more in enumerate(further(best, diagnosis, remedy_set, codes)):
        well = not (scoring.falls_short if search.thorough else scoring.learnt_nothing)(score)
        enough = well and number >= 2
        if search.over(score) or enough or (scoring.measure == "val_accuracy" and score >= 1 - _WORTH):
            break
        reached = search.run(more, "one more change")
        if scoring.better_by(reached, score) > _WORTH and not scoring.learnt_nothing(reached):
            return _more(more, reached, diagnosis, remedy_set, search)
    return best, score


def _told(tried: list[Trial], best: Subject, run: PairedRun) -> list[Trial]:
    """What was tried, the chosen set marked; added from its proof where it had no short trial."""
    chosen = _remedies(best)
    told = [
        replace(one, outcome=_CHOSEN) if one.remedies == chosen and one.outcome != IN_FULL else one
        for one in tried
    ]
    listed = any(one.outcome == _CHOSEN for one in told)
    return told if listed else [*told, Trial(chosen, run.score, run.seconds, _CHOSEN)]


def _remedies(subject: Subject) -> tuple[str, ...]:
    return tuple(change.remedy for change in subject.changes)
