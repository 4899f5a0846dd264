"""What the comparisons stand on: a model that is put back is as good as one that is made anew."""

from __future__ import annotations

import dataclasses

import kilter

# isort: split
import keras
import numpy as np
import pytest

from compared.optimizers import OPTIMIZERS, compare_optimizers
from compared.task import QUICK, Task, compiled
from compared.training import Trainer, compare_in_turns

SIZE = dataclasses.replace(QUICK, rows=96, validation=48, epochs=2, layers=1, batch_size=32)


@pytest.fixture(scope="module")
def task() -> Task:
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (144, 6, 6, 1)).astype(np.uint8)
    y = (x[:, :3].mean(axis=(1, 2, 3)) > x[:, 3:].mean(axis=(1, 2, 3))).astype(np.int64)
    return Task(x[:96], y[:96], x[96:], y[96:], SIZE)


@pytest.mark.parametrize(
    "name", ["AdaGrad", "Nadam"]
)  # a slot that does not begin at zero; moments and a count
@pytest.mark.long
def test_a_run_is_that_of_a_new_model_whatever_was_trained_before(task, name):
    def make(rate, seed):
        return compiled(task.network(1, seed=seed), OPTIMIZERS[name].make(rate))

    trainer = Trainer(task, make)
    trainer.run(0.05, seed=3)
    found = trainer.run(0.01, seed=4)
    alone = make(0.01, 4)
    expected = kilter.fit(
        alone, task.x, task.y, validation_data=(task.x_val, task.y_val), epochs=2, batch_size=32, seed=4,
        verbose=0,
    )  # fmt: skip
    assert [logs["val_loss"] for logs in found.history] == expected.history["val_loss"]
    for one, other in zip(trainer.model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.score == found.history[found.best_epoch]["val_accuracy"]


def test_candidates_take_the_same_seeds(task):
    def make(rate, seed):
        return compiled(task.network(1, seed=seed), keras.optimizers.SGD(rate))

    trainers = {"one": Trainer(task, make), "other": Trainer(task, make)}
    found = compare_in_turns(trainers, {"one": 0.01, "other": 0.01}, pairs=2)
    assert [run.seed for run in found.candidates[1].runs] == [0, 1]
    assert found.differences[0].differences == (0.0, 0.0)


@pytest.mark.long
def test_every_optimiser_has_its_line(task, monkeypatch):
    chosen = {name: OPTIMIZERS[name] for name in ("SGD", "Adam")}
    monkeypatch.setattr("compared.optimizers.OPTIMIZERS", chosen)
    found = compare_optimizers(task)
    assert [row[0] for row in found.table.rows] == ["SGD", "Adam"]
    assert all(len(row) == len(found.table.header) for row in found.table.rows)
    assert set(found.figures["rates"]) == {"SGD", "Adam"}
