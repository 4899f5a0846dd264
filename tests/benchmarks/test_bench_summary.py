from __future__ import annotations

import pytest

from bench.summary import Epoch, Run, compile_time, disturbance, ratio, spread, summarise


def run(peer, seconds, *, group=0, first=9.0, **fields):
    epochs = tuple(Epoch(each, loss=2.0) for each in seconds)
    return Run(peer, group, Epoch(first, 2.3), epochs, peak_bytes=1 << 20, **fields)


def test_spread_is_median_and_range():
    assert spread([4.0, 1.0, 2.0, 3.0]) == (result := spread([1.0, 2.0, 3.0, 4.0]))
    assert (result.median, result.low, result.high, result.n) == (2.5, 1.0, 4.0, 4)


def test_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_ratio_of_medians_has_the_range_of_the_rounds():
    # Medians 4 and 2; rounds 2/1, 4/2, 9/3: a slow third round hits both sides.
    result = ratio(run("b", [2.0, 4.0, 9.0]), run("a", [1.0, 2.0, 3.0]))
    assert (result.median, result.low, result.high, result.n) == (2.0, 2.0, 3.0, 3)


@pytest.mark.parametrize(
    ("reported", "first", "expected"), [(1.5, 9.0, 1.5), (None, 9.0, 7.0), (None, 1.0, 0.0)]
)
def test_compile_time_is_reported_or_the_excess_of_the_first_epoch(reported, first, expected):
    assert compile_time(run("a", [2.0, 2.0], first=first, compile_seconds=reported)) == expected


def test_a_peer_is_compared_with_the_reference_of_its_own_group_and_the_reference_is_pooled():
    runs = [
        run("kilter", [1.0, 1.0]),
        run("keras", [3.0, 3.0]),
        run("kilter", [2.0, 2.0], group=1),
        run("torch", [8.0, 8.0], group=1),
    ]
    rows = {row.peer: row for row in summarise(runs, "kilter", flops=6_000, peak=12_000.0)}
    assert list(rows) == ["kilter", "keras", "torch"]
    assert rows["keras"].ratio.median == 3.0
    assert rows["torch"].ratio.median == 4.0
    assert rows["kilter"].ratio.median == 1.0
    assert rows["kilter"].seconds == spread([1.0, 1.0, 2.0, 2.0])
    assert rows["keras"].flops_per_second == 2_000
    assert rows["keras"].share_of_peak == pytest.approx(1 / 6)


def test_without_the_reference_there_is_no_ratio():
    (row,) = summarise([run("torch", [8.0])], "kilter", flops=1, peak=1.0)
    assert row.ratio is None


def test_disturbance_leaves_out_what_the_system_does_not_tell():
    known = Run("a", 0, Epoch(1.0, 1.0), (Epoch(1.0, 1.0, others=0.25), Epoch(1.0, 1.0)), 0)
    assert disturbance([known]) == spread([0.25])
    assert disturbance([run("a", [1.0])]) is None
