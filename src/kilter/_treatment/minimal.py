"""The fewest changes: after the proof each is removed in turn, and what does not earn its place goes.

In short training runs, paired with those of the proof: the same seeds, rows and length.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from kilter._compare.comparison import PairedRun
from kilter._treatment.plan import RemedySet
from kilter._treatment.result import Part, Trials
from kilter._treatment.search import Search
from kilter._treatment.sound_sibling import OPTIMIZER
from kilter._treatment.subject import Subject

# Of trainings of one length these change nothing, or nothing that a short one shows.
UNSEEN: Final = ("train-longer", "stop-early")


@dataclass(frozen=True, eq=False)
class Minimal:
    """A subject with the changes that earn their places, and what each of those tried does by itself."""

    subject: Subject
    parts: tuple[Part, ...] = ()
    score: float = math.nan
    """The mean of its short training runs."""

    @property
    def dropped(self) -> bool:
        """Whether a change went."""
        return any(not one.kept for one in self.parts)


def minimal(
    original: Subject,
    chosen: Subject,
    search: Search,
    trials: Trials,
    remedy_set: RemedySet,
    asked: Collection[str] = (),
    *,
    checked: bool = False,
) -> Minimal:
    """The changes of ``chosen``, proven in ``trials``, without those that gain less than what matters.

    Those that no finding ``asked`` for are first taken out together, but for the optimiser, then one by one,
    then that, and then the others from the last to the first. Within the work that the policy allows; changes
    that were not tried stay. ``checked``: whether full training checks what is left. Then changes that were
    not asked for must also gain a share of the proven effect.
    """
    if trials.proof is None or len(chosen.changes) < 2:
        return Minimal(chosen)
    before, after = (one.runs[: search.policy.part_pairs] for one in trials.proof.candidates)
    effect = min(1.0, _gain(search, after, before)) if checked else 0.0
    return _Removal(original, search, remedy_set, chosen, after, effect, asked).run()


@dataclass(eq=False)
class _Removal:
    original: Subject
    search: Search
    remedy_set: RemedySet
    now: Subject
    runs: Sequence[PairedRun]
    effect: float = 0.0
    """What all changes gain, of which those that were not asked for need a share; 0 if they do not."""
    asked: Collection[str] = ()
    spent: float = 0.0
    parts: list[Part] = field(default_factory=list[Part])
    known: dict[tuple[str, ...], list[PairedRun]] = field(
        default_factory=dict[tuple[str, ...], list[PairedRun]]
    )

    def __post_init__(self) -> None:
        self.whole = self.runs

    def run(self) -> Minimal:
        usual = (*self.asked, OPTIMIZER, *UNSEEN)
        extra = [one.code for one in self.now.steps if one.code not in usual]
        if 1 < len(extra) < len(self.now.steps):
            self._try_without(*extra)
        # What nobody asked for goes first; of that the optimiser last, as full trainings miss it most.
        backwards = self.now.steps[::-1]
        for step in sorted(backwards, key=lambda one: (one.code in self.asked, one.code == OPTIMIZER)):
            if len(self.now.changes) < 2 or self._is_over():
                break
            self._try_without(step.code)
        if len(self.now.changes) > 1:
            self.parts = [self._alone(one) for one in self.parts]
        return Minimal(self.now, tuple(reversed(self.parts)), _mean(self.runs))

    def _try_without(self, *codes: str) -> None:
        """Take these out together if they do not earn their place; one that does is a part of its own."""
        if codes[0] in UNSEEN:
            self.parts.append(Part(codes[0], True, math.nan, math.nan, math.nan, 0))
            return
        rest = [one for one in self.now.steps if one.code not in codes]
        fewer = self.remedy_set.again(self.original, rest)
        if fewer is None:
            return
        runs = self._trained(fewer, f"without {', '.join(codes)}", enough=True)
        loss, without = _gain(self.search, self.runs, runs), _mean(runs)
        least = self.search.scoring.policy.least_gain
        kept = loss > least or len(runs) < len(self.runs)
        extra = self.effect > 0 and not set(codes) & set(self.asked)
        if kept and extra and len(runs) == len(self.runs):  # measured from all, as several may add up
            kept = _gain(self.search, self.whole, runs) > self.search.policy.part_least * self.effect
        if not kept or len(codes) == 1:
            self.parts += [Part(code, kept, loss, without, math.nan, len(runs)) for code in reversed(codes)]
        if not kept:
            self.now, self.runs = fewer, runs

    def _alone(self, part: Part) -> Part:
        """The part with the score of the original with this change only: of one run, if those are costly."""
        step = next((one for one in self.now.steps if one.code == part.remedy), None)
        if step is None or not part.pairs or self._is_over():
            return part
        only = self.remedy_set.again(self.original, [step])
        if only is None:
            return part
        runs = self._trained(only, f"{part.remedy} alone", most=1 if self.search.is_costly else None)
        return Part(part.remedy, part.kept, part.loss, part.without, _mean(runs), part.pairs)

    def _trained(
        self, subject: Subject, name: str, *, enough: bool = False, most: int | None = None
    ) -> list[PairedRun]:
        """The subject's short runs, with the seeds of the proof.

        With ``enough`` they end with one that falls so far behind its pair that the change stays in any case.
        """
        made = self.known.setdefault(tuple(one.code for one in subject.steps), [])
        missing = self.runs[len(made) : most]
        if not missing or (enough and made):
            return made
        self.search.progress.stage(f"Taking changes out: {name}")
        runner = self.search.runner(subject)
        self.spent += 0.0 if made else self.search.cost.compilation
        for one in missing:
            self.spent += self.search.epochs * runner.steps * self.search.cost.work
            made.append(runner.run(one.seed, self.search.epochs))
            lost = self.search.scoring.gain(one.score, made[-1].score)
            if enough and lost > self.search.policy.part_clear:
                break
        return made

    def _is_over(self) -> bool:
        policy = self.search.policy
        allowed = policy.part_work + policy.part_share * self.search.full
        return self.spent > allowed or self.search.deadline.stops("taking changes out one by one")


def in_full(parts: Sequence[Part], subject: Subject) -> tuple[Part, ...]:
    """The parts; those that are still in ``subject`` count as kept, whatever the short trials said."""
    stay = [one.code for one in subject.steps]
    back = [not one.kept and one.remedy in stay for one in parts]
    return tuple(
        replace(one, kept=True, loss=math.nan) if put else one for one, put in zip(parts, back, strict=True)
    )


def _gain(search: Search, runs: Sequence[PairedRun], others: Sequence[PairedRun]) -> float:
    """The mean gain of runs over others with the same seeds."""
    gains = [search.scoring.gain(one.score, other.score) for one, other in zip(runs, others, strict=False)]
    return sum(gains) / len(gains)


def _mean(runs: Sequence[PairedRun]) -> float:
    """The mean score; NaN if a training diverged."""
    return sum(one.score for one in runs) / len(runs)
