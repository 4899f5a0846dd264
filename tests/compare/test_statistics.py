"""The statistics against enumeration by hand, scipy's other functions and closed forms."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kilter._compare.statistics import (
    bootstrap_interval,
    comparable,
    holm,
    least_pairs,
    paired_differences,
    sign_flip_p,
)
from kilter.errors import OptionError

CASES = {
    "all better": [0.1, 0.2, 0.1, 0.3, 0.2, 0.4],
    "all worse": [-0.1, -0.2, -0.1, -0.3, -0.2, -0.4],
    "mixed": [0.5, -0.1, 0.3, 0.2, -0.05, 0.4, 0.1],
    "all equal": [0.25] * 6,
    "all zero": [0.0] * 6,
    "zeros among": [0.0, 0.2, 0.0, 0.3, -0.1, 0.2],
    "ties of both signs": [0.1, -0.1, 0.1, -0.1, 0.1, 0.1],
    "tiny": [1e-9, 2e-9, -1e-9, 3e-9, 5e-9, 1e-9],
    "two": [0.1, 0.2],
    "one diverged": [0.1, 0.2, -math.inf, 0.3, 0.2, 0.4],
    "all diverged": [-math.inf] * 6,
    "both ways": [math.inf, -math.inf, 0.1, 0.0, 0.2, 0.1],
}


def enumerated(differences):
    """Two-sided p over all sign patterns, in exact integer arithmetic (ranks and given numbers, scaled)."""
    scaled = [round(value * 2e12) for value in comparable(differences)]
    seen = sum(scaled)
    sums = [
        sum(sign * value for sign, value in zip(signs, scaled, strict=True))
        for signs in itertools.product((1, -1), repeat=len(scaled))
    ]
    least = min(sum(total >= seen for total in sums), sum(total <= seen for total in sums))
    return min(1.0, 2 * least / len(sums))


@pytest.mark.parametrize("case", CASES)
def test_the_test_is_the_enumeration(case):
    assert sign_flip_p(CASES[case]) == pytest.approx(enumerated(CASES[case]), abs=1e-15)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-20, 20), min_size=2, max_size=8))
def test_any_differences_are_enumerated(values):
    assert sign_flip_p([float(value) for value in values]) == pytest.approx(enumerated(values), abs=1e-15)


def test_with_a_diverged_run_it_is_wilcoxons_test():
    # scipy's has no infinity: a number beyond all others has the same rank. Without ties it is exact too.
    seen = stats.wilcoxon([0.1, 0.2, -1e9, 0.3, 0.25, 0.4], method="exact").pvalue
    assert sign_flip_p([0.1, 0.2, -math.inf, 0.3, 0.25, 0.4]) == pytest.approx(seen)


@pytest.mark.parametrize("pairs", range(2, 12))
def test_the_smallest_p_is_two_in_all_patterns(pairs):
    assert sign_flip_p(np.arange(1.0, pairs + 1)) == 2 / 2**pairs


def test_one_pair_proves_nothing():
    assert sign_flip_p([5.0]) == 1.0


def test_many_pairs_are_drawn_and_drawn_alike():
    differences = np.random.default_rng(3).normal(0.3, 1.0, 30)
    p = sign_flip_p(differences)
    assert p == sign_flip_p(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.02)  # near, for normal numbers


@pytest.mark.parametrize("bad", [[], [math.nan, 1.0], [[1.0], [2.0]]])
def test_what_is_no_list_of_differences_is_refused(bad):
    with pytest.raises(OptionError, match="paired differences"):
        sign_flip_p(bad)


@pytest.mark.parametrize("candidates", [2, 3, 4])
def test_alike_candidates_are_claimed_different_in_at_most_one_of_twenty(candidates):
    """A/A: 200 comparisons of candidates that are the same. Any claim in one of them is a false one."""
    pairs, claims = least_pairs(candidates - 1), 0
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(size=(candidates, pairs))
        p_values = [sign_flip_p(row - scores[0]) for row in scores[1:]]
        claims += min(holm(p_values)) <= 0.05
    assert 0 < claims <= 10


def test_a_large_difference_is_claimed():
    scores = np.random.default_rng(0).normal(size=(2, 6))
    assert sign_flip_p(scores[1] + 10 - scores[0]) <= 0.05


@pytest.mark.parametrize("direction", ["max", "min"])
def test_differences_are_above_zero_for_better(direction):
    candidate, baseline = ([0.9, 0.5], [0.7, 0.8])
    sign = 1 if direction == "max" else -1
    expected = [sign * 0.2, sign * -0.3]
    assert paired_differences(candidate, baseline, direction) == pytest.approx(expected)


@pytest.mark.parametrize("direction", ["max", "min"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_diverged_run_is_the_worst_whichever_way_is_up(direction, bad):
    found = paired_differences([bad, 0.5, bad], [0.5, bad, bad], direction)
    assert found.tolist() == [-math.inf, math.inf, 0.0]


def test_scores_that_are_no_pairs_are_refused():
    with pytest.raises(OptionError, match="2 and 3 scores"):
        paired_differences([1, 2], [1, 2, 3], "max")


def test_ranks_take_the_place_of_differences_only_where_they_must():
    assert comparable([0.5, -0.25]).tolist() == [0.5, -0.25]
    assert comparable([0.5, -0.25, 0.5, math.inf, 0.0, -math.inf]).tolist() == [3.5, -2, 3.5, 5.5, 0, -5.5]


HOLM = {
    "one": ([0.04], [0.04]),
    "none": ([], []),
    "closed form": ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),
    "never above one": ([0.6, 0.7], [1.0, 1.0]),
    "ties": ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    "never below a smaller one": ([0.001, 0.02, 0.011, 0.5], [0.004, 0.04, 0.033, 0.5]),
}


@pytest.mark.parametrize("case", HOLM)
def test_holm(case):
    given_values, expected = HOLM[case]
    assert holm(given_values) == pytest.approx(expected)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_its_steps_reject(values, level):
    """The definition: go up from the smallest, stop at the first that is above level / (those left)."""
    order, rejected = sorted(range(len(values)), key=lambda index: values[index]), set()
    for step, index in enumerate(order):
        if values[index] * (len(values) - step) > level:
            break
        rejected.add(index)
    assert {index for index, p in enumerate(holm(values)) if p <= level} == rejected


@pytest.mark.parametrize("challengers", range(1, 30))
def test_the_least_pairs_are_enough_and_one_less_is_not(challengers):
    pairs = least_pairs(challengers)
    assert challengers * 2 / 2**pairs <= 0.05 < challengers * 2 / 2 ** (pairs - 1)


def test_the_interval_is_scipys_and_the_same_each_time():
    values = np.random.default_rng(1).normal(1.0, 1.0, 40)
    low, high = bootstrap_interval(values)
    assert (low, high) == bootstrap_interval(values)
    spread = values.std(ddof=0) / math.sqrt(40)  # the bootstrap's own standard error, near normal for 40
    assert (low, high) == pytest.approx(values.mean() + np.array([-1.96, 1.96]) * spread, abs=0.1 * spread)
    narrow = bootstrap_interval(values, level=0.5)
    assert low < narrow[0] < narrow[1] < high


INTERVALS = {
    "equal": ([0.25] * 6, (0.25, 0.25)),
    "zero": ([0.0] * 6, (0.0, 0.0)),
    "infinite ones apart": ([math.inf, 0.5, 0.5, -math.inf], (0.5, 0.5)),
    "one": ([0.5], (math.nan, math.nan)),
    "one finite": ([0.5, math.inf], (math.nan, math.nan)),
    "none": ([], (math.nan, math.nan)),
}


@pytest.mark.parametrize("case", INTERVALS)
@pytest.mark.filterwarnings("error")
def test_degenerate_intervals(case):
    values, expected = INTERVALS[case]
    assert bootstrap_interval(values) == pytest.approx(expected, nan_ok=True)
