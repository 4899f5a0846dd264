"""``max_seconds``: an early stop says what was left out, and the result is as safe as any other."""

import itertools

import keras
import numpy as np
import pytest

import kilter
from kilter._treatment import deadline
from kilter.errors import OptionError

from . import faulty


def treated(**options):
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model, x, y = faulty.small()
    return kilter.treat(model, x[:480], y[:480], epochs=6, verbose=0, **options), (model, x[480:], y[480:])


def test_a_tiny_limit_returns_the_given_model_and_says_so(tmp_path):
    treatment, (model, x, y) = treated(max_seconds=1e-6)
    assert treatment.changes == ()
    assert treatment.trials.proof is None
    assert treatment.stopped.startswith("after 1e-06 seconds (max_seconds), without all epochs of a full")
    assert "the search for changes" in treatment.stopped
    assert treatment.to_json()["stopped"] == treatment.stopped
    assert f"stopped early: {treatment.stopped}" in treatment.summary(width=1000)
    assert "Stopped early: " in treatment.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert len(treatment.after.history["loss"]) == 1
    accuracies = [np.mean(one.predict(x, verbose=0).argmax(1) == y) for one in (model, treatment.model)]
    assert accuracies[1] > accuracies[0] - 0.05  # on 120 rows that the choice did not see


@pytest.mark.long
def test_without_a_limit_and_with_a_distant_one_nothing_is_left_out():
    usual, _ = treated()
    distant, _ = treated(max_seconds=3600)
    assert usual.stopped == distant.stopped == ""
    assert not any("stopped" in line for line in usual.summary())
    assert [one.remedy for one in usual.changes] == [one.remedy for one in distant.changes] != []


@pytest.mark.parametrize(
    "looks", [*(pytest.param(looks, marks=pytest.mark.long) for looks in (3, 6, 8)), 5, 9], ids=str
)
def test_it_may_stop_at_any_step(looks, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(deadline.time, "monotonic", lambda: float(next(ticks)))
    treatment, _ = treated(max_seconds=looks)
    assert treatment.stopped
    assert (treatment.changes != ()) <= treatment.trials.proven  # nothing is kept that is not proven
    assert all(one.verdict != "worse" for one in treatment.checks) or treatment.kept


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), "1"])
def test_what_is_no_limit_is_refused(limit):
    with pytest.raises(OptionError, match="max_seconds"):
        treated(max_seconds=limit)
