"""The course of a treatment: candidates, full training runs, proof, fewest changes, and a second round.

Every step is a function of the records before it; :class:`Steps` has those that train.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from kilter._compare.looks import Spending
from kilter._diagnosis.diagnose import Examined
from kilter._diagnosis.outcome import Outcome, skill_of
from kilter._diagnosis.thresholds import Thresholds
from kilter._records import Diagnosis
from kilter._treatment.full_runs import ALTERNATIVES, FullRuns, Round, moved, trial
from kilter._treatment.full_training import AsGiven, Trained, train_in_full
from kilter._treatment.minimal import UNSEEN, Minimal, in_full, minimal
from kilter._treatment.plan import shortfall, sibling_of, wanted
from kilter._treatment.proof import proven
from kilter._treatment.result import Trial, Trials
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import (
    Choice,
    Search,
    Tools,
    fewest,
    further_changes,
    lengthen,
    persist,
    planned_search,
    shorten,
)
from kilter._treatment.sound_sibling import OPTIMIZER
from kilter._treatment.subject import Subject

_LEARNT: Final = Thresholds().learnt_least
SIBLING: Final = "sound sibling"
# Remedies that the sibling's optimiser includes.
OPTIMIZING: Final = (
    "change-optimizer",
    "find-learning-rate",
    "warm-up",
    "clip-gradients",
    "ease-clipping",
    "one-cycle",
)


@dataclass(frozen=True)
class Steps:
    """The functions that search, train and prove; others in tests of the course itself."""

    fewest: Callable[..., Choice] = fewest
    further_changes: Callable[..., Choice] = further_changes
    persist: Callable[..., Choice] = persist
    train: Callable[..., Trained] = train_in_full
    prove: Callable[..., Trials] = proven
    minimal: Callable[..., Minimal] = minimal
    sibling: Callable[..., Subject | None] = sibling_of
    planned: Callable[..., Search] = planned_search
    lengthen: Callable[..., None] = lengthen


def unchanged(original: Subject, given: AsGiven, tools: Tools) -> Round:
    """The original model, trained unchanged, and no trials."""
    return Round(original, given.best, Trials(tools.scoring.measure, 0, 0))


def course(
    original: Subject,
    diagnosis: Diagnosis,
    given: AsGiven,
    tools: Tools,
    spending: Spending,
    steps: Steps | None = None,
    *,
    examined: Examined | None = None,
) -> Round:
    """The best subject, trained: of one round, or of two if the first falls short of the sound sibling.

    The second round continues from what the first one proved, with longer trials, and takes warnings as
    severe.
    ``examined``: what the diagnosis knows of the sibling. If it has tried the whole training, a network
    without any finding is not compared with it again, and the sibling is trained only if it gets further.
    """
    begin = unchanged(original, given, tools)
    known = examined or Examined(diagnosis)
    return _Course(begin, diagnosis, tools, spending, steps or Steps(), known).run()


@dataclass(eq=False)
class _Course:
    unchanged: Round
    diagnosis: Diagnosis
    tools: Tools
    spending: Spending
    steps: Steps
    examined: Examined

    def run(self) -> Round:
        """The course; at its end the ways to make its changes are chosen."""
        found = self._rounds()
        varied = set(ALTERNATIVES) & set(found.subject.remedies)
        return self._full_runs.varied(found) if varied and not self._is_costly(found.subject) else found

    @property
    def _full_runs(self) -> FullRuns:
        return FullRuns(self.unchanged, self.diagnosis, self.tools, self._scoring, self.steps.train)

    def _rounds(self) -> Round:
        first = self.unchanged if self.diagnosis.ok else self._first_round()
        done = self._trained(first)
        # A network with warnings is expected to reach as much as others.
        sound = not self.diagnosis.codes("severe") and not self.diagnosis.codes("warning")
        if first.trials.reason and (first.trained is None or set(first.subject.remedies) <= set(UNSEEN)):
            return Round(first.subject, done, first.trials)
        settled = first.trials.proven and not self._has_other_causes
        if (
            settled
            or not self._falls_short(done, sound=sound)
            or self.tools.deadline.stops("a second search")
        ):
            return Round(first.subject, done, first.trials)
        second = self._second_round(first, done)
        if second is None:
            return Round(first.subject, done, first.trials)
        if not second.trials.proven:
            known = first.trials.reason or first.trials.proof is not None
            return Round(first.subject, done, first.trials if known else second.trials)
        again = self._trained(second)
        if self._scoring.better_by(again.score, done.score) > 0:
            return Round(second.subject, again, second.trials)
        return Round(first.subject, done, first.trials)

    def _second_round(self, first: Round, done: Trained) -> Round | None:
        """The best of further changes; if costly, the sibling that the diagnosis saw get further."""
        sibling, costly = self._sibling_subject, self._is_costly(done.subject)
        if costly and sibling is not None and self._is_behind_part(done):
            known = first.subject.remedies == sibling.remedies
            return None if known else self._sibling_by_trials(sibling, again=True)
        found = shortfall(self.diagnosis, done.diagnosis)
        choice = self.steps.further_changes(first.subject, found, self.tools)
        return None if choice.search is None and sibling is None else self._settled(choice)

    @cached_property
    def _sibling(self) -> Trained | None:
        """The sound sibling, trained in full; None if there is none, or no time for it."""
        if self.tools.deadline.stops("the sound sibling"):
            return None
        subject = self._sibling_subject
        return None if subject is None else self.steps.train(subject, self.tools)

    @cached_property
    def _sibling_subject(self) -> Subject | None:
        """The sibling; with its optimiser only, if the diagnosis has seen that this is what it takes."""
        outcome = self.examined.outcome
        alone = outcome is not None and outcome.is_of_rate
        original, remedy_set = self.unchanged.subject, self.tools.remedy_set
        return self.steps.sibling(original, self.diagnosis, remedy_set, optimizer_alone=alone)

    def _may_gain(self, done: Trained) -> bool:
        """Whether the sibling may get further than this training, as far as the diagnosis knows."""
        outcome, rows = self._seen_of_sibling, self.examined.rows
        if outcome is None or rows is None or done.failed:
            return True
        return outcome.is_behind_sibling(skill_of(rows, done.restored()))

    def _is_behind_part(self, done: Trained) -> bool:
        """Whether a training ends clearly behind what the diagnosis saw of the sibling, after fewer steps."""
        outcome, rows = self._seen_of_sibling, self.examined.rows
        if outcome is None or rows is None or done.failed:
            return False
        margin = max(self.tools.scoring.policy.sound_margin, outcome.error)
        return outcome.sibling - skill_of(rows, done.restored()) > margin

    @property
    def _scoring(self) -> Scoring:
        """The scoring, with the sibling's score as a reference once that is known."""
        known = self.__dict__.get("_sibling")
        scoring = self.tools.scoring
        return scoring if known is None else replace(scoring, sibling=known.score)

    @property
    def _has_other_causes(self) -> bool:
        """Whether a finding asks for more than another optimiser or rate."""
        found = [one for one in self.diagnosis.findings if one.severity != "note" and one.remedies]
        return any(one.remedies[0] not in OPTIMIZING for one in found)

    def _falls_short(self, done: Trained, *, sound: bool) -> bool:
        """Whether a training ends a margin behind the baselines or the sibling, which is trained for that."""
        if self._scoring.falls_short(done.score, sound=sound):
            return True
        outcome = self.examined.outcome
        tried = outcome is not None and outcome.is_whole
        if self._scoring.leaves_little(done.score) or (sound and tried):
            return False
        if self._is_costly(done.subject):
            return self._is_behind_part(done)
        if not self._may_gain(done):
            return False
        return self._sibling is not None and self._scoring.falls_short(done.score, sound=sound)

    def _first_round(self) -> Round:
        """The fewest changes that suffice, or the sound sibling if that gets further."""
        if self.tools.deadline.stops("the search for changes"):
            return self.unchanged
        outcome = self.examined.outcome
        if outcome is not None and outcome.is_of_rate and not self._has_other_causes:
            found = self._by_optimizer()
            if found is not None:
                return found
        choice = self.steps.fewest(self.unchanged.subject, self.diagnosis, self.tools)
        if choice.search is not None and choice.search.is_costly:  # one full training: of what is proven
            choice = self.steps.persist(choice, self.diagnosis, self.tools.remedy_set)
        if choice.search is None and self._sibling_subject is None:
            return self.unchanged
        return self._settled(choice)

    def _by_optimizer(self) -> Round | None:
        """The original with the sibling's optimiser, which the diagnosis suggests; None if not proven."""
        subject = self._sibling_subject
        if subject is None:
            return None
        if self._is_costly(subject):
            found = self._sibling_by_trials(subject)
        elif self._sibling is None:
            return None
        else:
            found = self._settled(Choice(self.unchanged.subject, math.nan, None))
        return found if found.trials.proven else None

    def _sibling_by_trials(self, subject: Subject, *, again: bool = False) -> Round:
        """The sibling if short trials prove it, else the original. ``again``: in a second round."""
        search = self.steps.planned(subject, self.tools)
        search.thorough = again
        self.steps.lengthen(search, subject, self.tools.scoring.baseline)
        return self._fewest(Round(subject, None, self._tested(subject, search)), search)

    def _settled(self, choice: Choice) -> Round:
        """The chosen subject, or the sibling if that gets clearly further; unchanged if neither is proven.

        A choice that has learnt nothing in its short trial is trained in full only if the sibling learns
        nothing either. If training is long, that of the sibling too, both are compared in short trials, and
        nothing is trained here.
        """
        search, scoring, sibling = choice.search, self.tools.scoring, self._sibling_subject
        if search is not None and (search.is_costly or self._has_costly_sibling(choice)):
            return self._settled_by_trials(choice, search)
        if search is None and sibling is not None and self._is_costly(sibling):
            return self._sibling_by_trials(sibling)
        trained: list[Trained] = []
        if search is not None and not scoring.learnt_nothing(choice.score):
            trained = [self.steps.train(choice.subject, self.tools)]
        enough = trained and (scoring.leaves_little(trained[0].score) or not self._may_gain(trained[0]))
        hopeless = search is not None and self._sibling_learns_nothing
        if not enough and not hopeless and self._sibling is not None:
            search = search or self.steps.planned(self._sibling.subject, self.tools)
            search.tried.append(trial(self._sibling, SIBLING))
            trained.append(self._sibling)
        if search is None:  # nothing to try, and no time left for the sibling
            return self.unchanged
        if choice.search is not None and all(scoring.learnt_nothing(one.score) for one in trained):
            choice = self.steps.persist(choice, self.diagnosis, self.tools.remedy_set)
            trained.insert(0, self.steps.train(choice.subject, self.tools))
        return self._proven(trained, search)

    def _has_costly_sibling(self, choice: Choice) -> bool:
        """Whether the choice learns in its trial, and training its sibling in full is too much work."""
        sibling = self._sibling_subject
        if sibling is None or self.tools.scoring.learnt_nothing(choice.score):
            return False
        return self._is_costly(sibling)

    @property
    def _sibling_learns_nothing(self) -> bool:
        """Whether the diagnosis has tried the whole sibling, and it has learnt nothing."""
        outcome = self._seen_of_sibling
        return outcome is not None and outcome.is_whole and outcome.sibling < outcome.least(_LEARNT)

    @property
    def _seen_of_sibling(self) -> Outcome | None:
        """What the diagnosis has seen of the sibling; None if this one, unlike that, is made on remedies."""
        subject = self._sibling_subject
        repaired = subject is not None and any(one.finding is not None for one in subject.steps)
        return None if repaired else self.examined.outcome

    def _proven(self, trained: Sequence[Trained], search: Search) -> Round:
        """The best of what was trained, or the next if that is not proven, with the fewest changes.

        Nothing is tested that got no further than the original in full. Trials get as long as the best one
        needs to learn something in them.
        """
        before = self._trained(self.unchanged)
        ranked = _ranked(trained, self._scoring)
        trials = Trials(search.scoring.measure, search.epochs, search.rows, tuple(search.tried))
        tested = [one for one in ranked if self._scoring.better_by(one.score, before.score) > 0]
        one = ranked[0]
        for number, one in enumerate(tested):
            if not number and not search.scoring.learnt_nothing(one.score):
                self.steps.lengthen(search, one.subject, one.score)
            trials = self._tested(one.subject, search, before=trials if number else None)
            if trials.proven:
                break
        return self._fewest(Round(one.subject, one, trials), search)

    def _settled_by_trials(self, choice: Choice, search: Search) -> Round:
        best = choice.subject
        sibling = self._sibling_subject
        if sibling is not None and not self.tools.deadline.stops("the sound sibling"):
            reached = search.run(sibling, SIBLING)
            if search.scoring.better_by(reached, choice.score) > search.scoring.clear:
                best = sibling
        shorten(search, best)
        return self._fewest(Round(best, None, self._tested(best, search)), search)

    def _fewest(self, found: Round, search: Search) -> Round:
        """What is proven, without the changes that do not earn their places; unchanged if nothing is proven.

        The fewer changes are trained in full; if that loses, removed ones are put back.
        """
        if not found.trials.proven:
            unchanged = Round(self.unchanged.subject, self.unchanged.trained, found.trials)
            runs = self._full_runs
            reason = None if search.thorough else runs.by_reason(found)
            return reason or runs.by_length(found) or unchanged
        original, tools = self.unchanged.subject, self.tools
        asked = [OPTIMIZER, *(code for code, _ in wanted(self.diagnosis))]
        made = self.steps.minimal(original, found.subject, search, found.trials, tools.remedy_set, asked)
        trials = replace(found.trials, parts=made.parts)
        if not made.dropped:
            return Round(found.subject, found.trained, trials)
        line = Trial(
            made.subject.remedies,
            made.score,
            0.0,
            "short trials: without the changes that contribute nothing, chosen",
        )
        if found.trained is None:
            return Round(made.subject, None, replace(trials, tried=moved(trials.tried, line)))
        trained = self._full_runs.enough(found.trained, self.steps.train(made.subject, tools), made.parts)
        if trained.subject is not made.subject:
            line = trial(trained, "remaining changes, chosen")
        tried = trials.tried if trained is found.trained else moved(trials.tried, line)
        parts = in_full(made.parts, trained.subject)
        return Round(trained.subject, trained, replace(trials, parts=parts, tried=tried))

    def _trained(self, best: Round) -> Trained:
        return self.steps.train(best.subject, self.tools) if best.trained is None else best.trained

    def _tested(self, chosen: Subject, search: Search, *, before: Trials | None = None) -> Trials:
        """The trials, with the next test of the plan; a test that proves something gives its level back."""
        if self.tools.deadline.stops("the proof of the changes"):
            return before or Trials(search.scoring.measure, search.epochs, search.rows, tuple(search.tried))
        test = self.spending.take()
        trials = self.steps.prove(self.unchanged.subject, chosen, search, test, before=before)
        if trials.proven:
            self.spending.give_back(test)
        return trials

    def _is_costly(self, subject: Subject) -> bool:
        """Whether a full training is so much work that it is made once only, of what is proven."""
        return self.steps.planned(subject, self.tools).is_costly


def _ranked(trained: Sequence[Trained], scoring: Scoring) -> list[Trained]:
    """The best one and the fewest changes; these alone if no other training got clearly further."""
    first = trained[0]
    best = max(trained, key=lambda one: scoring.sign * one.score if math.isfinite(one.score) else -math.inf)
    gain = scoring.better_by(best.score, first.score)
    # Where the fewest changes do not reach the reference, any gain counts.
    further = gain > (0 if scoring.is_behind(first.score) else scoring.clear)
    return [best, first] if best is not first and further else [first]
