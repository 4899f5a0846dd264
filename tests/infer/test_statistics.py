"""Refreshed statistics against NumPy in float64, layer by layer in order."""

import keras
import numpy as np
import pytest

from kilter._engine.batch_statistics import refresh_batch_norm
from kilter.errors import DataError, ModelError, OptionError

from .models import Norm, bits, inputs, layers, norms_of, sequential, stir

# float32 sums within a batch, corrected: the seventh digit
CLOSE = {"rtol": 2e-6, "atol": 2e-6}


def refreshed_in_numpy(model, x):
    """Mean and variance of each norm's input in order, on the whole set, in float64."""
    signal, found = np.asarray(x, "float64"), []
    for layer in model.layers:
        weights = [np.asarray(weight, "float64") for weight in layer.get_weights()]
        if isinstance(layer, Norm):
            axes = tuple(range(signal.ndim - 1))
            mean, variance = signal.mean(axis=axes), signal.var(axis=axes)
            found.append((mean, variance))
            signal = (signal - mean) / np.sqrt(variance + layer.epsilon) * weights[0] + weights[1]
        elif isinstance(layer, layers.Dense):
            signal = signal @ weights[0] + weights[1]
        else:
            signal = np.maximum(signal, 0)
    return found


def assert_statistics(norms, expected):
    for norm, (mean, variance) in zip(norms, expected, strict=True):
        np.testing.assert_allclose(norm.moving_mean, mean, **CLOSE)
        np.testing.assert_allclose(norm.moving_variance, variance, **CLOSE)


@pytest.mark.parametrize("batch_size", [7, 50, 64])
@pytest.mark.parametrize("shape", [(5,), (3, 5)])
def test_three_layers_in_a_row(batch_size, shape):
    stack = [make() for _ in range(3) for make in (lambda: layers.Dense(6), Norm, layers.ReLU)]
    model = sequential(shape, *stack, layers.Dense(2))
    x = inputs(model, 50)
    record = refresh_batch_norm(model, x, batch_size=batch_size)
    assert_statistics(norms_of(model), refreshed_in_numpy(model, x))
    assert (record.passes, record.rows, record.left) == (3, 50, ())
    assert [one.layer for one in record.layers] == [norm.name for norm in norms_of(model)]


def test_nothing_else_changes_and_a_second_time_nothing_at_all():
    model = sequential((5,), layers.Dense(6), Norm(), layers.Dropout(0.5), Norm())
    x, before = inputs(model, 30), bits(model)
    refresh_batch_norm(model, x)
    changed = [new != old for new, old in zip(bits(model), before, strict=True)]
    moving = ["moving" in variable.path for variable in model.variables]
    assert changed == moving
    once = bits(model)
    record = refresh_batch_norm(model, x)
    assert bits(model) == once
    assert record.passes == 2  # the first found nothing to change, which takes a second to know
    assert max(one.mean_moved for one in record.layers) < 1e-6
    assert max(one.variance_moved for one in record.layers) < 1 + 1e-6


def test_how_far_the_old_statistics_were_off():
    model = keras.Sequential([keras.Input((1,)), Norm(epsilon=0.25)])
    (moved,) = refresh_batch_norm(model, np.array([[1.0], [5.0]])).layers
    # mean 0 → 3, variance 1 → 4; with epsilon 1.25 → 4.25
    assert moved.mean_moved == pytest.approx(3 / np.sqrt(4.25))
    assert moved.variance_moved == pytest.approx(4.25 / 1.25)


def branched():
    image = keras.Input((6, 5, 3))
    block = keras.Sequential(
        [keras.Input((6, 5, 3)), layers.Conv2D(4, 3), Norm(name="a"), layers.ReLU()], name="block"
    )
    other = Norm(name="b", axis=1)(layers.Permute((3, 1, 2))(layers.Conv2D(4, 3)(image)))
    joined = layers.Add()([block(image), layers.Permute((2, 3, 1))(other)])
    return stir(keras.Model(image, Norm(name="c")(joined)))


def test_branches_and_nested_models_take_one_pass_a_depth():
    model = branched()
    x = inputs(model, 40)
    record = refresh_batch_norm(model, x, batch_size=16)
    assert record.passes == 3  # two layers deep, and one pass that changed nothing
    names = {norm.name: norm for norm in norms_of(model)}
    block = model.get_layer("block")
    taps = keras.Model(block.inputs, block.layers[0].output)
    first = np.asarray(taps(x), "float64")
    last = np.asarray(keras.Model(model.inputs, model.get_layer("c").input)(x), "float64")
    side = np.asarray(keras.Model(model.inputs, names["b"].input)(x), "float64")
    for name, values, axes in (("a", first, (0, 1, 2)), ("b", side, (0, 2, 3)), ("c", last, (0, 1, 2))):
        assert_statistics([names[name]], [(values.mean(axis=axes), values.var(axis=axes))])
    assert [one.layer for one in record.layers if "a" in one.layer[-1]] == ["block/a"]


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.norm, self.dense, self.unused = Norm(), layers.Dense(4), Norm()
        self.unused.build((None, 4))

    def call(self, x, training=None):
        return self.norm(self.norm(x, training=training) + self.dense(x), training=training)


def test_a_subclassed_model_with_a_shared_layer_and_an_unused_one():
    model = Subclassed()
    x = np.random.default_rng(0).normal(2, 3, (20, 4)).astype("float32")
    model(x)
    unused = model.unused.get_weights()
    record = refresh_batch_norm(model, x)
    assert len(record.layers) == 1
    assert len(record.left) == 1
    for new, old in zip(model.unused.get_weights(), unused, strict=True):
        np.testing.assert_array_equal(new, old)
    assert np.abs(np.asarray(model.norm.moving_mean)).max() > 0.1


def test_masked_positions_do_not_count():
    x = keras.Input((None, 3))
    model = stir(keras.Model(x, Norm()(layers.Masking()(x))))
    steps = np.random.default_rng(0).normal(1, 2, (10, 6, 3)).astype("float32")
    lengths = np.arange(10) % 6 + 1
    steps[np.arange(6) >= lengths[:, None]] = 0
    refresh_batch_norm(model, steps, batch_size=4)
    real = steps[np.arange(6) < lengths[:, None]].astype("float64")
    assert_statistics(norms_of(model), [(real.mean(axis=0), real.var(axis=0))])


def test_frozen_layers_stay():
    model = sequential((5,), Norm(name="frozen"), layers.Dense(3), Norm(name="live"))
    model.get_layer("frozen").trainable = False
    before = model.get_layer("frozen").get_weights()
    record = refresh_batch_norm(model, inputs(model))
    assert record.left == ("frozen",)
    for new, old in zip(model.get_layer("frozen").get_weights(), before, strict=True):
        np.testing.assert_array_equal(new, old)
    model.trainable = False
    with pytest.raises(ModelError, match="frozen"):
        refresh_batch_norm(model, inputs(model))


def test_a_mean_far_from_zero_keeps_its_variance():
    model = sequential((1,), Norm())
    x = 10_000 + np.random.default_rng(0).normal(0, 1, (5000, 1)).astype("float32")
    refresh_batch_norm(model, x)
    (norm,) = norms_of(model)
    # E[x²] − E[x]² in float32 would be off by more than the variance itself
    np.testing.assert_allclose(norm.moving_variance, x.astype("float64").var(axis=0), rtol=1e-5)
    np.testing.assert_allclose(norm.moving_mean, x.astype("float64").mean(axis=0), rtol=1e-7)


def test_statistics_that_were_broken_are_mended():
    model = sequential((5,), Norm(), layers.Dense(3), Norm())
    x = inputs(model, 30)
    norms_of(model)[0].moving_variance.assign([np.nan] * 5)
    refresh_batch_norm(model, x)
    assert_statistics(norms_of(model), refreshed_in_numpy(model, x))


def test_what_is_refused_and_leaves_the_model_as_it_was():
    model = sequential((5,), layers.Dense(3), Norm())
    model.layers[0].bias.assign([1.0, np.inf, 0.0])
    before = bits(model)
    with pytest.raises(ModelError, match=f"statistics in {model.layers[1].name}"):
        refresh_batch_norm(model, inputs(model))
    assert bits(model) == before
    with pytest.raises(ModelError, match="Received none"):
        refresh_batch_norm(sequential((5,), layers.Dense(3)), inputs(model))
    with pytest.raises(DataError, match="shape"):
        refresh_batch_norm(model, inputs(model)[:, :2])
    with pytest.raises(OptionError, match="batch_size"):
        refresh_batch_norm(model, inputs(model), batch_size=0)
