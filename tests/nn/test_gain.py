"""Mean-field gains against closed forms, against Monte Carlo, and against networks that are really drawn."""

from kilter import nn  # first: it chooses Keras's backend

# isort: split
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from kilter.errors import OptionError
from kilter.nn.gain import activation_moments, variance_gain, weight_moment
from kilter.nn.options import INITIALIZERS
from kilter.nn.pairing import PAIRINGS, VarianceScaling

DRAWS = np.random.default_rng(0).normal(size=400_000).astype("float32")
ELEMENTWISE = [name for name in PAIRINGS if name not in ("softmax", "rrelu", "prelu")]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("activation", ELEMENTWISE)
@pytest.mark.parametrize("variance", [0.25, 1.0, 9.0])
def test_moments_are_those_of_monte_carlo(activation, variance):
    z = DRAWS * np.sqrt(variance)
    function = keras.activations.get(activation)
    values = np.asarray(function(z), "float64")
    slopes = np.asarray(jax.vmap(jax.grad(function))(jnp.asarray(z)), "float64")
    found = activation_moments(activation, variance)
    for expected, got in ((values, found.mean), (values**2, found.second), (slopes**2, found.slope)):
        # five standard errors of the mean of 400,000 draws
        assert got == pytest.approx(expected.mean(), abs=5 * expected.std() / len(z) ** 0.5 + 1e-6)


def test_closed_forms():
    # ReLU: half of the signal; SELU: the fixed point (0, 1) of Klambauer et al. 2017; sigmoid is 1/2 + odd.
    relu, selu = activation_moments("relu", 4.0), activation_moments("selu")
    assert (relu.second, relu.slope) == (2.0, 0.5)
    assert relu.mean == pytest.approx(2 / (2 * np.pi) ** 0.5)
    assert (selu.mean, selu.second) == pytest.approx((0.0, 1.0), abs=1e-6)
    assert activation_moments("sigmoid", 3.0).mean == pytest.approx(0.5, abs=1e-6)
    assert activation_moments("tanh", 0.0) == nn.Moments(0.0, 0.0, pytest.approx(1.0))
    # ELU, from E[exp(z); z<0] = exp(1/2)·Φ(-1) and E[exp(2z); z<0] = exp(2)·Φ(-2).
    one, two = np.exp(0.5) * 0.15865525393145707, np.exp(2) * 0.022750131948179195
    assert activation_moments("elu").second == pytest.approx(0.5 + two - 2 * one + 0.5, abs=1e-6)
    assert activation_moments("elu").slope == pytest.approx(0.5 + two, abs=1e-6)


def test_the_leaky_family_is_what_quadrature_of_keras_says():
    for name, slope in (("relu", 0.0), ("leaky_relu", 0.2), ("prelu", 0.25)):
        own = activation_moments(lambda z, slope=slope: keras.activations.leaky_relu(z, slope), 2.0)
        closed = activation_moments(name, 2.0)
        assert (own.mean, own.second, own.slope) == pytest.approx(
            (closed.mean, closed.second, closed.slope), abs=1e-6
        )


def test_rrelu_is_what_its_layer_does_in_training():
    values = np.asarray(nn.RReLU(seed=0)(DRAWS, training=True), "float64")
    found = activation_moments("rrelu")
    assert found.mean == pytest.approx(values.mean(), abs=5e-3)
    assert found.second == pytest.approx(np.square(values).mean(), abs=1e-2)


DRAWN = [
    *(name for name in INITIALIZERS if name != "ones"),
    "random_normal",
    "random_uniform",
    "truncated_normal",
    VarianceScaling(2.0, "fan_avg", "uniform"),
    VarianceScaling(0.5, "fan_out", "untruncated_normal"),
    keras.initializers.Orthogonal(gain=2.0),
]


@pytest.mark.parametrize("initializer", DRAWN)
@pytest.mark.parametrize("shape", [(300, 500), (3, 3, 40, 60)])
def test_weights_have_the_variance_that_is_stated(initializer, shape):
    keras.utils.set_random_seed(0)
    given = initializer
    if isinstance(initializer, VarianceScaling):
        given = keras.initializers.VarianceScaling(
            initializer.scale, initializer.mode, initializer.distribution
        )
    drawn = np.asarray(keras.initializers.get(given)(shape))
    # 20,000 draws or more: five standard errors are below 8 %
    assert weight_moment(initializer, shape) == pytest.approx(np.square(drawn).mean(), rel=0.08)


@pytest.mark.parametrize(
    "initializer", ["ones", keras.initializers.Constant(0.3), keras.initializers.Identity()]
)
def test_what_is_not_drawn_has_no_law(initializer):
    assert weight_moment(initializer, (3, 3)) is None


def test_gains_of_the_literature():
    assert variance_gain("relu") == nn.Gain(1.0, 1.0)
    assert variance_gain("relu", "glorot_uniform") == nn.Gain(0.5, 0.5)
    # He on fan_in keeps the signal whatever the widths, fan_out the gradient, fan_avg neither nor.
    assert variance_gain("relu", "he_normal", fan_in=100, fan_out=300) == nn.Gain(1.0, 3.0)
    avg = variance_gain("relu", VarianceScaling(2.0, "fan_avg", "uniform"), fan_in=100, fan_out=300)
    assert (avg.forward, avg.backward) == pytest.approx((0.5, 1.5))
    assert variance_gain("selu").forward == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("activation", [name for name in PAIRINGS if name != "softmax"])
def test_every_pair_keeps_small_signals_but_sigmoid(activation):
    # At a variance of 1; a sigmoid squeezes any signal into a quarter, which no pairing mends.
    forward = variance_gain(activation).forward
    assert forward == pytest.approx(0.29, abs=0.01) if activation == "sigmoid" else 0.35 < forward < 1.35


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: activation_moments("rellu"), "did you mean 'relu'"),
        (lambda: activation_moments("softmax"), "couples the units"),
        (lambda: activation_moments("relu", -1.0), "at least 0"),
        (lambda: activation_moments("relu", float("nan")), "at least 0"),
        (lambda: variance_gain("relu", variance=0.0), "above 0"),
        (lambda: variance_gain("relu", "ones"), "mean 0"),
        (lambda: variance_gain("relu", "he_norml"), "one of Keras's initialisers"),
        (lambda: variance_gain("relu", fan_in=0), "at least 1"),
        (lambda: variance_gain(jnp.tanh), "needs an initializer"),
    ],
)
def test_refused_with_the_reason(call, why):
    with pytest.raises(OptionError, match=why):
        call()
