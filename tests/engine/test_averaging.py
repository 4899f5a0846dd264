"""Averages of weights: the closed forms, what sees them, and that training goes on without them."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine import loop
from kilter._engine.averaging import ExponentialMovingAverage, StochasticWeightAverage, WeightAverage
from kilter._engine.fit import fit
from kilter.errors import OptionError

from .cases import BATCH, classifier, rows

layers = keras.layers
X, Y = rows(48)
VALIDATION = rows(20, seed=1)
QUIET = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
MOMENTUM = 0.8
Weights = list[np.ndarray]


def adam(**options: Any) -> keras.optimizers.Optimizer:
    return keras.optimizers.Adam(0.05, **options)


def averaging_adam() -> keras.optimizers.Optimizer:
    return adam(use_ema=True, ema_momentum=MOMENTUM)


class Seen(keras.callbacks.Callback):
    """The weights of the model at the end of each batch, when validation begins, and when an epoch ends."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Weights] = []
        self.validated: list[Weights] = []
        self.ended: list[Weights] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append(self.model.get_weights())

    def on_test_begin(self, logs: Any = None) -> None:
        self.validated.append(self.model.get_weights())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.ended.append(self.model.get_weights())


@pytest.fixture(autouse=True)
def one_step_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that Seen sees the weights after every step."""
    make = loop.Runner.__init__

    def of_one_step(self: loop.Runner, *arguments: Any, **options: Any) -> None:
        make(self, *arguments, **options)
        self.steps_a_chunk = 1

    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)
    monkeypatch.setattr(loop.Runner, "__init__", of_one_step)


def same(one: Weights, other: Weights) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def close(one: Weights, other: Weights) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


def trained(
    average: WeightAverage | None, optimizer: Any, how: Any = fit, epochs: int = 4, **more: Any
) -> Any:
    """(model, what was seen, history) of a training with an average, by kilter or by Keras's own fit."""
    model, seen = classifier(optimizer), Seen()
    train = how if how is fit else lambda model, *data, **options: model.fit(*data, **options)
    callbacks = [*([average] if average else []), seen, *more.pop("after", [])]
    options = {"epochs": epochs, "validation_data": VALIDATION, "callbacks": callbacks, **QUIET, **more}
    return model, seen, train(model, X, Y, **options)


def moving_average(steps: list[Weights]) -> Weights:
    average = steps[0]
    for weights in steps[1:]:
        average = [MOMENTUM * a + (1 - MOMENTUM) * w for a, w in zip(average, weights, strict=True)]
    return average


def mean(ends: list[Weights]) -> Weights:
    return [np.mean([np.asarray(w, np.float64) for w in group], axis=0) for group in zip(*ends, strict=True)]


FITS = pytest.mark.parametrize("how", [fit, "keras"], ids=["kilter.fit", "model.fit"])
STEPS = 3  # an epoch


@FITS
def test_the_moving_average_of_the_formula_is_validated_and_stays(how: Any):
    model, seen, _ = trained(ExponentialMovingAverage(), averaging_adam(), how)
    for epoch in range(4):
        expected = moving_average(seen.steps[: (epoch + 1) * STEPS])
        close(seen.validated[epoch], expected)
        close(seen.ended[epoch], expected)
    close(model.get_weights(), seen.ended[-1])


@FITS
@pytest.mark.parametrize(("start", "every", "counted"), [(1, 1, [1, 2, 3]), (0.5, 1, [2, 3]), (0, 2, [0, 2])])
def test_the_mean_of_the_ends_of_epochs_is_validated_and_stays(
    how: Any, start: float, every: int, counted: list[int]
):
    average = StochasticWeightAverage(start, every)
    model, seen, _ = trained(average, adam(), how)
    ends = seen.steps[STEPS - 1 :: STEPS]
    for epoch in range(4):
        taken = [ends[number] for number in counted if number <= epoch]
        expected = mean(taken) if taken else ends[epoch]
        close(seen.validated[epoch], expected)
        close(seen.ended[epoch], expected)
    close(model.get_weights(), seen.ended[-1])
    assert average.count == len(counted)


AVERAGES = {
    "moving": (ExponentialMovingAverage, averaging_adam),
    "stochastic": (lambda: StochasticWeightAverage(1), adam),
}
EACH = pytest.mark.parametrize("kind", AVERAGES)


@EACH
@FITS
def test_training_goes_on_with_its_own_bits(how: Any, kind: str):
    make, optimizer = AVERAGES[kind]
    _, averaged, history = trained(make(), optimizer(), how)
    _, plain, without = trained(None, optimizer(), how)
    assert len(averaged.steps) == 4 * STEPS
    assert all(same(a, b) for a, b in zip(averaged.steps, plain.steps, strict=True))
    assert history.history["loss"] == without.history["loss"]
    assert history.history["val_loss"] != without.history["val_loss"]


@EACH
def test_the_validation_loss_is_that_of_the_averages(kind: str):
    make, optimizer = AVERAGES[kind]
    model, seen, history = trained(make(), optimizer())
    for weights, found in zip(seen.ended, history.history["val_loss"], strict=True):
        model.set_weights(weights)
        assert model.evaluate(*VALIDATION, verbose=0)[0] == pytest.approx(found, rel=1e-5)


@EACH
@FITS
def test_early_stopping_gives_the_averages_of_the_best_epoch_back(how: Any, kind: str):
    make, optimizer = AVERAGES[kind]
    stopping = keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True)
    model, seen, history = trained(make(), optimizer(), how, epochs=12, after=[stopping])
    best = int(np.argmin(history.history["val_loss"]))
    assert best + 3 == len(seen.ended) < 12
    assert same(model.get_weights(), seen.ended[best])


@EACH
def test_a_training_that_stops_early_ends_with_the_averages(kind: str):
    """Where Keras's SwapEMAWeights leaves the unaveraged weights in the model."""
    make, optimizer = AVERAGES[kind]
    stop = lambda: keras.callbacks.LambdaCallback(  # noqa: E731
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 2)
    )
    model = classifier(optimizer())
    seen = Seen()
    fit(model, X, Y, epochs=9, callbacks=[make(), seen, stop()], **QUIET)
    assert len(seen.ended) == 3
    close(model.get_weights(), seen.ended[-1])
    if kind == "moving":
        close(model.get_weights(), moving_average(seen.steps))
        model, seen = classifier(optimizer()), Seen()
        swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
        model.fit(X, Y, epochs=9, callbacks=[swap, seen, stop()], **QUIET)
        assert same(model.get_weights(), seen.steps[-1])


@EACH
def test_a_saved_checkpoint_holds_the_averages(kind: str, tmp_path: Path):
    make, optimizer = AVERAGES[kind]
    path = tmp_path / "best.keras"
    saving = keras.callbacks.ModelCheckpoint(str(path), save_best_only=True)
    _, seen, history = trained(make(), optimizer(), after=[saving])
    best = int(np.argmin(history.history["val_loss"]))
    assert same(keras.saving.load_model(path).get_weights(), seen.ended[best])


@EACH
def test_a_second_training_begins_a_new_average(kind: str):
    make, optimizer = AVERAGES[kind]
    average, model, seen = make(), classifier(optimizer()), Seen()
    fit(model, X, Y, epochs=3, callbacks=[average], **QUIET)
    fit(model, X, Y, epochs=2, callbacks=[average, seen], **QUIET)
    if kind == "stochastic":
        close(model.get_weights(), seen.steps[-1])  # one epoch counts: the second
        assert average.count == 1


def biases_apart() -> keras.optimizers.Optimizer:
    given = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
    given[".*/bias"] = averaging_adam()
    return keras.optimizers.MultiOptimizer(given)


OPTIMIZERS = {
    "alone": (averaging_adam, 6),
    "loss scaled": (lambda: keras.optimizers.LossScaleOptimizer(averaging_adam(), initial_scale=2.0), 6),
    "one of several": (biases_apart, 3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimisers_within_others_are_found(name: str):
    make, averaged = OPTIMIZERS[name]
    average, model = ExponentialMovingAverage(), classifier(make())
    fit(model, X, Y, callbacks=[average], **QUIET)
    pairs = average.averages()
    assert len(pairs) == averaged
    assert {id(variable) for variable, _ in pairs} <= {id(variable) for variable in model.trainable_variables}
    for variable, value in pairs:
        np.testing.assert_array_equal(variable.value, value)


def normalized(optimizer: Any) -> keras.Model:
    return classifier(optimizer, hidden=lambda: [layers.BatchNormalization()])


@pytest.mark.sampled(3)
@EACH
@FITS
def test_refreshed_statistics_are_judged_and_then_put_back(how: Any, kind: str):
    optimizer = AVERAGES[kind][1]

    def run(*callbacks: Any) -> Seen:
        model, seen = normalized(optimizer()), Seen()
        options = {"epochs": 3, "validation_data": VALIDATION, "callbacks": [*callbacks, seen], **QUIET}
        fit(model, X, Y, **options) if how is fit else model.fit(X, Y, **options)
        return seen

    given: dict[str, Any] = {"refresh": X} | ({"start": 1} if kind == "stochastic" else {})
    make = ExponentialMovingAverage if kind == "moving" else StochasticWeightAverage
    averaged, plain = run(make(**given)), run()
    assert all(same(a, b) for a, b in zip(averaged.steps, plain.steps, strict=True))
    for validated, ended in zip(averaged.validated[1:], averaged.ended[1:], strict=True):
        assert same(validated, ended)
        kernel, bias, _, _, *statistics = validated[:6]
        hidden = np.asarray(keras.activations.elu(X @ kernel + bias), np.float64)
        close(statistics, [hidden.mean(0), hidden.var(0)])


def test_batch_normalisation_needs_its_statistics_refreshed():
    with pytest.raises(OptionError, match="training inputs as refresh"):
        fit(normalized("sgd"), X, Y, callbacks=[StochasticWeightAverage()], **QUIET)


def test_an_optimiser_without_an_average_is_refused():
    with pytest.raises(OptionError, match="use_ema=True"):
        fit(classifier("sgd"), X, Y, callbacks=[ExponentialMovingAverage()], **QUIET)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"start": 1.5}, "share"),
        ({"start": -1}, "share"),
        ({"start": True}, "share"),
        ({"every": 0}, "every"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], said: str):
    with pytest.raises(OptionError, match=said):
        StochasticWeightAverage(**options)
