"""Which options are refused, with the reason; without Keras loaded."""

import subprocess
import sys

import pytest

from kilter.errors import OptionError
from kilter.nn.options import VarianceScaling, hidden_options

BAD = [
    ({"preset": "selfnormalizing"}, "did you mean 'self-normalizing'"),
    ({"activation": "rellu"}, "did you mean 'relu'"),
    ({"activation": "softmax"}, "activation out of"),
    ({"activation": "rrelu"}, "activation out of"),
    ({"activation": "leaky_relu", "negative_slope": 1.0}, "at 1 the layer is linear"),
    ({"activation": "leaky_relu", "negative_slope": 2.0}, "below 1"),
    ({"activation": "leaky_relu", "negative_slope": -0.1}, "from 0"),
    ({"activation": "leaky_relu", "negative_slope": float("nan")}, "from 0"),
    ({"activation": "elu", "negative_slope": 0.1}, "leaky_relu only"),
    ({"initializer": "he_norml"}, "did you mean 'he_normal'"),
    ({"initializer": VarianceScaling(scale=0.0)}, "above 0"),
    ({"initializer": VarianceScaling(scale=float("inf"))}, "above 0"),
    ({"batch_norm": "bfore"}, "did you mean 'before'"),
    ({"batch_norm": True}, "batch_norm out of"),
    ({"batch_norm": 0}, "batch_norm out of"),
    ({"dropout": 1.0}, "below 1"),
    ({"dropout": float("nan")}, "below 1"),
    ({"l1": -1.0}, "0 or more"),
    ({"l2": float("inf")}, "0 or more"),
    ({"max_norm": 0.0}, "above 0"),
    ({"activation": "selu"}, "preset='self-normalizing'"),
    ({"preset": "self-normalizing", "activation": "elu"}, "only SELU has the fixed point"),
    ({"preset": "self-normalizing", "initializer": "he_normal"}, "variance 1/fan_in"),
    ({"preset": "self-normalizing", "batch_norm": "after"}, "statistics the network keeps by itself"),
    ({"preset": "self-normalizing", "max_norm": 3.0}, "away from variance 1/fan_in"),
    ({"preset": "self-normalizing", "l1": 0.1}, "away from variance 1/fan_in"),
]


@pytest.mark.parametrize(("options", "why"), BAD, ids=[str(options) for options, _ in BAD])
def test_refused_with_the_reason(options, why):
    with pytest.raises(OptionError) as caught:
        hidden_options(**options)
    assert why in str(caught.value)


def test_all_that_breaks_self_normalisation_is_told_at_once():
    with pytest.raises(OptionError) as caught:
        hidden_options(preset="self-normalizing", activation="relu", batch_norm="before", l2=0.1)
    for given in ("activation='relu'", "initializer='he_normal'", "batch_norm='before'", "l2=0.1"):
        assert given in caught.value.received


@pytest.mark.parametrize(
    ("options", "activation", "initializer"),
    [
        ({}, "elu", "he_normal"),
        ({"preset": "self-normalizing"}, "selu", "lecun_normal"),
        ({"activation": "tanh"}, "tanh", "glorot_uniform"),
        ({"activation": "relu", "initializer": "zeros"}, "relu", "zeros"),
    ],
)
def test_presets_fill_in(options, activation, initializer):
    found = hidden_options(**options)
    assert (found.activation, found.initializer) == (activation, initializer)


def test_checking_options_loads_neither_keras_nor_jax():
    code = "import sys, kilter.nn.options; sys.exit(bool({'keras', 'jax', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
