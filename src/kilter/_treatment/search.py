"""The search for changes: short trials of growing sets of remedies, the smallest that suffices.

Trials are counted in work (:mod:`kilter._engine.program_cache`), not in seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from kilter._engine.step_cost import StepCost
from kilter._engine.structure import Structure, structure
from kilter._progress import SILENT, Progress
from kilter._records import Diagnosis, Finding
from kilter._treatment.deadline import Deadline
from kilter._treatment.plan import FURTHER, RemedySet, cumulative, further, wanted
from kilter._treatment.policy import SearchPolicy
from kilter._treatment.result import Trial
from kilter._treatment.scoring import Scoring
from kilter._treatment.subject import Subject
from kilter._treatment.trial_runner import TrialRunner

_LENGTH = "to choose the length of the trials"
_FREE, _POLICY = StepCost(0.0, 0.0), SearchPolicy()


@dataclass
class Search:
    """The trials of one search: how long each is, what was tried, and how much work is left.

    Attributes:
        epochs, rows: the length of a trial; an epoch has at most ``rows`` training rows.
        seed: of the search alone. The proof draws other seeds, so that it is independent of the choice.
        allowed, full: the work that the search may do, and that of the full training.
        cost: of a training step of the first subject, taken for all of them.
        thorough: whether this is a second search, because the first did not suffice.
        number: of trials that were run here; ``tried`` also has what was trained elsewhere.
        known: the scores of subjects, by the length of the trial.
    """

    scoring: Scoring
    epochs: int
    rows: int
    seed: int
    allowed: float
    full: float = 0.0
    cost: StepCost = _FREE
    policy: SearchPolicy = _POLICY
    thorough: bool = False
    number: int = 0
    progress: Progress = SILENT
    deadline: Deadline = field(default_factory=Deadline)
    spent: float = 0.0
    tried: list[Trial] = field(default_factory=list)
    runners: dict[tuple[Subject, int], TrialRunner] = field(default_factory=dict)
    known: dict[tuple[Subject, int, int], float] = field(default_factory=dict)
    _compiled: set[Structure | None] = field(default_factory=set)

    def run(self, subject: Subject, outcome: str) -> float:
        """The score of a short training, run once for each subject, length and number of rows."""
        length = self.epochs, self.rows
        if (subject, *length) in self.known:
            return self.known[subject, *length]
        self.number += 1
        name = "Second search: trial" if self.thorough else "Trial"
        self.progress.stage(name, self.number, detail=" + ".join(subject.remedies))
        runner = self.runner(subject)
        run = runner.run(self.seed, self.epochs)
        self._charge(subject, runner)
        self.tried.append(Trial(subject.remedies, run.score, run.seconds, f"short trial: {outcome}"))
        self.known[subject, *length] = run.score
        return run.score

    @property
    def is_costly(self) -> bool:
        """Whether a full training is more work than a whole search may always do."""
        return self.full > self.policy.search_work

    def shows(self, score: float, further: float) -> bool:
        """Whether a score is learning, and enough of what a longer training reaches."""
        if self.scoring.learnt_nothing(score) or math.isinf(self.scoring.chance) or math.isnan(further):
            return not self.scoring.learnt_nothing(score)
        whole = self.scoring.gain(further, self.scoring.chance)
        return self.scoring.gain(score, self.scoring.chance) >= self.policy.enough * whole

    def is_clear(self, score: float) -> bool:
        """Whether a score is so far above a constant prediction's that few pairs prove it."""
        return self.scoring.gain(score, self.scoring.chance) > self.policy.part_clear

    def runner(self, subject: Subject) -> TrialRunner:
        """The subject's runner for trials on so many rows, the same one each time."""
        key = subject, self.rows
        if key not in self.runners:
            self.runners[key] = TrialRunner(subject, self.scoring, self.rows)
        return self.runners[key]

    def halved(self, subject: Subject) -> tuple[int, int] | None:
        """Half of the epochs, or of the rows of a single one; None if a trial would be too short."""
        batch, policy = subject.training.batch_size, self.policy
        if self.epochs * (min(self.rows, subject.rows) // batch) < 2 * policy.trial_steps:
            return None
        return (self.epochs // 2, self.rows) if self.epochs > 1 else (1, min(self.rows, subject.rows) // 2)

    def _charge(self, subject: Subject, runner: TrialRunner) -> None:
        """Add the work of a trial, with its compilation where no model of the same structure was tried."""
        self.spent += self.epochs * runner.steps * self.cost.work
        parts = structure(subject.model)
        if parts is None or parts not in self._compiled:
            self.spent += self.cost.compilation
        self._compiled.add(parts)

    def is_over(self, score: float) -> bool:
        """Whether no work is left to try more, with ``score`` as the best so far."""
        if self.deadline.stops("the rest of the search"):
            return True
        short = self.scoring.falls_short(score)
        if self.scoring.learnt_nothing(score):
            return self.spent > self.allowed * self.policy.longer
        return self.spent > self.allowed * (self.policy.somewhat_longer if short else 1)


@dataclass(frozen=True, eq=False)
class Choice:
    """The result of a search, not yet proven: a subject, the score of its trial, and the search.

    ``search`` is None if no remedy applied; the subject is then the one searched from.
    """

    subject: Subject
    score: float
    search: Search | None


@dataclass(frozen=True, eq=False)
class Tools:
    """What every step of a treatment uses: remedies, the measure, the budget, a listener, and a limit."""

    remedy_set: RemedySet
    scoring: Scoring
    budget: float = 1.0
    progress: Progress = SILENT
    deadline: Deadline = field(default_factory=Deadline)


def fewest(subject: Subject, diagnosis: Diagnosis, tools: Tools) -> Choice:
    """The fewest remedies for the severe findings that are about as good as all of them, by short trials."""
    return _searched(subject, wanted(diagnosis, symptoms=False), diagnosis, tools)


def further_changes(begin: Subject, diagnosis: Diagnosis, tools: Tools) -> Choice:
    """Changes beyond those of ``begin``, which do not suffice: longer trials, one more change at a time."""
    choice = _searched(begin, wanted(diagnosis), diagnosis, tools, thorough=True)
    return choice if choice.search is None else persist(choice, diagnosis, tools.remedy_set)


def _searched(
    begin: Subject,
    remedies: Sequence[tuple[str, Finding]],
    diagnosis: Diagnosis,
    tools: Tools,
    *,
    thorough: bool = False,
) -> Choice:
    """The smallest of the growing sets of ``remedies`` that suffices; one further remedy if none applies."""
    tools.progress.stage("Treating: preparing the remedies")
    sets = cumulative(begin, remedies, tools.remedy_set)
    sets = sets or list(islice(further(begin, diagnosis, tools.remedy_set), 1))
    if not sets:
        return Choice(begin, math.nan, None)
    tools.progress.stage("Treating: compiling a training step")
    search = planned_search(sets[-1], tools)
    if thorough:
        search.epochs = min(search.epochs * search.policy.longer, begin.training.epochs)
        search.thorough = True
    score = search.run(sets[-1], "all severe findings treated")
    return Choice(*_fewest(sets, score, search), search)


def planned_search(subject: Subject, tools: Tools) -> Search:
    """A search with trials of a length that suits the subject's training, from the cost of its step."""
    policy, epochs, batch = subject.policy.search, subject.training.epochs, subject.training.batch_size
    runner = TrialRunner(subject, tools.scoring, subject.rows)
    cost = runner.cost()
    epoch = runner.steps * cost.work
    full = epochs * epoch
    of_trial = max(policy.trial_work, policy.trial_share * tools.budget * full)
    rows = subject.rows
    if epoch > of_trial:
        rows = min(rows, max(policy.partial_epoch_steps * batch, int(rows * of_trial / epoch)))
    least = math.ceil(policy.trial_steps / subject.steps_per_epoch) if rows == subject.rows else 1
    search = Search(
        tools.scoring,
        epochs=min(epochs, max(least, int(of_trial / epoch))),
        rows=rows,
        seed=subject.seed,
        allowed=policy.search_work + policy.search_share * tools.budget * full,
        full=full,
        cost=cost,
        policy=policy,
        progress=tools.progress,
        deadline=tools.deadline,
    )
    if rows == subject.rows:
        search.runners[subject, rows] = runner
    return search


def _fewest(sets: list[Subject], score: float, search: Search) -> tuple[Subject, float]:
    """The smallest of the sets that is about as good as all of them, of those there is work left to try."""
    tolerance = search.scoring.policy.tolerance
    for some in sets[:-1]:
        if search.is_over(score):
            break
        reached = search.run(some, "fewer changes")
        nothing = search.scoring.learnt_nothing(reached)
        if not nothing and search.scoring.better_by(score, reached) <= tolerance:
            return some, reached
    return sets[-1], score


def persist(choice: Choice, diagnosis: Diagnosis, remedy_set: RemedySet) -> Choice:
    """The choice with further changes, one at a time; in longer trials if it has learnt nothing."""
    best, score, search = choice.subject, choice.score, choice.search
    assert search is not None
    longer = min(search.epochs * search.policy.longer, best.training.epochs)
    if search.scoring.learnt_nothing(score) and longer > search.epochs:
        if search.deadline.stops("longer trials"):
            return choice
        search.epochs = longer
        score = search.run(best, "trained for longer")
    return Choice(*_more(best, score, diagnosis, remedy_set, search), search)


def lengthen(search: Search, subject: Subject, reached: float = math.nan) -> None:
    """Make the trials as long as a subject that learns in full training needs to learn something in them.

    Where a full training is costly, also longer than that, up to a small share of it, until the effect is
    clear or half of what it ``reached``: trials that show little need more pairs, and mislead about single
    changes.
    """
    scoring, training = search.scoring, subject.training
    score = search.run(subject, _LENGTH)
    while scoring.learnt_nothing(score) or not (
        not search.is_costly or search.is_clear(score) or search.shows(score, reached)
    ):
        longer = min(search.epochs * search.policy.somewhat_longer, training.epochs)
        share = search.epochs * min(search.rows, subject.rows) / (training.epochs * subject.rows)
        needless = not scoring.learnt_nothing(score) and share > search.policy.proof_share
        if longer == search.epochs or needless or search.deadline.stops("longer trials"):
            break
        search.epochs = longer
        score = search.run(subject, _LENGTH)


def shorten(search: Search, subject: Subject) -> None:
    """Halve the trials while they still show enough of what the subject reaches in those of now.

    That has to be clear: smaller effects need more pairs, which is no less work.
    """
    scoring, reached = search.scoring, search.run(subject, _LENGTH)
    while math.isfinite(scoring.chance) and (half := search.halved(subject)) is not None:
        longer = search.epochs, search.rows
        search.epochs, search.rows = half
        score = search.run(subject, _LENGTH)
        if not (search.shows(score, reached) and search.is_clear(score)):
            search.epochs, search.rows = longer
            return


def _more(
    best: Subject, score: float, diagnosis: Diagnosis, remedy_set: RemedySet, search: Search
) -> tuple[Subject, float]:
    """Adds each further change that helps: the optimiser and the rate, and more while nothing is learnt.

    A subject that reaches the baselines after so short a run is tried with another optimiser only. One that
    still falls short of them in a thorough search is tried with everything.
    """
    scoring, worth = search.scoring, search.scoring.policy.worth
    codes = FURTHER if scoring.falls_short(score) else FURTHER[:1]
    for number, more in enumerate(further(best, diagnosis, remedy_set, codes)):
        well = not (scoring.falls_short if search.thorough else scoring.learnt_nothing)(score)
        perfect = scoring.measure == "val_accuracy" and score >= 1 - worth
        if perfect or (well and number >= 2) or search.is_over(score):
            break
        reached = search.run(more, "one more change")
        if scoring.better_by(reached, score) > worth and not scoring.learnt_nothing(reached):
            return _more(more, reached, diagnosis, remedy_set, search)
    return best, score
