"""[schedule] in a run: the rate of each epoch is kept and shown, and a resumed run goes on with it."""

import numpy as np
import pytest

from kilter import schedules
from kilter.errors import OptionError
from kilter.recipe import parse_recipe, with_overrides
from kilter.report import write_report
from kilter.runs import Interrupted, resume, train
from kilter.runs.from_recipe import make_schedule
from kilter.runs.reading import read_history

from .test_training import (
    InterruptIn,
    _state,
    _without_time,
    saving_every_epoch,  # noqa: F401  (a fixture)
)

BATCHES = 8

# What a recipe says; the schedule that its words mean for eight batches an epoch, a rate of 0.02, 10 epochs.
SECTIONS = {
    "power": (
        {"period": 3.0, "exponent": 2.0},
        lambda **unit: schedules.power(0.02, period=3, exponent=2, **unit),
    ),
    "exponential": (
        {"staircase": True},
        lambda **unit: schedules.exponential(0.02, period=20, factor=0.1, staircase=True, **unit),
    ),
    "piecewise": (
        {"boundaries": [2, 4.5], "factors": [0.5, 0.1]},
        lambda **unit: schedules.piecewise([0.02, 0.01, 0.002], boundaries=[2, 4.5], **unit),
    ),
    "one_cycle": ({}, lambda **unit: schedules.one_cycle(0.02, length=10, **unit)),
    "cosine": (
        {"warmup": 2.0, "end": 0.1},
        lambda **unit: schedules.cosine(0.02, length=10, warmup=2, end=0.1, **unit),
    ),
    "performance": ({"patience": 3}, lambda **unit: schedules.performance(patience=3)),
    "constant": ({}, lambda **unit: None),
}


def written(**schedule):
    return parse_recipe(
        {
            "data": {"source": "digits"},
            "model": {"builder": "mlp", "hidden": [8]},
            "optimizer": {"name": "adam", "learning_rate": 0.02},
            "schedule": schedule,
            "train": {"epochs": 10, "batch_size": 128},
        }
    )


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_means_the_schedule_of_its_name(name):
    keys, make = SECTIONS[name]
    assert make_schedule(written(name=name, **keys), BATCHES) == make(steps_per_epoch=BATCHES)


@pytest.mark.parametrize("name", ["power", "exponential", "one_cycle", "cosine", "performance"])
def test_the_defaults_of_a_recipe_are_those_of_the_functions(name):
    own = {"power": {"period": 20}, "exponential": {"period": 20}}.get(name, {})
    if name == "performance":
        expected = schedules.performance()
    else:
        length = {} if own else {"length": 10}
        expected = getattr(schedules, name)(0.02, steps_per_epoch=BATCHES, **own, **length)
    assert make_schedule(written(name=name), BATCHES) == expected


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "piecewise", "boundaries": [3, 2], "factors": [0.5, 0.1]}, "rise"),
        ({"name": "piecewise", "boundaries": [3], "factors": [0.5, 0.1]}, "one learning rate more"),
        ({"name": "one_cycle", "end": 0.5}, "end"),
        ({"name": "cosine", "warmup": 10.0}, "warm-up"),
    ],
)
def test_numbers_that_do_not_fit_leave_no_directory(section, message, tmp_path):
    with pytest.raises(OptionError, match=message):
        train(written(**section), parent=tmp_path, verbose=0)
    assert list(tmp_path.iterdir()) == []


# Interrupted when epoch 2 begins; performance has then waited for one of its two epochs.
RESUMED = {
    "one_cycle": ["schedule.name=one_cycle"],
    "performance": ["schedule.name=performance", "schedule.patience=2", "schedule.min_delta=9.0"],
}


@pytest.mark.long
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_continues_its_schedule_bit_for_bit(name, recipe, tmp_path, saving_every_epoch):  # noqa: F811
    scheduled = with_overrides(recipe, RESUMED[name])
    whole = train(scheduled, parent=tmp_path / "whole", verbose=0).path
    with pytest.raises(Interrupted) as caught:
        train(scheduled, parent=tmp_path / "parts", callbacks=[InterruptIn(2)], verbose=0)
    resume(caught.value.path, verbose=0)
    assert _without_time(caught.value.path) == _without_time(whole)
    assert _state(caught.value.path) == _state(whole)
    rates = [line.learning_rate for line in read_history(whole)]
    if name == "performance":
        assert rates == pytest.approx([0.001, 0.001, 0.001, 0.0005])
    else:
        assert len(set(rates)) == 4


def test_history_and_report_show_rate_and_momentum(recipe, tmp_path):
    run = train(with_overrides(recipe, ["schedule.name=one_cycle"]), parent=tmp_path, verbose=0).path
    steps = np.array([4, 9, 14, 19])  # the last of each epoch of five batches: 1257 rows by 256
    cycle = schedules.one_cycle(0.001, length=20)
    lines = read_history(run)
    assert [line.learning_rate for line in lines] == pytest.approx([float(cycle(step)) for step in steps])
    momenta = [float(np.asarray(cycle.momentum(step))) for step in steps]
    assert [line.logs["momentum"] for line in lines] == pytest.approx(momenta)
    page = write_report(run).read_text()
    assert "Learning rate" in page
    assert "Momentum" in page
