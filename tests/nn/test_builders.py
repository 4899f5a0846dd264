"""What mlp and cnn build, against a forward pass in plain NumPy and the statistics of theory."""

from kilter import nn  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np
import pytest

from kilter.errors import OptionError
from kilter.nn.pairing import VarianceScaling

RNG = np.random.default_rng(0)


def elu(z):
    return np.where(z > 0, z, np.expm1(z))


def names(model):
    return [layer.name for layer in model.layers]


def hidden_outputs(model, x):
    """The output of every hidden dense layer, as its activation leaves it."""
    layers = [layer for layer in model.layers if layer.name.startswith("dense_")]
    taps = keras.Model(model.inputs[0], [layer.output for layer in layers])
    return [np.asarray(values) for values in taps(x)]


def test_mlp_computes_what_numpy_computes():
    x = RNG.integers(0, 256, (7, 4, 3, 2)).astype("uint8")
    mean, variance = RNG.normal(100, 20, (4, 3, 2)), RNG.uniform(500, 2000, (4, 3, 2))
    model = nn.mlp((4, 3, 2), 5, hidden=(11, 6), normalization=(mean, variance), seed=3)
    weights = [np.asarray(one, "float64") for one in model.get_weights()[-6:]]
    signal = ((x - mean) / np.sqrt(variance)).reshape(7, -1)
    for kernel, bias in (weights[0:2], weights[2:4]):
        signal = elu(signal @ kernel + bias)
    logits = signal @ weights[4] + weights[5]
    # float32 sums of 24 products: a few units in the seventh digit
    np.testing.assert_allclose(np.asarray(model(x)), logits, rtol=1e-5, atol=1e-5)


def test_self_normalizing_keeps_mean_and_variance_through_twenty_layers():
    # Klambauer et al. 2017, theorem 1: mean 0 and variance 1 attract; sampling error at width 300: 0.2.
    x = RNG.normal(size=(500, 50)).astype("float32")
    model = nn.mlp((50,), 3, hidden=(300,) * 20, preset="self-normalizing")
    for values in hidden_outputs(model, x):
        assert abs(values.mean()) < 0.1
        assert 0.75 < values.var() < 1.3


def test_paired_initialiser_keeps_the_signal_and_an_unpaired_one_loses_it():
    x = RNG.normal(size=(300, 100)).astype("float32")
    paired = nn.mlp((100,), 3, hidden=(200,) * 15, activation="relu")
    unpaired = nn.mlp((100,), 3, hidden=(200,) * 15, activation="relu", initializer="glorot_uniform")
    assert np.square(hidden_outputs(paired, x)[-1]).mean() > 0.3
    # Half of the signal is lost in each of 15 layers: 2**-15 = 3e-5.
    assert np.square(hidden_outputs(unpaired, x)[-1]).mean() < 1e-3


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        ("he_normal", 2 / 400),
        ("lecun_normal", 1 / 400),
        ("glorot_normal", 2 / 1000),
        (VarianceScaling(scale=2.0, mode="fan_avg", distribution="uniform"), 2 / 500),
    ],
)
def test_kernels_have_the_variance_of_the_formula(initializer, variance):
    model = nn.mlp((400,), 1, hidden=(600,), initializer=initializer)
    # The sampling error of the variance of 240,000 numbers is 0.3 %.
    assert np.var(model.get_weights()[0]) == pytest.approx(variance, rel=0.02)


@pytest.mark.parametrize("build", [nn.mlp, nn.cnn])
def test_the_seed_and_nothing_else_decides_the_weights(build):
    def weights(seed, global_seed):
        keras.utils.set_random_seed(global_seed)
        return build((8, 8, 1), 3, hidden=(9, 9, 9), seed=seed).get_weights()

    first, again, other = weights(5, 1), weights(5, 2), weights(6, 1)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    kernels = [(one, two) for one, two in zip(first, other, strict=True) if one.ndim > 1]
    assert not any(np.array_equal(one, two) for one, two in kernels)
    square = [one for one in first if one.shape == (9, 9)]
    assert not np.array_equal(square[0], square[1])


def test_dropout_is_reproducible_and_off_in_inference():
    x = RNG.normal(size=(20, 8)).astype("float32")
    first, again = (nn.mlp((8,), 3, dropout=0.5, seed=4) for _ in range(2))
    assert np.array_equal(first(x, training=True), again(x, training=True))
    assert not np.array_equal(first(x, training=True), first(x, training=True))
    assert np.array_equal(first(x), first(x))


def test_alpha_dropout_for_self_normalizing_and_plain_dropout_else():
    layers = nn.mlp((8,), 3, preset="self-normalizing", dropout=0.1).layers
    assert any(isinstance(layer, keras.layers.AlphaDropout) for layer in layers)
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in layers)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in nn.mlp((8,), 3, dropout=0.1).layers)


@pytest.mark.parametrize(
    ("batch_norm", "order", "bias"),
    [
        (False, ["dense_1", "output"], True),
        ("before", ["dense_1", "dense_1_norm", "dense_1_activation", "output"], False),
        ("after", ["dense_1", "dense_1_norm", "output"], True),
        ("input", ["batch_norm_input", "dense_1", "output"], True),
    ],
)
def test_batch_norm_stands_where_asked_and_the_redundant_bias_is_left_out(batch_norm, order, bias):
    model = nn.mlp((8,), 3, hidden=(5,), batch_norm=batch_norm)
    assert names(model) == order
    assert model.get_layer("dense_1").use_bias is bias
    assert model.get_layer("output").use_bias


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "prelu", "rrelu", "gelu", "silu", "mish", "softplus", "linear"]
)
@pytest.mark.parametrize("batch_norm", [False, "before", "after"])
def test_every_activation_acts_once(activation, batch_norm):
    model = nn.mlp((6,), 2, hidden=(4,), activation=activation, batch_norm=batch_norm)
    x = RNG.normal(size=(9, 6)).astype("float32")
    dense = model.get_layer("dense_1")
    z = x @ np.asarray(dense.kernel) + (np.asarray(dense.bias) if dense.use_bias else 0)
    # A fresh BatchNormalization in inference divides by sqrt(1 + epsilon).
    scale = 1 / np.sqrt(1.001)
    applied = {
        "leaky_relu": lambda z: np.where(z > 0, z, 0.2 * z),
        "prelu": lambda z: np.where(z > 0, z, 0.25 * z),
        "rrelu": lambda z: np.where(z > 0, z, 11 / 48 * z),
    }
    function = applied.get(
        activation, keras.activations.get(activation if activation not in applied else "linear")
    )
    hidden = np.asarray(function(z * (scale if batch_norm == "before" else 1)))
    hidden = hidden * (scale if batch_norm == "after" else 1)
    expected = hidden @ np.asarray(model.get_layer("output").kernel)
    np.testing.assert_allclose(np.asarray(model(x)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("build", [nn.mlp, nn.cnn])
def test_penalties_and_limits_hold_for_every_kernel(build):
    model = build((8, 8, 1), 3, l1=0.25, l2=0.5, max_norm=0.1)
    kernels = [variable for variable in model.trainable_variables if variable.name == "kernel"]
    penalty = sum(0.25 * np.abs(k).sum() + 0.5 * np.square(k).sum() for k in map(np.asarray, kernels))
    assert float(sum(model.losses)) == pytest.approx(penalty, rel=1e-5)
    for kernel in kernels:
        limited = np.asarray(kernel.constraint(kernel.value))
        norms = np.sqrt(np.square(limited).sum(axis=tuple(range(limited.ndim - 1))))
        assert norms.max() == pytest.approx(0.1, rel=1e-4)


def test_mixed_precision_keeps_normalisation_and_output_in_float32():
    # In bfloat16 1999 and 2001 are both 2000.
    years = np.array([[1999.0], [2001.0]], "float32")
    model = nn.mlp((1,), 2, normalization=(2000.0, 1.0), dtype="mixed_bfloat16")
    assert model.get_layer("dense_1").compute_dtype == "bfloat16"
    assert model(years).dtype == "float32"
    assert not np.array_equal(model(years)[0], model(years)[1])


def test_cnn_halves_the_image_at_each_convolution():
    pooled = nn.cnn((28, 28, 3), 10, filters=(4, 8, 16))
    strided = nn.cnn((28, 28, 3), 10, filters=(4, 8, 16), preset="self-normalizing", dropout=0.1)
    assert pooled.get_layer("flatten").output.shape == (None, 3 * 3 * 16)
    assert strided.get_layer("flatten").output.shape == (None, 4 * 4 * 16)
    assert not any("pool" in name for name in names(strided))


@pytest.mark.parametrize(
    ("slopes", "convolution", "dense"),
    [(None, (1, 1, 5), (7,)), ("element", (8, 8, 5), (7,)), ("layer", (1, 1, 1), (1,))],
)
def test_prelu_learns_a_slope_for_each(slopes, convolution, dense):
    model = nn.cnn((8, 8, 1), 3, filters=(5,), hidden=(7,), activation="prelu", prelu_slopes=slopes)
    assert model.get_layer("conv_1_activation").alpha.shape == convolution
    assert model.get_layer("dense_1_activation").alpha.shape == dense


def test_each_layer_has_its_own_activation_initialiser_and_rate():
    model = nn.cnn(
        (8, 8, 1),
        3,
        filters=(4, 5),
        hidden=(6, 7),
        activation=["relu", "tanh", "rrelu", "elu"],
        elu_alpha=0.5,
        dropout=[0.1, 0.0, 0.0, 0.4],
    )
    assert [layer.name for layer in model.layers if not layer.name.startswith("pool")] == [
        "conv_1",
        "conv_dropout_1",
        "conv_2",
        "flatten",
        "dense_1",
        "dense_1_activation",
        "dense_2",
        "dense_2_activation",
        "dropout_2",
        "output",
    ]
    assert model.get_layer("conv_dropout_1").rate == 0.1
    assert model.get_layer("dropout_2").rate == 0.4
    assert isinstance(model.get_layer("dense_1_activation"), nn.RReLU)
    assert model.get_layer("dense_2_activation").alpha == 0.5
    assert isinstance(model.get_layer("conv_2").kernel_initializer, keras.initializers.GlorotUniform)
    assert isinstance(model.get_layer("dense_1").kernel_initializer, keras.initializers.HeNormal)


def test_every_rrelu_of_a_network_draws_its_own_slopes():
    layers = [layer for layer in nn.mlp((8,), 3, activation="rrelu").layers if isinstance(layer, nn.RReLU)]
    assert len({layer.seed for layer in layers}) == 2


@pytest.mark.parametrize("where", ["before", "after", "input"])
def test_batch_norm_has_the_momentum_and_epsilon_asked_for(where):
    model = nn.mlp((8,), 3, batch_norm=where, batch_norm_momentum=0.9, batch_norm_epsilon=1e-5)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert {(norm.momentum, norm.epsilon) for norm in norms} == {(0.9, 1e-5)}


def test_unchecked_builds_what_the_theory_forbids():
    plain = nn.mlp((8,), 3, activation="selu", dropout=0.2, unchecked=True)
    assert any(isinstance(layer, keras.layers.Dropout) for layer in plain.layers)
    linear = nn.mlp((8,), 3, hidden=(5,), activation="leaky_relu", negative_slope=1.0, unchecked=True)
    x = RNG.normal(size=(9, 8)).astype("float32")
    np.testing.assert_allclose(np.asarray(linear(x)), -np.asarray(linear(-x)), rtol=1e-4, atol=1e-6)


def test_linear_model_and_output_activation():
    model = nn.mlp((4,), 3, hidden=(), output_activation="softmax")
    assert names(model) == ["output"]
    np.testing.assert_allclose(np.asarray(model(RNG.normal(size=(5, 4)))).sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "shape", "options", "why"),
    [
        (nn.mlp, (), {}, "input_shape"),
        (nn.mlp, (0,), {}, "input_shape"),
        (nn.mlp, (10**9,), {}, "at most"),
        (nn.mlp, (3,), {"outputs": 0}, "outputs of at least 1"),
        (nn.mlp, (3,), {"hidden": (5, 0)}, "hidden"),
        (nn.mlp, (3,), {"hidden": (2.5,)}, "hidden"),
        (nn.mlp, (3,), {"activation": "leaky_relu", "negative_slope": 1.5}, "negative_slope"),
        (nn.cnn, (10,), {}, "images"),
        (nn.cnn, (8, 8, 1), {"filters": (1, 2, 3, 4)}, "at most 3 filters"),
        (nn.cnn, (8, 8, 1), {"kernel_size": 0}, "kernel_size"),
    ],
)
def test_bad_arguments_are_refused(build, shape, options, why):
    with pytest.raises(OptionError, match=why):
        build(shape, **{"outputs": 2} | options)
