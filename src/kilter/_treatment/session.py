"""The course of a treatment: choose, train, hold against sound variants, once more where it falls short."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from kilter._compare.looks import Spending
from kilter._records import Diagnosis, Finding, ranked
from kilter._treatment.full_training import AsGiven, Trained, train_as_given, train_in_full
from kilter._treatment.result import Trial, Trials
from kilter._treatment.safeguard import Returned, safest
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import IN_FULL, Choice, Means, Search, fewest, further_changes, persist, proven
from kilter._treatment.subject import Subject
from kilter._treatment.variants import SECONDS, sound_variants, within

Round = tuple[Subject, Trained | None, Trials]
"""The best subject of a round, its full training if there was one, and the trials that chose its changes."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What comes of a treatment: the subject and its training, the trials, and what guarded against harm."""

    subject: Subject
    returned: Returned
    trials: Trials


@dataclass(frozen=True, eq=False)
class Session:
    """A treatment of the original subject (``came``) and its diagnosis, with the remedies of a set."""

    came: Subject
    diagnosis: Diagnosis
    means: Means
    pairs: int

    @property
    def scoring(self) -> Scoring:
        """The measure of the treatment."""
        return self.means.scoring

    @cached_property
    def given(self) -> AsGiven:
        """The given model, trained without changes."""
        return train_as_given(self.came, self.scoring, self.means.progress)

    def run(self) -> Outcome:
        """The outcome; never a model that is worse than the given one trained without changes."""
        best, done, trials = self._rounds()
        treated = None if best is self.came else done
        returned = safest(self.came, treated, self.given, self.scoring)
        return Outcome(returned.trained.subject, returned, trials)

    def _rounds(self) -> tuple[Subject, Trained, Trials]:
        """The best subject with its training; where the first round falls short of plain methods, of two.

        The second round goes on from what the first proved, with longer trials, and takes warnings as severe.
        """
        spending = Spending(self.pairs)
        none = Trials(self.scoring.measure, 0, 0)
        best, done, trials = (self.came, None, none) if self.diagnosis.ok else self._first(spending)
        done = self._train(best) if done is None else done
        # A network with warnings is held to what others are held to.
        sound = not self.diagnosis.codes("severe") and not self.diagnosis.codes("warning")
        if not self.scoring.falls_short(done.score, sound=sound):
            return best, done, trials
        found = _fallen_short(self.diagnosis, done.diagnosis)
        choice = further_changes(best, found, self.means)
        if choice.search is None:
            return best, done, trials
        # Where the first round was left out, sound variants have not been trained yet.
        subject, again, tried = self._settle(choice, found if self.diagnosis.ok else None, spending)
        if not tried.proven:
            return best, done, tried if trials.proof is None else trials
        again = self._train(subject) if again is None else again
        further = self.scoring.better_by(again.score, done.score) > 0
        return (subject, again, tried) if further else (best, done, trials)

    def _first(self, spending: Spending) -> Round:
        """The outcome of the first round: of the fewest changes, or of a sound variant that gets further."""
        choice = fewest(self.came, self.diagnosis, self.means)
        if choice.search is None:
            return self.came, None, Trials(self.scoring.measure, 0, 0)
        if choice.search.full > SECONDS:  # one full training is to do: of what is proven
            choice = persist(choice, self.diagnosis, self.means.remedy_set)
        return self._settle(choice, self.diagnosis, spending)

    def _settle(self, choice: Choice, varied: Diagnosis | None, spending: Spending) -> Round:
        """What was chosen, or a sound variant that gets clearly further; as it came where none is proven.

        ``varied``: what variants treat; None for none of them. What has learnt nothing in its short trial is
        only trained in full where there is no variant. Where a training takes long there is none, and nothing
        is trained here.
        """
        search = choice.search
        assert search is not None
        if search.full > SECONDS:
            trials = self._proven(choice.subject, search, spending)
            return choice.subject if trials.proven else self.came, None, trials
        trained: list[Trained] = []
        if varied is None or not self.scoring.learnt_nothing(choice.score):
            trained = [self._train(choice.subject)]
        if varied is not None and not (trained and self.scoring.leaves_little(trained[0].score)):
            trained += self._variants(search, choice.subject, trained, varied)
        if not trained:
            choice = persist(choice, self.diagnosis, self.means.remedy_set)
            trained = [self._train(choice.subject)]
        one, *others = self._ranked(trained)
        trials = self._proven(one.subject, search, spending)
        if others and not trials.proven:
            (one,) = others
            trials = self._proven(one.subject, search, spending, before=trials)
        return (one.subject, one, trials) if trials.proven else (self.came, None, trials)

    def _proven(
        self, chosen: Subject, search: Search, spending: Spending, *, before: Trials | None = None
    ) -> Trials:
        """The trials, with the next test of the plan; a test that proves something gives its level back."""
        test = spending.take()
        trials = proven(self.came, chosen, search, test, before=before)
        if trials.proven:
            spending.give_back(test)
        return trials

    def _variants(
        self, search: Search, chosen: Subject, trained: Sequence[Trained], found: Diagnosis
    ) -> list[Trained]:
        """Sound variants, trained, until one leaves little to learn."""
        # Numbers are learnt the longer the rate is high, classes best where it falls to nothing at last.
        cycled = self.scoring.measure == "val_accuracy"
        variants = sound_variants(self.came, chosen, found, self.means.remedy_set, cycled=cycled)
        seconds = trained[0].seconds if trained else search.full
        made: list[Trained] = []
        for one in within(variants, seconds, self.means.budget, self._train):
            made.append(one)
            if self.scoring.leaves_little(one.score):
                break
        search.tried += map(_told, made)
        return made

    def _ranked(self, trained: Sequence[Trained]) -> list[Trained]:
        """The best first, then the fewest changes; these alone where nothing gets clearly further."""
        first = trained[0]
        best = max(trained, key=self._rank)
        return [best, first] if best is not first and self._further(best, first) else [first]

    def _further(self, one: Trained, other: Trained) -> bool:
        """Whether ``one`` is clearly better; better at all, where ``other`` does not reach plain methods."""
        gain = self.scoring.better_by(one.score, other.score)
        return gain > (0 if self.scoring.is_behind(other.score) else self.scoring.clear)

    def _rank(self, trained: Trained) -> float:
        return self.scoring.sign * trained.score if math.isfinite(trained.score) else -math.inf

    def _train(self, subject: Subject) -> Trained:
        if subject is self.came:
            return self.given.best
        return train_in_full(subject, self.scoring, self.means.progress)


def _told(trained: Trained) -> Trial:
    remedies = tuple(change.remedy for change in trained.subject.changes)
    epochs = trained.history.seconds
    return Trial(remedies, trained.score, sum(epochs) / max(len(epochs), 1), IN_FULL)


def _fallen_short(found: Diagnosis, trained: Diagnosis) -> Diagnosis:
    """What was found before and after the training; that it fell short is severe by itself."""
    short = Finding(
        "loss-not-moving",
        "severe",
        ("training",),
        (),
        "After all epochs the answers are no better than a constant, or worse than a plain method's.",
        ("find-learning-rate",),
        "",
    )
    return Diagnosis(ranked([*found.findings, *trained.findings, short])).raised()
