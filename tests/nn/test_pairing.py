"""The pairing table against the second moments that justify it, and against Keras's names."""

import keras
import numpy as np
import pytest

from kilter.errors import OptionError
from kilter.nn import Pairing, VarianceScaling, is_paired, pairing_of
from kilter.nn.pairing import FORMULAS, GLOROT, HE, LECUN, PAIRINGS

# Scale of the variance times the fan: He 2/fan_in, LeCun 1/fan_in, Glorot 1/fan_avg.
SCALE = {HE.family: 2.0, LECUN.family: 1.0, GLOROT.family: 1.0}


def second_moment(activation):
    """E[f(z)²] for a standard normal z, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(101)
    values = np.asarray(keras.activations.get(activation)(nodes.astype("float32")), dtype="float64")
    return np.sum(weights * values**2) / np.sqrt(2 * np.pi)


@pytest.mark.parametrize(
    "activation", ["relu", "leaky_relu", "elu", "gelu", "swish", "silu", "mish", "softplus"]
)
def test_the_paired_scale_keeps_the_second_moment_near_one(activation):
    kept = SCALE[pairing_of(activation).family] * second_moment(activation)
    assert 0.7 < kept < 1.35


def test_selu_with_lecun_keeps_it_exactly():
    # Klambauer et al. 2017: the constants of the fixed point (0, 1); the kink costs the quadrature 1e-3.
    assert second_moment("selu") == pytest.approx(1.0, abs=2e-3)


def test_relu_under_glorot_loses_half_in_each_layer():
    assert SCALE[GLOROT.family] * second_moment("relu") == pytest.approx(0.5, abs=1e-2)


@pytest.mark.parametrize("name", sorted({name for one in PAIRINGS.values() for name in one.initializers}))
def test_initializers_are_kerass(name):
    assert keras.initializers.get(name) is not None


@pytest.mark.parametrize("name", [name for name in PAIRINGS if name not in ("prelu", "rrelu")])
def test_activations_are_kerass(name):
    assert callable(keras.activations.get(name))


def test_table_of_the_literature():
    he = {"relu", "leaky_relu", "prelu", "rrelu", "elu", "gelu", "swish", "silu", "mish"}
    assert {name for name, one in PAIRINGS.items() if one == HE} == he
    assert {name for name, one in PAIRINGS.items() if one == LECUN} == {"selu"}
    assert pairing_of("tanh") == Pairing("Glorot", ("glorot_uniform", "glorot_normal"))


def test_is_paired():
    assert is_paired("elu", "he_uniform")
    assert not is_paired("selu", "lecun_uniform")
    assert not is_paired("relu", "glorot_uniform")


def test_unknown_activation_names_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'leaky_relu'"):
        pairing_of("leakyrelu")


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_are_those_of_kerass_names(name):
    known, formula = keras.initializers.get(name), FORMULAS[name]
    assert (known.scale, known.mode, known.distribution) == (
        formula.scale,
        formula.mode,
        formula.distribution,
    )


@pytest.mark.parametrize(
    ("activation", "formula", "paired"),
    [
        ("relu", VarianceScaling(2.0, "fan_avg", "uniform"), True),
        ("relu", VarianceScaling(2.0, "fan_in", "untruncated_normal"), True),
        ("relu", VarianceScaling(2.0, "fan_out", "uniform"), False),
        ("relu", VarianceScaling(1.0, "fan_avg", "uniform"), False),
        ("selu", VarianceScaling(), True),
        ("selu", VarianceScaling(distribution="uniform"), False),
        ("tanh", VarianceScaling(1.0, "fan_avg", "uniform"), True),
    ],
)
def test_a_formula_is_paired_as_its_name_is(activation, formula, paired):
    assert is_paired(activation, formula) is paired
