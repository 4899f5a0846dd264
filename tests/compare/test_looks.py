"""Pairs and levels are planned together: every planned test can reach a verdict, and none claims too much."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from kilter._compare.comparison import Candidate, PairedRun, judge, verdicts
from kilter._compare.looks import LEVEL, Spending, planned_pairs
from kilter._compare.statistics import least_pairs, sign_flip_p, smallest_p
from kilter.errors import OptionError

ASKED = (6, 7, 8, 9, 10, 12, 16, 17, 20, 40)


def planned(pairs):
    spending = Spending(pairs)
    return [spending.take() for _ in range(4)]


def judged(pairs, challengers, level=LEVEL):
    """Candidates that are better than the baseline in every pair."""

    def candidate(name, gain):
        runs = [PairedRun(seed, 0.1 * seed + gain, 0, 0.0, (), "") for seed in range(pairs)]
        return Candidate(name, tuple(runs))

    given = [candidate("plain", 0.0), *(candidate(f"c{number}", 0.5) for number in range(challengers))]
    return judge(given, "val_accuracy", level=level, path=Path())


@pytest.mark.parametrize("asked", ASKED)
def test_every_look_of_a_treatment_can_reach_its_verdict(asked):
    for test in planned(asked):
        assert [look.pairs for look in test] == sorted({look.pairs for look in test})
        for look in test:
            assert asked <= look.pairs
            assert smallest_p(look.pairs) <= look.level
            if look.pairs <= 10:  # enumerated quickly
                assert judged(look.pairs, 1, look.level).differences[0].verdict == "better"


@pytest.mark.parametrize("asked", ASKED)
def test_all_planned_a_treatment_together_claim_no_more_than_the_level(asked):
    assert sum(look.level for test in planned(asked) for look in test) <= LEVEL + 1e-12


def test_only_a_test_that_proved_something_gives_its_level_back():
    spending = Spending(6)
    first = spending.take()
    spending.give_back(first)
    assert spending.take() == first
    assert spending.take() == Spending(6)._left[1]


ENUMERATED = sorted(
    {
        (look.pairs, look.level)
        for asked in (6, 7, 8)
        for test in planned(asked)
        for look in test
        if look.pairs <= 12
    }
)


@pytest.mark.parametrize(("pairs", "level"), ENUMERATED)
def test_of_all_sign_patterns_no_more_than_the_level_reach_a_verdict(pairs, level):
    sizes = np.random.default_rng(pairs).integers(1, 50, pairs)
    sums = np.array(list(itertools.product((-1, 1), repeat=pairs))) @ sizes
    ordered = np.sort(sums)
    above = len(sums) - np.searchsorted(ordered, sums, side="left")
    below = np.searchsorted(ordered, sums, side="right")
    p = np.minimum(1.0, 2 * np.minimum(above, below) / len(sums))
    assert sign_flip_p(sizes.astype(float)) == p.min()
    assert 0 < np.mean(p <= level) <= level


@pytest.mark.parametrize("pairs", [2, 3, 4, 5, 6, 7, 8, 10, 16, 17, 30])
@pytest.mark.parametrize("challengers", [1, 2, 3, 4, 5, 10, 40])
def test_a_verdict_is_possible_or_it_is_said_beforehand(pairs, challengers):
    possible = challengers * smallest_p(pairs) <= LEVEL
    assert possible == (pairs >= least_pairs(challengers))
    if possible:
        assert planned_pairs(pairs, challengers, LEVEL) == pairs
        return
    needed = f"at least {least_pairs(challengers)} are needed"
    with pytest.warns(UserWarning, match=needed):
        assert planned_pairs(pairs, challengers, LEVEL) == pairs
    comparison = judged(pairs, challengers)
    assert {one.verdict for one in comparison.differences} == {"too few pairs"}
    assert needed in verdicts(comparison)[-1]
    assert not any("No evidence" in said for said in verdicts(comparison))


@pytest.mark.parametrize("challengers", [1, 2, 3, 4, 5, 10, 40])
def test_as_many_pairs_as_are_taken_by_default_prove_what_is_better_in_all_of_them(challengers):
    pairs = planned_pairs(None, challengers, LEVEL)
    assert {one.verdict for one in judged(pairs, challengers).differences} == {"better"}


def test_a_level_that_no_number_of_pairs_can_reach_is_refused():
    with pytest.raises(OptionError, match="the smallest that the test can reach"):
        planned_pairs(None, 2, 1e-5)
