"""predict_mc against Keras's own dropout and against enumerated distributions, and what it must not do."""

import itertools
from typing import Any

import keras
import numpy as np
import pytest
from scipy import stats

from kilter._engine.inference import predict
from kilter._infer.monte_carlo import dropout_layers, predict_mc
from kilter.errors import DataError, ModelError, OptionError
from kilter.nn import RReLU

layers = keras.layers
FLAT, SERIES, IMAGES, FILMS = (6,), (3, 4), (3, 3, 4), (2, 2, 2, 4)


class AlwaysDropping(layers.Dropout):
    """The textbooks' MC dropout layer: it drops in inference too, and its call takes no ``training``."""

    def call(self, inputs: Any) -> Any:
        return super().call(inputs, training=True)


def to_itself(kind: Any, **options: Any) -> Any:
    """An attention layer of one input, which is its query and its value."""

    def model(shape: tuple[int, ...]) -> keras.Model:
        x = keras.Input(shape)
        return keras.Model(x, kind(**options)(*([x, x] if kind is layers.MultiHeadAttention else [[x, x]])))

    return model


def stack_of(layer: Any) -> Any:
    return lambda shape: keras.Sequential([keras.Input(shape), layer()])


# Every kind of layer that drops, with the shape of its inputs; all other layers are the same in training.
KINDS = {
    "dropout": (stack_of(lambda: layers.Dropout(0.4)), FLAT),
    "noise shape": (stack_of(lambda: layers.Dropout(0.4, noise_shape=(None, 1, None))), SERIES),
    "alpha": (stack_of(lambda: layers.AlphaDropout(0.4)), FLAT),
    "gaussian": (stack_of(lambda: layers.GaussianDropout(0.4)), FLAT),
    "spatial 1d": (stack_of(lambda: layers.SpatialDropout1D(0.4)), SERIES),
    "spatial 2d": (stack_of(lambda: layers.SpatialDropout2D(0.4)), IMAGES),
    "spatial 3d": (stack_of(lambda: layers.SpatialDropout3D(0.4)), FILMS),
    "always dropping": (stack_of(lambda: AlwaysDropping(0.4)), FLAT),
    "in each step": (stack_of(lambda: layers.TimeDistributed(layers.Dropout(0.4))), SERIES),
    "attention": (to_itself(layers.Attention, dropout=0.4), SERIES),
    "additive attention": (to_itself(layers.AdditiveAttention, dropout=0.4), SERIES),
    "multi-head attention": (
        to_itself(layers.MultiHeadAttention, num_heads=2, key_dim=2, dropout=0.4),
        SERIES,
    ),
    "simple recurrent": (stack_of(lambda: layers.SimpleRNN(3, dropout=0.4)), SERIES),
    "lstm": (stack_of(lambda: layers.LSTM(3, dropout=0.3, recurrent_dropout=0.3)), SERIES),
    "gru": (stack_of(lambda: layers.GRU(3, recurrent_dropout=0.4)), SERIES),
    "two directions": (stack_of(lambda: layers.Bidirectional(layers.GRU(3, dropout=0.4))), SERIES),
    "cells": (stack_of(lambda: layers.RNN([layers.LSTMCell(3, dropout=0.4), layers.GRUCell(2)])), SERIES),
    "convolutional lstm": (stack_of(lambda: layers.ConvLSTM2D(2, 2, dropout=0.4)), FILMS),
}


def network(kind: str) -> keras.Model:
    """A network with one layer of that kind, and two numbers as outputs."""
    keras.utils.set_random_seed(1)
    make, shape = KINDS[kind]
    model = keras.Sequential([keras.Input(shape), make(shape), layers.Flatten(), layers.Dense(2)])
    model.compile(loss="mse")
    return model


def inputs(shape: tuple[int, ...], rows: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(1.0, 0.5, size=(rows, *shape)).astype("float32")


@pytest.mark.sampled(6)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_dropout_is_that_of_keras_in_training(kind: str):
    model, x = network(kind), inputs(KINDS[kind][1])
    mine, theirs = 400, 4000
    found = predict_mc(model, x, samples=mine)
    # A row repeated is that many samples of it.
    drawn = np.asarray(model(np.repeat(x, theirs, axis=0), training=True)).reshape(2, theirs, 2)
    spread = drawn.std(axis=1)
    assert (spread > 1e-3).all()
    # 5 standard errors of a difference of two means; the deviation of 400 draws is off by some 5 %.
    assert (np.abs(found.mean - drawn.mean(axis=1)) < 5 * spread * np.sqrt(1 / mine + 1 / theirs)).all()
    np.testing.assert_allclose(found.std, spread, rtol=0.3)
    assert found.entropy is None
    assert found.mutual_information is None


class Nested(keras.Model):
    """Batch normalisation, noise and dropout in a model within a model, told by hand whether they train."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = keras.Sequential(
            [layers.Dense(5), layers.BatchNormalization(), layers.GaussianNoise(0.9), layers.Dropout(1e-7)]
        )
        self.leaky = RReLU()
        self.last = layers.Dense(3, activation="softmax")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.last(self.leaky(self.inner(x, training=training)))


def test_nothing_but_dropout_is_as_in_training():
    keras.utils.set_random_seed(2)
    model, x = Nested(), inputs(FLAT, 20)
    model(x)
    statistics = model.inner.layers[1]
    statistics.moving_mean.assign(np.arange(5.0))
    statistics.moving_variance.assign(np.arange(1.0, 6.0))
    model.compile(loss="sparse_categorical_crossentropy")
    found = predict_mc(model, x, samples=5)  # at a rate of 1e-7 no unit is dropped
    np.testing.assert_allclose(found.mean, predict(model, x), rtol=1e-5)
    assert found.std.max() < 1e-6


def classifier(rate: float = 0.5) -> keras.Model:
    keras.utils.set_random_seed(3)
    stack = [layers.Dense(40, activation="tanh"), layers.BatchNormalization(), layers.Dropout(rate)]
    model = keras.Sequential([keras.Input(FLAT), *stack, layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_mean_deviation_and_entropies_of_all_masks_of_three_inputs():
    model = keras.Sequential([keras.Input((3,)), layers.Dropout(0.25), layers.Dense(3)])
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x, kernel = np.array([[0.5, -1.0, 2.0]], "float32"), np.asarray(model.layers[-1].kernel.value)
    masks = np.array(list(itertools.product([0, 1], repeat=3)))
    chance = np.prod(np.where(masks, 0.75, 0.25), axis=1)
    raised = np.exp((x * masks / 0.75) @ kernel)
    shares = raised / raised.sum(axis=1, keepdims=True)
    mean = chance @ shares
    deviation = np.sqrt(chance @ (shares - mean) ** 2)
    doubt = stats.entropy(mean) - chance @ stats.entropy(shares, axis=1)
    count = 20_000
    found = predict_mc(model, x, samples=count)
    assert (np.abs(found.mean[0] - mean) < 5 * deviation / np.sqrt(count)).all()
    # The errors of these are of order 1/√count = 0.007.
    np.testing.assert_allclose(found.std[0], deviation, rtol=0.03)
    assert found.entropy[0] == pytest.approx(stats.entropy(mean), rel=0.02)
    assert found.mutual_information[0] == pytest.approx(doubt, rel=0.05)


def test_the_figures_are_those_of_the_samples():
    model, x = classifier(), inputs(FLAT, 21)
    found = predict_mc(model, x, samples=30, batch_size=8, keep_samples=True)
    drawn = found.samples.astype("float64")
    assert drawn.shape == (30, 21, 3)
    np.testing.assert_allclose(found.mean, drawn.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.std, drawn.std(axis=0), rtol=1e-4, atol=1e-7)
    entropy = stats.entropy(drawn.mean(axis=0), axis=1)
    np.testing.assert_allclose(found.entropy, entropy, rtol=1e-5)
    doubt = entropy - stats.entropy(drawn, axis=2).mean(axis=0)
    np.testing.assert_allclose(found.mutual_information, doubt, rtol=1e-3, atol=1e-6)
    assert (found.mutual_information >= 0).all()
    assert (found.entropy >= found.mutual_information).all()
    assert (found.entropy <= np.log(3) + 1e-6).all()
    assert len({row.tobytes() for row in drawn[:, 0]}) == 30, "samples repeat"


def test_rows_are_drawn_for_independently():
    x = np.repeat(inputs(FLAT, 1), 40, axis=0)
    found = predict_mc(classifier(), x, samples=3, batch_size=8, keep_samples=True)
    assert len({row.tobytes() for row in found.samples.reshape(-1, 3)}) == 3 * 40


def test_a_seed_gives_its_bits_and_another_gives_others():
    model, x = classifier(), inputs(FLAT, 9)
    first, again = (predict_mc(model, x, samples=4, seed=7) for _ in range(2))
    other = predict_mc(model, x, samples=4, seed=8)
    fresh = predict_mc(classifier(), x, samples=4, seed=7)
    for name in ("mean", "std", "entropy", "mutual_information"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert np.array_equal(getattr(first, name), getattr(fresh, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_the_model_is_left_as_it_was():
    model, x = classifier(), inputs(FLAT, 9)
    model.fit(x, np.zeros(9), verbose=0)
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    before = [np.array(variable.value) for variable in variables]
    plain = predict(model, x)
    attributes = [set(vars(layer)) for layer in model.layers]
    predict_mc(model, x, samples=4)
    assert all(np.array_equal(old, np.asarray(now.value)) for old, now in zip(before, variables, strict=True))
    assert attributes == [set(vars(layer)) for layer in model.layers]
    assert "next" not in vars(model.layers[2].seed_generator)
    assert np.array_equal(predict(model, x), plain)


def test_a_rate_that_was_changed_counts():
    model, x = classifier(0.5), inputs(FLAT)
    wide = predict_mc(model, x, samples=200).std.mean()
    model.layers[2].rate = 0.01
    assert predict_mc(model, x, samples=200).std.mean() < wide / 2


@pytest.mark.parametrize("named", [True, False])
def test_several_outputs_keep_their_structure_and_meaning(named: bool):
    x = keras.Input(FLAT)
    hidden = layers.Dropout(0.5)(x)
    heads: Any = [layers.Dense(3, name="label")(hidden), layers.Dense(1, name="size")(hidden)]
    losses: Any = [keras.losses.SparseCategoricalCrossentropy(from_logits=True), "mse"]
    if named:
        heads, losses = (dict(zip(("label", "size"), one, strict=True)) for one in (heads, losses))
    model = keras.Model(x, heads)
    model.compile(loss=losses)
    found = predict_mc(model, inputs(FLAT, 5), samples=4, keep_samples=True)
    label, size = ("label", "size") if named else (0, 1)
    assert type(found.mean) is (dict if named else list)
    np.testing.assert_allclose(found.mean[label].sum(axis=1), 1, rtol=1e-5)
    assert found.entropy[label].shape == (5,)
    assert found.entropy[size] is None
    assert found.samples[size].shape == (4, 5, 1)


def test_half_precision_is_averaged_in_float32():
    stack = [layers.Dropout(0.5, dtype="bfloat16"), layers.Dense(2, dtype="bfloat16")]
    half = keras.Sequential([keras.Input(FLAT), *stack])
    half.compile(loss="mse")
    assert half(inputs(FLAT)).dtype == "bfloat16"
    assert predict_mc(half, inputs(FLAT), samples=4).mean.dtype == np.float32


def without_dropout(*stack: Any) -> keras.Model:
    model = keras.Sequential([keras.Input(FLAT), *stack, layers.Dense(2)], name="plain")
    model.compile(loss="mse")
    return model


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (without_dropout, "'plain', which has no dropout layer"),
        (lambda: without_dropout(layers.GaussianNoise(0.5)), "no dropout layer"),
        (lambda: without_dropout(layers.Dropout(0, name="idle")), "all have rate 0: idle"),
    ],
)
def test_a_model_without_dropout_is_refused(make: Any, said: str):
    with pytest.raises(ModelError, match=said):
        predict_mc(make(), inputs(FLAT))


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"samples": 1}, OptionError, "samples"),
        ({"samples": 2.5}, OptionError, "samples"),
        ({"seed": -1}, OptionError, "seed"),
        ({"seed": True}, OptionError, "seed"),
        ({"batch_size": 0}, OptionError, "batch_size"),
        ({"outputs": "shares"}, OptionError, "outputs"),
        ({"x": inputs((5,))}, DataError, "shape"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error: type[Exception], said: str):
    with pytest.raises(error, match=said):
        predict_mc(classifier(), **{"x": inputs(FLAT)} | options)


def test_an_error_while_tracing_leaves_the_model_as_it_was():
    def breaking(x: Any) -> Any:
        raise ValueError("broken on purpose")

    dropout = layers.Dropout(0.5)
    model = without_dropout(dropout, layers.Dense(2))
    model.layers[1].activation = breaking
    with pytest.raises(DataError, match="broken on purpose"):
        predict_mc(model, inputs(FLAT))
    assert "call" not in vars(dropout)
    assert "next" not in vars(dropout.seed_generator)


def test_a_layer_used_twice_is_one_layer_that_draws_twice():
    x = keras.Input(FLAT)
    dropout = layers.Dropout(0.5)
    model = keras.Model(x, dropout(dropout(x)))
    model.compile(loss="mse")
    assert dropout_layers(model) == [dropout]
    found = predict_mc(model, np.ones((100, *FLAT), "float32"), samples=100)
    # A unit that is left by both is 4, one in four; 60,000 draws, whose mean has an error of 0.007.
    assert found.mean.mean() == pytest.approx(1, abs=0.04)
