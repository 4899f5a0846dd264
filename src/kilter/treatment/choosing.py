"""Which changes: short trainings of growing sets, the smallest that suffices, its proof on paired seeds."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from kilter.records import Diagnosis
from kilter.treatment.bench import Bench
from kilter.treatment.comparison import Candidate, Comparison, PairedRun, judge
from kilter.treatment.patient import Patient
from kilter.treatment.plan import FURTHER, Cabinet, cumulative, further, wanted
from kilter.treatment.scoring import Scoring
from kilter.treatment.treatment import Trial, Trials
from kilter.treatment.twins import Twins

LEVEL: Final = 0.05
# A proof may look twice: at the pairs asked for, and where these show a gain without proving it, at so many
# times as many. The level is shared between the two looks (Bonferroni), so that both together claim a
# difference where there is none in at most LEVEL of the cases.
_FIRST_LOOK: Final = 0.8
_SECOND_PAIRS: Final = 3
# A short training takes this share of the full training's time, and this long at least.
_SHARE: Final = 0.03
_SECONDS: Final = 0.2
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
_AS_IT_CAME: Final = "as it came"
_CHOSEN: Final = "chosen"
_SHORT: Final = "short of a sound network"


def _clocks() -> tuple[float, float]:
    """Seconds that pass, and this process's own: the lesser counts, or a busy machine cuts searches short."""
    return time.perf_counter(), time.process_time()


@dataclass
class Search:
    """The trials of one treatment: what was tried, what was chosen, and how many seconds it may take.

    ``seed`` is that of the search alone: the proof draws others, so that it knows nothing of the choice.
    ``twins``: the models that patients which are alike are trained in.
    ``thorough``: a second search, of what the first did not suffice for.
    """

    scoring: Scoring
    epochs: int
    rows: int
    seed: int
    seconds: float
    twins: Twins
    thorough: bool = False
    began: tuple[float, float] = field(default_factory=_clocks)
    tried: list[Trial] = field(default_factory=list)
    benches: dict[int, tuple[Bench, PairedRun]] = field(default_factory=dict)

    def run(self, patient: Patient, outcome: str = "tried") -> float:
        """The score of a short training of ``patient``."""
        bench = self.bench(patient)
        run = bench.run(self.seed, self.epochs)
        self.benches[id(patient)] = bench, run
        self.tried.append(Trial(_remedies(patient), run.score, run.seconds, outcome))
        return run.score

    def bench(self, patient: Patient) -> Bench:
        """The patient's bench, the same one each time."""
        held = self.benches.get(id(patient))
        return Bench(patient, self.scoring, self.rows, self.twins) if held is None else held[0]

    def over(self, score: float) -> bool:
        """Whether there is no time left to try more, with ``score`` as the best so far."""
        spent = min(now - began for now, began in zip(_clocks(), self.began, strict=True))
        short = self.scoring.falls_short(score)
        if self.scoring.learnt_nothing(score) or (self.thorough and short):
            return spent > self.seconds * _LONGER
        return spent > self.seconds * (_SOMEWHAT_LONGER if short else 1)


def choose(
    patient: Patient,
    diagnosis: Diagnosis,
    cabinet: Cabinet,
    *,
    scoring: Scoring,
    budget: float,
    pairs: int,
    seed: int,
    twins: Twins,
    begin: Patient | None = None,
) -> tuple[Patient, Trials]:
    """The patient with the changes that are proven, or as it came, and the trials that decided it.

    With ``begin``, the patient after changes that are proven but do not suffice, the search goes on from
    there, with longer trials; what is not proven leaves ``begin``.
    """
    start = patient if begin is None else begin
    sets = cumulative(start, wanted(diagnosis, symptoms=begin is not None), cabinet)
    sets = sets or list(islice(further(start, diagnosis, cabinet), 1))
    if not sets:
        return start, Trials(scoring.measure, 0, 0)
    search = _search(sets[-1], scoring, budget, seed, twins)
    if begin is not None:
        search.epochs = min(search.epochs * _LONGER, patient.options.epochs)
        search.thorough = True
    score = search.run(sets[-1], "all severe findings treated")
    for longer in (1, _LONGER):
        if longer > 1:  # nothing learnt: perhaps too short
            search.epochs = min(search.epochs * longer, patient.options.epochs)
            score = search.run(sets[-1], "tried for longer")
        best, score = _fewest(sets, score, search)
        best, score = _more(best, score, diagnosis, cabinet, search)
        if not scoring.learnt_nothing(score) or search.epochs >= patient.options.epochs:
            break
    proof = prove(search.bench(patient), search.bench(best), search.epochs, _seeds(seed, pairs))
    came = proof.baseline.runs
    first = Trial((), came[0].score, came[0].seconds, _AS_IT_CAME)
    trials = Trials(
        scoring.measure,
        search.epochs,
        search.bench(best).patient.rows_per_epoch,
        (first, *_told(search.tried, best)),
        proof,
    )
    return (best if trials.verdict == "better" else start), trials


def prove(
    baseline: Bench,
    chosen: Bench,
    epochs: int,
    seeds: Sequence[int],
    *,
    known: Sequence[PairedRun] = (),
    level: float = LEVEL,
) -> Comparison:
    """Train both with each of the seeds, and judge by the exact sign-flip test on the pairs.

    ``known``: runs of the baseline with the first of these seeds, which are not made again.

    Where more of the pairs gain by the changes than lose, and it is not proven, three times as many seeds are
    looked at: a network that fails with every other seed needs more pairs than one that always fails. The
    ``level`` of the comparison is that of its look.
    """
    runs: list[list[PairedRun]] = [[], []]
    looks = (
        (len(seeds), _FIRST_LOOK * level),
        (_SECOND_PAIRS * len(seeds), (1 - _FIRST_LOOK) * level),
    )
    for pairs, shared in looks:
        for seed in range(seeds[0] + len(runs[0]), seeds[0] + pairs):
            ready = known[seed - seeds[0]] if seed - seeds[0] < len(known) else baseline.run(seed, epochs)
            for some, run in zip(runs, (ready, chosen.run(seed, epochs)), strict=True):
                some.append(run)
        candidates = [
            Candidate(name, tuple(some)) for name, some in zip((_AS_IT_CAME, "treated"), runs, strict=True)
        ]
        judged = judge(candidates, baseline.scoring.measure, level=shared, path=Path())
        if judged.differences[0].verdict != "no evidence" or not _promising(runs, baseline.scoring):
            break
    return judged


def prove_again(
    came: Patient, chosen: Patient, trials: Trials, scoring: Scoring, pairs: int, twins: Twins
) -> Trials:
    """The trials with the proof of other changes than those they had chosen, on the same pairs.

    Where the first were not proven, this is a second chance, which half of the level is for.
    """
    assert trials.proof is not None
    rows = came.rows if trials.rows == came.rows_per_epoch else trials.rows
    baseline, bench = (Bench(patient, scoring, rows, twins) for patient in (came, chosen))
    level = LEVEL if trials.verdict == "better" else LEVEL / 2
    known = trials.proof.baseline.runs
    proof = prove(baseline, bench, trials.epochs, _seeds(came.seed, pairs), known=known, level=level)
    run = proof.candidates[1].runs[0]
    first = [replace(one, outcome=_SHORT) if one.outcome == _CHOSEN else one for one in trials.tried]
    told = (*first, Trial(_remedies(chosen), run.score, run.seconds, _CHOSEN))
    return replace(trials, tried=told, proof=proof)


def _promising(runs: Sequence[Sequence[PairedRun]], scoring: Scoring) -> bool:
    """Whether more of the pairs gain what one more change is worth than lose it."""
    gains = [scoring.better_by(after.score, before.score) for before, after in zip(*runs, strict=True)]
    return sum(gain > _WORTH for gain in gains) > sum(gain < -_WORTH for gain in gains)


def _search(patient: Patient, scoring: Scoring, budget: float, seed: int, twins: Twins) -> Search:
    """How long a short training is: from the time that an epoch takes, once it is compiled."""
    epochs = patient.options.epochs
    first = Search(scoring, 1, patient.rows, seed, math.inf, twins)
    bench = first.bench(patient)
    bench.run(seed, 1)
    seconds = max(bench.run(seed, 1).seconds, 1e-4)
    allowed = max(_SECONDS, _SHARE * budget * epochs * seconds)
    for_all = _SEARCH_SECONDS + _SEARCH_SHARE * budget * epochs * seconds
    rows = patient.rows
    if seconds > allowed:
        least = _LEAST_STEPS * patient.options.batch_size
        rows = min(rows, max(least, int(rows * allowed / seconds)))
    least = math.ceil(_TRIAL_STEPS / patient.steps_per_epoch) if rows == patient.rows else 1
    count = min(epochs, max(least, int(allowed / seconds)))
    search = Search(scoring, count, rows, seed, for_all, twins)
    if rows == patient.rows:
        search.benches[id(patient)] = bench, PairedRun(seed, math.nan, None, seconds, (), "")
    return search


def _fewest(sets: list[Patient], score: float, search: Search) -> tuple[Patient, float]:
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
    best: Patient, score: float, diagnosis: Diagnosis, cabinet: Cabinet, search: Search
) -> tuple[Patient, float]:
    """With further changes where each pays: the optimiser and the rate, and more while nothing is learnt.

    What is as good as plain methods already, after so short a training, is tried with another optimiser only.
    What still falls short of them in a thorough search is tried with everything.
    A change that does not pay is left out again.
    """
    scoring = search.scoring
    codes = FURTHER if scoring.falls_short(score) else FURTHER[:1]
    for number, more in enumerate(further(best, diagnosis, cabinet, codes)):
        well = not (scoring.falls_short if search.thorough else scoring.learnt_nothing)(score)
        enough = well and number >= 2
        if search.over(score) or enough or (scoring.measure == "val_accuracy" and score >= 1 - _WORTH):
            break
        reached = search.run(more, "one more change")
        if scoring.better_by(reached, score) > _WORTH and not scoring.learnt_nothing(reached):
            return _more(more, reached, diagnosis, cabinet, search)
    return best, score


def _told(tried: list[Trial], best: Patient) -> list[Trial]:
    chosen = _remedies(best)
    return [replace(one, outcome=_CHOSEN) if one.remedies == chosen else one for one in tried]


def _remedies(patient: Patient) -> tuple[str, ...]:
    return tuple(change.remedy for change in patient.changes)


def _seeds(seed: int, pairs: int) -> list[int]:
    return list(range(seed + 1, seed + 1 + pairs))
