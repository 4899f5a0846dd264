"""How a training moves, what makes it slow, and what the Doctor sees while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

import kilter
from kilter._diagnosis.batch_noise import too_large, with_noise
from kilter._diagnosis.checks import dynamics, speed
from kilter._diagnosis.context import Timing, checks_in
from kilter._diagnosis.diagnose import run_checks
from kilter._diagnosis.thresholds import Thresholds
from kilter._diagnosis.watch import BatchLosses, Place, cadence
from kilter._tuning.noise_scale import NoiseScale
from kilter.errors import ModelError

from .synthetic import context, readings

FALLING = np.geomspace(1.0, 0.4, 8)
EPOCHS = (10.0,) * 4


def steps(**values: Any) -> Any:
    return context(None, readings(FALLING, **values))


def descent(product: float) -> Any:
    """Plain gradient descent on all rows with that curvature times rate."""
    rate = 0.1
    squares = 5 * 0.2**2
    change = rate * squares * (product / 2 - 1)
    made = context(None, readings(FALLING, FALLING + change))
    optimizer = replace(made.optimizer, name="sgd", learning_rate=rate)
    return replace(made, optimizer=optimizer, batch_size=8)


def timed(**values: Any) -> Any:
    given = {
        "computing": EPOCHS,
        "compiling": (1.0, 0, 0, 0),
        "waiting": (0.0,) * 4,
        "steps": 100,
        "work": 1e9,
    }
    return replace(context(readings()), timing=Timing(**{**given, **values}))


def held(*parts: int) -> tuple[int, ...]:
    return tuple(one << 28 for one in parts)


def over(begin: float, end: float) -> np.ndarray:
    return np.geomspace(begin, end, 8)[:, None] * np.ones(4)


def attended(begin: float, end: float) -> Any:
    made = steps(std=over(begin, end))
    paths = ("block/query", "block/key", *made.training.layers[2:])
    return replace(made, training=replace(made.training, layers=paths))


CASES = {
    "sharper attention": ("attention-logits-growing", attended(0.6, 3.0)),
    "large updates": ("update-ratio", steps(update_ratio=0.3)),
    "small updates": ("update-ratio", steps(update_ratio=1e-6)),
    "weights that nothing moves": ("weights-not-moving", steps(update_ratio=0.0)),
    "growing weights": ("weights-growing", steps(weight_norm=over(1, 20))),
    "steep descent": ("edge-of-stability", descent(2.6)),
    "lost signal": ("signal-collapse", steps(std=over(1, 1e-3))),
    "slow data": ("input-bound", timed(waiting=(6.0,) * 4)),
    "one long compilation": ("compile-bound", timed(compiling=(90.0, 0, 0, 0))),
    "compiling every epoch": ("recompiling", timed(compiling=(3.0,) * 4)),
    "tiny steps": ("small-batches", timed(work=1e5)),
    "a leak": ("memory-growth", timed(memory=held(1, 5, 6, 7, 8, 9, 10, 11))),
}
SOUND = {
    "attention that learns": attended(0.6, 1.2),
    "attention that is sharp": attended(2.4, 3.0),
    "frozen weights": steps(update_ratio=0.0, weight_gradient_norm=np.nan),
    "usual steps": steps(),
    "stable descent": descent(1.5),
    "weights that grow a little": steps(weight_norm=over(1, 2)),
    "usual time": timed(),
    "a short training": timed(computing=(1.0,) * 4, waiting=(0.9,) * 4),
    "a cache that fills": timed(memory=held(1, 5, 9, 9, 9, 9, 9, 9)),
    "as much memory as before": timed(memory=held(*[5] * 8)),
    "too few epochs for a leak": timed(memory=held(1, 5, 6, 7)),
    "unknown memory": timed(memory=(0,) * 9),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_give_the_finding(name: str):
    code, made = CASES[name]
    found = run_checks(checks_in(dynamics, speed), made)
    assert [one.code for one in found] == [code]


@pytest.mark.parametrize("name", SOUND)
def test_sound_numbers_give_nothing(name: str):
    assert not run_checks(checks_in(dynamics, speed), SOUND[name])


def test_float64_weights_are_seen(monkeypatch: pytest.MonkeyPatch):
    made = context(readings())
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    monkeypatch.setattr(type(model.trainable_variables[0]), "dtype", "float64")
    (found,) = speed.check_precision(replace(made, model=model))
    assert found.code == "double-precision"


def means(losses: list[float]) -> list[float]:
    """Running means, as Keras reports them."""
    return list(np.cumsum(losses) / np.arange(1, len(losses) + 1))


def test_a_spike_names_its_batch():
    watched = BatchLosses(Thresholds())
    watched.begin_epoch()
    losses = [1.0] * 20 + [40.0] + [1.0] * 5
    found = [watched.see(Place(2, at, 60 + at), mean) for at, mean in enumerate(means(losses))]
    (spike,) = [one for one in found if one is not None]
    assert spike.code == "loss-spike"
    assert "epoch 3, batch 21" in spike.explanation
    watched.begin_epoch()
    assert watched.see(Place(3, 4, 90), 1.0) is None  # a chunk of five batches


def test_readings_are_a_hundredth_of_the_work():
    assert cadence(rows=64, batch_size=32) == 300
    assert cadence(rows=128, batch_size=64) == 300


def watched(rate: float, fit: str, **options: Any) -> tuple[keras.Model, kilter.Doctor]:
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(96, 4)).astype("float32")
    y = x.sum(1, keepdims=True)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    doctor = kilter.Doctor(x, y, verbose=False, **options)
    given = {"batch_size": 8, "epochs": 2, "verbose": 0, "callbacks": [doctor]}
    if fit == "keras":
        model.fit(x, y, **given)
    else:
        kilter.fit(model, x, y, **given)
    return model, doctor


@pytest.mark.parametrize("fit", ["keras", "kilter"])
def test_the_doctor_warns_at_the_step(fit: str):
    _, doctor = watched(0.0, fit, every=3)
    (event,) = doctor.events
    assert event[1].code == "weights-not-moving"
    if fit == "keras":
        assert event[0] == 3
    _, doctor = watched(1e38, fit, every=0)
    assert "non-finite" in [one.code for _, one in doctor.events]


def test_the_doctor_stops_a_training_and_gives_the_start_back():
    model, doctor = watched(1e38, "keras", every=0, stop=True)
    assert doctor.stopped is not None
    assert int(model.optimizer.iterations) < 24
    assert all(np.isfinite(one).all() for one in doctor.restart().get_weights())


def test_only_a_doctor_that_stops_keeps_the_start():
    _, doctor = watched(0.1, "keras", every=0)
    with pytest.raises(ModelError, match="stop=True"):
        doctor.restart()


# The batch size, the noise scale's interval in rows, and the code that follows.
NOISES = [
    (1, 12.0, 90.0, ["batch-too-small"]),
    (1, 5.0, 90.0, []),
    (8, 80.0, 900.0, ["batch-too-small"]),
    (1, np.inf, np.inf, []),  # no gradient that could be told from 0
    (1024, 9.0, 100.0, ["batch-too-large"]),
    (1024, 9.0, 200.0, []),
    (1024, 900.0, np.inf, []),
]


@pytest.mark.parametrize(("batch", "low", "high", "codes"), NOISES)
def test_a_batch_is_judged_by_the_noise_of_its_gradient(
    batch: int, low: float, high: float, codes: list[str]
):
    noise = NoiseScale(low, low, high, 1.0, 1.0, 16, 32)
    given = replace(context(readings()), batch_size=batch, inputs=(np.zeros((2048, 1)),))
    assert [one.code for one in with_noise([], given, noise)] == codes


def test_the_noise_joins_what_is_known_of_large_batches():
    given = replace(context(readings()), batch_size=512, inputs=(np.zeros((2048, 1)),))
    known = too_large(given, [])
    (found,) = with_noise([known], given, NoiseScale(9.0, 9.0, 200.0, 1.0, 1.0, 16, 32))
    assert [one.value for one in found.evidence] == [512 / 712, 200.0]
