"""What full training runs decide, each with the same rows and seed.

Short ones do not show how far a network gets: certain repairs, changes of which too many were removed, and
ways to make a change, such as the rate of dropout.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from kilter._records import Diagnosis
from kilter._text import as_number
from kilter._treatment.full_training import Trained
from kilter._treatment.minimal import UNSEEN
from kilter._treatment.plan import LATE, STRUCTURAL, certain
from kilter._treatment.result import Part, Trial, Trials
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import Tools
from kilter._treatment.subject import Subject

# Another way to make a change: values of the policy (missing values apart, nothing left of what was eased, a
# low constant rate), or another remedy.
ALTERNATIVES: Final[dict[str, dict[str, Any] | str]] = {
    "clip-sentinels": {"mark_missing": True},
    "focal-loss": "dice-loss",
    "ease-regularization": {"dropout": 0.0, "l2": 0.0},
    "change-optimizer": {"adam_rate": 1e-3},
}


@dataclass(frozen=True, eq=False)
class Round:
    """The best subject so far, its full training if there was one, and the trials that chose its changes."""

    subject: Subject
    trained: Trained | None
    trials: Trials


@dataclass(frozen=True, eq=False)
class FullRuns:
    """Decisions by full training. ``unchanged``: the original and its training."""

    unchanged: Round
    diagnosis: Diagnosis
    tools: Tools
    scoring: Scoring
    train: Callable[..., Trained]

    def enough(self, full: Trained, fewer: Trained, parts: Sequence[Part]) -> Trained:
        """The training with the fewer changes; if it loses, with removed ones put back, one after another.

        The one with the largest effect comes first, and one that gains nothing stays out. If what the policy
        allows does not suffice, all of them stay.
        """
        original = self.unchanged.subject
        removed = sorted((one for one in parts if not one.kept), key=lambda one: one.loss, reverse=True)
        for part in removed[: original.policy.search.put_back]:
            if not self._loses(fewer, full) or self.tools.deadline.stops("putting removed changes back"):
                break
            codes = [part.remedy, *(one.code for one in fewer.subject.steps)]
            steps = [one for one in full.subject.steps if one.code in codes]
            more = self.tools.remedy_set.again(original, steps)
            if more is None or len(steps) == len(full.subject.steps):
                continue
            again = self.train(more, self.tools)
            fewer = again if self.tools.scoring.better_by(again.score, fewer.score) > 0 else fewer
        return full if self._loses(fewer, full) else fewer

    def _loses(self, fewer: Trained, full: Trained) -> bool:
        """Whether a training ends clearly behind another, by more than chance explains."""
        scoring = self.tools.scoring
        return scoring.better_by(full.score, fewer.score) > scoring.clear + scoring.noise

    def varied(self, found: Round) -> Round:
        """The round with the ways to make its changes that get furthest, where much is left to learn.

        Behind the reference any gain counts.
        """
        best = found
        for code, way in ALTERNATIVES.items():
            done = best.trained
            if done is None or code not in best.subject.remedies or self.scoring.leaves_little(done.score):
                continue
            other = self._made_again(best.subject, code, way)
            if other is None or self.tools.deadline.stops("other ways to make the changes"):
                continue
            again = self.train(other, self.tools)
            least = 0 if self.scoring.is_behind(done.score) else self.scoring.clear
            better, tried = self.scoring.better_by(again.score, done.score) > least, best.trials.tried
            line = trial(again, f"{code} in another way{', chosen' if better else ''}")
            trials = replace(best.trials, tried=moved(tried, line) if better else (*tried, line))
            best = Round(other, again, trials) if better else replace(best, trials=trials)
        return best

    def _made_again(self, subject: Subject, code: str, way: dict[str, Any] | str) -> Subject | None:
        """The subject with one of its changes made in another way; None if that changes nothing."""
        policy, steps = subject.policy, subject.steps
        if isinstance(way, str):
            steps = tuple(replace(one, code=way) if one.code == code else one for one in steps)
        else:
            policy = replace(policy, remedies=replace(policy.remedies, **way))
        again = self.tools.remedy_set.again(replace(self.unchanged.subject, policy=policy), steps)
        words = [one.after for one in subject.changes]
        return None if again is None or [one.after for one in again.changes] == words else again

    def by_reason(self, found: Round) -> Round | None:
        """The original with its structural faults repaired, if full training shows a gain; None otherwise.

        Short ones may end on a plateau. Too few rows to prove anything are not trained on to find out.
        """
        original = self.unchanged.subject
        few = original.rows <= original.policy.search.few_rows
        repaired, named = certain(
            original, self.diagnosis, self.tools.remedy_set, STRUCTURAL if few else LATE
        )
        if repaired is None:
            return None
        if few:
            reason = f"{original.rows} rows prove nothing, but {named} keeps the network from fitting any"
            return Round(repaired, None, replace(found.trials, reason=reason))
        why = f"{named} keeps the network from learning, which short trials do not show"
        return self._in_full(found, repaired, why)

    def by_length(self, found: Round) -> Round | None:
        """The original, trained longer, if full training shows that it needs it; short ones cannot."""
        steps = [one for one in found.subject.steps if one.code in UNSEEN]
        longer = self.tools.remedy_set.again(self.unchanged.subject, steps) if steps else None
        return None if longer is None else self._in_full(found, longer, "too few epochs were planned")

    def _in_full(self, found: Round, changed: Subject, why: str) -> Round | None:
        """The changed subject if its full training gains what matters over the original's; None otherwise.

        Both train on the same rows with the same seed.
        """
        if self.tools.deadline.stops("the full training that decides"):
            return None
        known = found.trained is not None and found.subject.remedies == changed.remedies
        trained = found.trained if known else self.train(changed, self.tools)
        assert trained is not None
        assert self.unchanged.trained is not None
        scoring, before = self.tools.scoring, self.unchanged.trained.score
        if not scoring.is_gain(trained.score, before):
            return None
        gained = f"{scoring.measure} {as_number(before)} → {as_number(trained.score)}"
        trials = replace(found.trials, reason=f"{why}; full training runs: {gained}")
        return Round(trained.subject, trained, trials)


def moved(tried: Sequence[Trial], line: Trial) -> tuple[Trial, ...]:
    """The trials and ``line``, which is now the chosen one."""
    return (*(replace(one, outcome=one.outcome.removesuffix(", chosen")) for one in tried), line)


def trial(trained: Trained, what: str) -> Trial:
    """The line of a full training, with its mean seconds of an epoch."""
    seconds = trained.history.seconds
    each = sum(seconds) / max(len(seconds), 1)
    failed = f"; not possible: {trained.failed}" if trained.failed else ""
    return Trial(trained.subject.remedies, trained.score, each, f"full training: {what}{failed}")
