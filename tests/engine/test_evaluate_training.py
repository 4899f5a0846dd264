"""evaluate_training: the training rows in inference mode, beside training that goes on as without."""

from typing import Any

import keras
import numpy as np
import pytest

from kilter._engine.averaging import StochasticWeightAverage
from kilter._engine.fit import fit
from kilter.errors import OptionError

from .cases import BATCH, classifier, rows, same_bits

layers = keras.layers
X, Y = rows()
VALIDATION = rows(20, seed=1)
WEIGHTS = np.linspace(0.5, 1.5, len(X))


@keras.saving.register_keras_serializable(package="tests")
class AlwaysNoisy(layers.Layer):
    """Draws from its generator in inference too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.seed_generator = keras.random.SeedGenerator(5)

    def call(self, x: Any) -> Any:
        return x + 0.1 * keras.random.normal(keras.ops.shape(x), seed=self.seed_generator)


def stochastic() -> list[keras.layers.Layer]:
    return [layers.BatchNormalization(), layers.Dropout(0.3, seed=3)]


def trained(hidden: Any = stochastic, **how: Any) -> tuple[keras.Model, dict[str, list[float]]]:
    model = classifier(keras.optimizers.Adam(0.01), hidden=hidden)
    options = {"epochs": 3, "batch_size": BATCH, "verbose": 0, "evaluate_training": True, **how}
    return model, fit(model, X, Y, **options).history


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("how", "weights"),
    [
        ({}, None),
        ({"validation_data": VALIDATION, "validation_batch_size": 7}, None),
        ({"sample_weight": WEIGHTS}, WEIGHTS),
        ({"class_weight": {0: 3.0, 1: 1.0, 2: 0.0}}, None),
    ],
    ids=["alone", "beside validation", "weights of rows count", "weights of classes do not"],
)
def test_the_figures_are_those_of_keras_evaluate_at_the_end_of_the_epoch(how: Any, weights: Any):
    found = []

    class Evaluate(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            found.append(self.model.evaluate(X, Y, sample_weight=weights, verbose=0, return_dict=True))

    _, history = trained(callbacks=[Evaluate()], **how)
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose(history[f"train_{name}"], [one[name] for one in found], rtol=1e-5)
    assert history["train_loss"] != history["loss"]


@pytest.mark.parametrize(
    "hidden", [stochastic, lambda: [*stochastic(), AlwaysNoisy()]], ids=["dropout", "noise"]
)
def test_no_bit_of_the_training_changes(hidden: Any):
    measured, with_it = trained(hidden)
    plain, without = trained(hidden, evaluate_training=False)
    assert same_bits(measured, plain)
    assert with_it["loss"] == without["loss"]
    assert not any(name.startswith("train_") for name in without)


def test_it_is_measured_as_often_as_the_validation_data():
    _, history = trained(epochs=5, validation_data=VALIDATION, validation_freq=2)
    assert len(history["train_loss"]) == len(history["val_loss"]) == 2
    assert len(history["loss"]) == 5


def test_the_averaged_weights_are_measured_where_they_are_validated():
    model, history = trained(hidden=tuple, callbacks=[StochasticWeightAverage(1)])
    assert history["train_loss"][-1] == pytest.approx(model.evaluate(X, Y, verbose=0)[0], rel=1e-5)


def test_streamed_rows_are_measured_too(monkeypatch: pytest.MonkeyPatch):
    _, resident = trained()
    monkeypatch.setattr("kilter._engine.fit.must_stream", lambda x: True)
    _, streamed = trained()
    np.testing.assert_allclose(streamed["train_loss"], resident["train_loss"], rtol=1e-6)


def test_an_iterable_of_batches_is_refused():
    model = classifier()
    with pytest.raises(OptionError, match="shuffle itself"):
        fit(model, [(X, Y)], evaluate_training=True, verbose=0)


def test_the_plot_has_three_curves_a_measure():
    model = classifier()
    history = fit(model, X, Y, validation_data=VALIDATION, evaluate_training=True, verbose=0)
    drawn = {trace.name: (trace.line.color, trace.line.dash) for trace in history.plot().data}
    assert {name for name in drawn if name.endswith("loss")} == {"loss", "train_loss", "val_loss"}
    assert len({color for name, (color, _) in drawn.items() if name.endswith("loss")}) == 1
    assert [drawn[name][1] for name in ("loss", "train_loss", "val_loss")] == ["solid", "dot", "dash"]
