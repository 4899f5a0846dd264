from __future__ import annotations

import dataclasses

import pytest

from bench.workloads import WORKLOADS, Workload, epoch_flops, multiplications, needed_flops

BY_NAME = {workload.name: workload for workload in WORKLOADS}


def test_dense_multiply_adds_are_the_weights():
    assert multiplications(BY_NAME["mlp-32"]) == (3072 * 100, *[100 * 100] * 19, 100 * 10)


def test_convolutions_count_every_position_and_pooling_halves_the_sides():
    expected = (9 * 3 * 32 * 32 * 32, 9 * 32 * 64 * 16 * 16, 8 * 8 * 64 * 100, 100 * 10)
    assert multiplications(BY_NAME["cnn-64"]) == expected


def test_an_epoch_is_six_flops_a_weight_and_row():
    tiny = Workload("tiny", "", 2, 7, (5,))
    weights = 3072 * 5 + 5 * 10
    assert epoch_flops(tiny) == 6 * weights * 7
    assert epoch_flops(tiny) - needed_flops(tiny) == 2 * 3072 * 5 * 7


def test_the_exercise_costs_what_the_notes_say():
    assert epoch_flops(BY_NAME["mlp-32"]) == pytest.approx(134.5e9, rel=1e-3)


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
def test_a_workload_reaches_its_peer_unchanged(workload):
    assert Workload.from_json(workload.to_json()) == workload
    assert Workload.from_json(dataclasses.replace(workload, rows=3).to_json()).rows == 3
