"""Whether a difference matters: BCa intervals, looks that can reach a verdict, and the fewest changes."""

import itertools
import math
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from kilter._compare.comparison import Candidate, PairedRun
from kilter._compare.looks import Spending, can_decide
from kilter._treatment.course import unchanged  # noqa: F401  (the course imports everything below it)
from kilter._treatment.effect import Effect, effect
from kilter._treatment.minimal import minimal
from kilter._treatment.proof import prove
from kilter._treatment.result import Part, Trials, failure, said
from kilter._treatment.safeguard import errors_allowed
from kilter._treatment.scoring import Scoring
from kilter._treatment.search import Search
from kilter._treatment.subject import Step

SCORING = Scoring("val_accuracy", 0.5, constant=0.5)


@pytest.mark.parametrize(
    ("gains", "matters"),
    [
        ([0.2] * 6, True),
        ([0.0] * 6, False),
        ([0.2], False),  # a single pair has no interval
        ([0.011] * 6, True),
        ([0.009] * 6, False),
        ([0.3, 0.2, 0.4, 0.3, 0.25, 0.35], True),
        ([0.002, 0.004, 0.001, 0.003, 0.002, 0.005], False),  # in every pair, and of no use
        ([1.5, 0.0, 0.0, 0.0, 0.0, 0.0], False),
        ([0.1, 0.1, 0.1, 0.1, 0.1, 0.1 + 1e-15], True),
    ],
)
def test_a_gain_matters_if_all_of_its_interval_is_above_the_smallest_that_does(gains, matters):
    found = effect(gains, 0.01)
    assert found.matters == matters
    assert len(gains) < 2 or found.low - 1e-9 <= found.mean <= found.high + 1e-9
    assert ("needed" in str(found)) != matters


def test_the_interval_is_bca():
    gains = [0.3, 0.2, 0.4, 0.3, 0.25, 0.9]
    wanted = stats.bootstrap(
        (gains,), np.mean, method="BCa", rng=np.random.default_rng(0)
    ).confidence_interval
    found = effect(gains, 0.01)
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize("pairs", range(6, 13))
def test_no_look_is_planned_that_can_reach_no_verdict(pairs: int):
    spending = Spending(pairs)
    for look in itertools.chain.from_iterable(spending.take() for _ in range(4)):
        assert can_decide(look.pairs, 1, look.level)


def test_a_look_that_can_reach_no_verdict_is_refused():
    fixed: Any = SimpleNamespace(scoring=SCORING, runs=lambda seeds, *_: [])
    with pytest.raises(AssertionError, match="no verdict"):
        prove(fixed, fixed, 1, 0, [SimpleNamespace(pairs=6, level=0.02)])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scoring", "score", "other", "gain"),
    [
        (SCORING, 0.75, 0.5, 0.5),
        (SCORING, 0.5, 0.75, -0.5),
        (SCORING, 0.75, math.nan, 1.5),  # a training that diverged is below a constant answer
        (SCORING, math.nan, math.nan, 0.0),
        (Scoring("val_rmse", 1.94, constant=2.0), 1.0, 2.0, 0.5),
        (Scoring("val_rmse", 1.94, constant=2.0), 178.9, 179.0, 0.0),  # both are far below a constant answer
        (Scoring("val_loss", math.inf), 0.5, 1.0, 0.5),
    ],
)
def test_gains_are_shares_of_the_way_from_a_constant_answer_to_perfection(scoring, score, other, gain):
    assert scoring.gain(score, other) == pytest.approx(gain)


def test_many_measures_are_not_stricter_together_than_one():
    random, alone = np.random.default_rng(0), 1.0
    for count in (1, 4, 18):
        errors = random.normal(size=(20_000, count))
        wrong = (errors < -errors_allowed(count, alone)).any(axis=1).mean()
        assert wrong == pytest.approx(stats.norm.sf(alone), abs=0.01)


@dataclass(frozen=True)
class Made:
    """A subject of which only the steps count: "a" gains 0.2, "b" 0.1 and "c" nothing."""

    steps: tuple[Step, ...]

    @property
    def changes(self) -> tuple[Step, ...]:
        return self.steps

    @property
    def score(self) -> float:
        return 0.6 + sum({"a": 0.2, "b": 0.1}.get(one.code, 0.0) for one in self.steps)


class Known(Search):
    """Trains at once."""

    def runner(self, subject: Any) -> Any:
        def run(seed: int, epochs: int) -> PairedRun:
            return PairedRun(seed, subject.score, 0, 0.0, (), "")

        return SimpleNamespace(run=run, steps=1)


def fewest(codes: str, allowed: float = 1.0, steps: tuple[Step, ...] = ()):
    chosen = Made(steps or tuple(map(Step, codes)))
    search = Known(SCORING, 1, 80, 0, 1.0, full=allowed)
    proof: Any = SimpleNamespace(
        candidates=[
            SimpleNamespace(runs=[PairedRun(seed, one.score, 0, 0.0, (), "") for seed in range(6)])
            for one in (Made(()), chosen)
        ]
    )
    again: Any = SimpleNamespace(again=lambda _, steps: Made(tuple(steps)))
    found = minimal(Made(()), chosen, search, Trials("val_accuracy", 1, 80, (), proof), again)  # type: ignore[arg-type]
    return "".join(one.code for one in found.subject.steps), {one.remedy: one for one in found.parts}


@pytest.mark.parametrize(
    ("codes", "left"), [("abc", "ab"), ("cab", "ab"), ("ac", "a"), ("c", "c"), ("ab", "ab")]
)
def test_changes_that_gain_nothing_go(codes: str, left: str):
    assert fewest(codes)[0] == left


def test_what_short_trainings_cannot_show_stays_and_says_so():
    chosen = Made((Step("a"), Step("train-longer")))
    left, parts = fewest("a", steps=chosen.steps)
    assert left == "atrain-longer"
    assert said(parts["train-longer"]) == "short training runs do not show its effect"


def test_each_change_that_was_tried_says_what_it_does_by_itself():
    parts = fewest("acb")[1]
    assert {code: one.kept for code, one in parts.items()} == {"a": True, "b": True, "c": False}
    assert parts["a"].loss == pytest.approx(0.4)  # of the way from 0.5 to 1
    assert (parts["a"].without, parts["a"].alone) == pytest.approx((0.7, 0.8))
    assert (parts["b"].without, parts["b"].alone) == pytest.approx((0.8, 0.7))
    # One run without "a" loses so much that it stays; the others need all of them.
    assert {code: one.pairs for code, one in parts.items()} == {"a": 1, "b": 3, "c": 3}
    assert "(1 pair)" in said(parts["a"])


WAY = "the way from a constant prediction to perfect"


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (Effect(0.12, 0.05, 0.16, 0.01, ()), f"gains 12 % (5 to 16 %) of {WAY}"),
        (Effect(0.9, 0.8, 1.2, 0.01, ()), f"gains 90 % (80 to 100 %) of {WAY}"),
        (Effect(1.95, 1.95, 1.96, 0.01, ()), f"gains more than all of {WAY}"),
        (Effect(-1.5, -1.6, -1.4, 0.01, ()), f"gains -100 % (-100 to -100 %) of {WAY}"),
        (said(Part("a", True, 0.999, 0, 0, 3)), "without it, the score drops by 99.9 % of the way"),
        (
            said(Part("a", True, 1.95, 0, 0, 3)),
            "without it, the model does worse than a constant prediction (3 pairs)",
        ),
        (said(Part("a", False, -1.95, 0, 0, 3)), "without it, the score rises by 100 % of the way"),
    ],
)
def test_no_share_of_the_way_is_above_all_of_it(told: object, words: str):
    text = str(told)
    assert text.startswith(words)
    assert "e+" not in text
    assert all(float(one) <= 100 for one in re.findall(r"([\d.]+) %", text))


@pytest.mark.parametrize(
    ("scores", "history", "words"),
    [
        ((0.5, 0.6), True, ""),
        ((0.5, math.nan), True, "a run diverged"),
        ((math.nan, math.nan), True, "every run diverged"),
        ((math.nan, math.nan), False, "cannot be trained as it was compiled"),
    ],
)
def test_why_there_is_no_median(scores: tuple[float, ...], history: bool, words: str):
    logs = ({"loss": math.nan},) if history else ()
    runs = tuple(PairedRun(seed, score, None, 0.0, logs, "") for seed, score in enumerate(scores))
    assert failure(Candidate("original", runs)) == words
