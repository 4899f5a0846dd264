"""What decides: counted work and a policy, never the clock; also the original training and the record."""

import gc
import itertools
import threading
import time
import weakref
from dataclasses import fields, is_dataclass, replace
from typing import Any

import jax.monitoring
import keras
import numpy as np
import pytest

import kilter
from kilter._compare.comparison import Comparison
from kilter._engine.step_cost import cost_of
from kilter._engine.training_spec import TrainingSpec
from kilter._treatment.full_training import _Lost, train_as_given
from kilter._treatment.plan import RemedySet
from kilter._treatment.policy import Policy, SearchPolicy, listed
from kilter._treatment.remedies import REMEDIES
from kilter._treatment.request import subject_of
from kilter._treatment.result import Treatment
from kilter._treatment.scoring import Scoring, scoring_of
from kilter._treatment.search import Search, Tools, lengthen, planned_search, shorten
from kilter._treatment.subject import Subject
from kilter.data.augmentation import Flip
from kilter.errors import KilterError, OptionError

from . import faulty
from .subjects import LABELS, X, dense, subject

GIVEN: list[weakref.ref] = []


def treated(**options: Any) -> Treatment:
    keras.utils.clear_session()  # the same names of layers each time
    keras.utils.set_random_seed(0)  # and the same weights
    model, x, y = faulty.small()
    GIVEN.append(weakref.ref(model))
    return kilter.treat(model, x, y, epochs=6, verbose=0, **options)


def decided(treatment: Treatment) -> Any:
    """Everything but times."""
    proof = treatment.trials.proof
    assert isinstance(proof, Comparison)
    return (
        repr(
            (treatment.diagnosis, treatment.after.diagnosis, treatment.checks)
        ),  # NaN is not equal to itself
        treatment.changes,
        repr([replace(one, seconds=0.0) for one in treatment.trials.tried]),
        repr([candidate.scores for candidate in proof.candidates]),
        [weight.tobytes() for weight in treatment.model.get_weights()],
    )


@pytest.fixture(scope="module")
def quiet() -> Treatment:
    return treated()


@pytest.mark.long
def test_neither_a_slow_clock_nor_a_busy_machine_changes_a_bit(quiet: Treatment, monkeypatch):
    assert quiet.changes
    done = threading.Event()

    def burn() -> None:
        square = np.ones((300, 300))
        while not done.is_set():
            square @ square  # without Python's lock, which the treatment needs

    threads = [threading.Thread(target=burn) for _ in range(2)]
    ticks = itertools.count(2_000_000_000, 1000)
    try:
        for one in threads:
            one.start()
        with monkeypatch.context() as patched:
            for name in ("time", "perf_counter", "process_time", "monotonic"):
                patched.setattr(time, name, lambda: float(next(ticks)))  # each look takes 1000 seconds
            slow = treated()
    finally:
        done.set()
        for one in threads:
            one.join()
    assert slow.seconds > 1000
    assert decided(slow) == decided(quiet)


def test_a_page_is_drawn_from_the_record_alone(quiet: Treatment, tmp_path):
    gc.collect()
    assert [one() for one in GIVEN] == [None] * len(GIVEN)
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(lambda name, *_, **__: compiled.append(name))
    page = replace(quiet, model=None).report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert [name for name in compiled if "compile" in name or "trace" in name] == []
    assert "Signal through depth" in page
    assert quiet.before.measurements is not None


def test_the_record_holds_one_model_and_no_data(quiet: Treatment):
    found: list[Any] = []

    def walk(value: Any) -> None:
        if is_dataclass(value):
            for one in fields(value):
                walk(getattr(value, one.name))
        elif isinstance(value, dict | tuple | list):
            for one in value.values() if isinstance(value, dict) else value:
                walk(one)
        elif isinstance(value, keras.Model) or getattr(value, "nbytes", 0) > 10_000:
            found.append(value)

    walk(quiet)
    assert found == [quiet.model]


def test_the_training_as_it_came_is_the_persons_own():
    seen: list[Any] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, float(self.model.optimizer.learning_rate)))

    weights = np.linspace(0.1, 2, len(X)).astype("float32")
    options: dict[str, Any] = {
        "batch_size": 16,
        "epochs": 2,
        "shuffle": False,
        "sample_weight": weights,
        "schedule": kilter.schedules.exponential(0.1, period=6),
        "seed": 3,
    }
    model = dense(1)
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
    data = (X[:32], LABELS[:32])
    spec = TrainingSpec(**options, validation_data=data, callbacks=(Watch(),))
    asked = subject_of(model, X, LABELS, spec, Policy())
    given = train_as_given(asked, Tools(RemedySet({}), scoring_of(asked)))
    assert [epoch for epoch, _ in seen] == [0, 1]
    twin = asked.copy()
    history = kilter.fit(twin, X, LABELS, **options, validation_data=data, verbose=0)
    for one, other in zip(given.last.restored().get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)  # compiled fast: another order of sums
    assert given.last.history.history["learning_rate"] == pytest.approx(history.history["learning_rate"])


def test_every_epoch_of_a_full_training_takes_all_whole_batches():
    """16 whole batches and a part of one: the part is left out, and is no epoch of its own."""
    x, y = np.resize(X, (131, X.shape[1])), np.resize(LABELS, 131)
    model = dense(1)
    model.compile("sgd", "binary_crossentropy")
    asked = subject_of(model, x, y, TrainingSpec(3, 8, validation_data=(x[:16], y[:16])), Policy())
    given = train_as_given(asked, Tools(RemedySet({}), scoring_of(asked)))
    assert int(given.last.restored().optimizer.iterations) == 3 * 16


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": 0.1},
        {"augment": "flip"},
        {"augment": [Flip("horizontal")]},
        {"callbacks": [print]},
        {"sample_weight": np.ones(3)},
        {"sample_weight": np.ones(600), "class_weight": {0: 1.0, 1: 2.0}},
        {"policy": Policy(search=SearchPolicy(level=0.01))},
    ],
    ids=["schedule", "augment", "augment of rows", "callbacks", "rows", "two weights", "level"],
)
def test_options_that_fit_refuses_are_refused_before_anything_is_trained(options):
    with pytest.raises(KilterError):
        treated(**options)


def test_every_number_of_the_policy_has_a_unit_a_reason_and_a_source():
    rows = listed(Policy())
    assert len(rows) > 60
    assert all(unit and reason and source for *_, unit, reason, source in rows)
    with pytest.raises(AttributeError):
        Policy().search.trial_steps = 1  # type: ignore[misc]


def test_the_length_of_trials_follows_the_work_of_a_step():
    came = subject(dense(1), epochs=1000)
    tools = Tools(RemedySet(REMEDIES), Scoring("val_accuracy", 0.5))
    usual = planned_search(came, tools)
    assert usual.cost.multiply_adds > 0
    assert usual.full == 1000 * 6 * usual.cost.work
    short = replace(
        came, policy=Policy(search=SearchPolicy(trial_work=0.0, trial_share=0.0, partial_epoch_steps=2))
    )
    assert planned_search(short, tools).rows == 32
    longer = replace(came, policy=Policy(search=SearchPolicy(trial_work=1e12)))
    assert planned_search(longer, tools).epochs == 1000 > usual.epochs


def test_a_search_ends_when_its_work_is_spent():
    came = subject(dense(1))
    scoring = Scoring("val_accuracy", 0.1)
    search = Search(
        scoring, 1, came.rows, 0, allowed=1.0, cost=cost_of(jax.make_jaxpr(lambda x: x @ x)(X @ X.T))
    )
    assert not search.is_over(0.9)
    search.run(came, "tried")
    assert search.is_over(0.9)
    once = search.spent
    search.run(came, "tried")
    assert search.spent == once  # what was tried is known
    search.run(subject(dense(1)), "tried")
    assert search.spent - once < once  # a structure is compiled once
    search.allowed = search.spent / 4
    assert search.is_over(0.9)
    assert not search.is_over(0.1)  # five times the work while nothing is learnt


@pytest.mark.parametrize(
    ("scores", "reached", "epochs"),
    [
        ({2: 0.3, 4: 0.4, 8: 0.9}, 0.9, 8),  # 4 epochs show less than half of what it can
        ({2: 0.8}, 0.9, 2),
        ({2: 0.1, 4: 0.1, 8: 0.3}, 0.9, 8),  # beyond a small share it is enough to have learnt something
        ({2: 0.3}, np.nan, 2),  # how far it gets is not known
    ],
)
def test_trials_of_a_costly_training_are_lengthened_until_they_show_enough(
    scores: dict[int, float], reached: float, epochs: int
):
    came, search = _known(scores)
    lengthen(search, came, reached)
    assert search.epochs == epochs


@pytest.mark.parametrize(
    ("scores", "epochs"),
    [
        ({8: 0.9, 4: 0.8, 2: 0.7}, 2),  # of two epochs half would be less than a trial needs
        ({8: 0.9, 4: 0.8, 2: 0.3}, 4),
        ({8: 0.9, 4: 0.1}, 8),
        ({8: 0.5, 4: 0.4}, 8),  # half of a small effect is too little to prove
        ({2: 0.9}, 2),
    ],
)
def test_lengthened_trials_are_halved_while_they_show_enough(scores: dict[int, float], epochs: int):
    came, search = _known(scores)
    search.epochs = max(scores)
    shorten(search, came)
    assert search.epochs == epochs


def _known(scores: dict[int, float]) -> tuple[Subject, Search]:
    """A subject of 100 epochs, and a search of trials of 2 that knows its scores by epochs."""
    came = subject(dense(1)).with_training(epochs=100)
    scoring, policy = Scoring("val_accuracy", 0.2, constant=0.1), SearchPolicy(trial_steps=4)
    search = Search(scoring, 2, came.rows, 0, 1.0, full=1e11, policy=policy)
    search.known = {(came, epochs, came.rows): score for epochs, score in scores.items()}
    return came, search


@pytest.mark.parametrize(
    ("lost", "loss", "ends"),
    [(slice(None), np.nan, True), (slice(1), np.nan, False), (slice(None), 1.0, False)],
)
def test_a_training_ends_early_only_if_all_its_weights_are_lost(lost: slice, loss: float, ends: bool):
    model: Any = dense(1)
    callback = _Lost()
    callback.set_model(model)
    model.stop_training = False
    for variable in model.trainable_variables[lost]:
        variable.assign(np.full(variable.shape, np.nan))
    callback.on_epoch_end(0, {"loss": loss, "lr": 0.1})
    assert model.stop_training is ends


def test_refusals_say_what_to_do():
    with pytest.raises(OptionError, match="To fix"):
        treated(pairs=3)
