"""Which options are refused, with the reason; without Keras loaded."""

import subprocess
import sys

import pytest

from kilter.errors import OptionError
from kilter.nn.hidden import hidden_options, network_options
from kilter.nn.pairing import VarianceScaling

BAD = [
    ({"preset": "selfnormalizing"}, "did you mean 'self-normalizing'"),
    ({"activation": "rellu"}, "did you mean 'relu'"),
    ({"activation": "softmax"}, "activation as one of"),
    ({"activation": "leaky_relu", "negative_slope": 1.0}, "at 1 the layer is linear"),
    ({"activation": "leaky_relu", "negative_slope": 2.0}, "unchecked=True allows it"),
    ({"activation": "leaky_relu", "negative_slope": -0.1}, "at least 0"),
    ({"activation": "leaky_relu", "negative_slope": float("nan")}, "at least 0"),
    ({"activation": "elu", "negative_slope": 0.1}, "leaky_relu only"),
    ({"elu_alpha": 0.0}, "above 0"),
    ({"activation": "relu", "elu_alpha": 1.0}, "elu only"),
    ({"prelu_slopes": "channel"}, "prelu only"),
    ({"activation": "prelu", "prelu_slopes": "chanel"}, "did you mean 'channel'"),
    ({"batch_norm": "before", "batch_norm_momentum": 1.0}, "below 1"),
    ({"batch_norm": "before", "batch_norm_epsilon": 0.0}, "above 0"),
    ({"batch_norm_momentum": 0.9}, "with batch_norm only"),
    ({"batch_norm_epsilon": 0.1}, "with batch_norm only"),
    ({"initializer": "zeros"}, "stay equal"),
    ({"initializer": "ones"}, "stay equal"),
    ({"dropout": "0.1"}, "below 1"),
    ({"initializer": "he_norml"}, "did you mean 'he_normal'"),
    ({"initializer": VarianceScaling(scale=0.0)}, "above 0"),
    ({"initializer": VarianceScaling(scale=float("inf"))}, "above 0"),
    ({"batch_norm": "bfore"}, "did you mean 'before'"),
    ({"batch_norm": True}, "batch_norm as one of"),
    ({"batch_norm": 0}, "batch_norm as one of"),
    ({"dropout": 1.0}, "below 1"),
    ({"dropout": float("nan")}, "below 1"),
    ({"l1": -1.0}, "at least 0"),
    ({"l2": float("inf")}, "at least 0"),
    ({"max_norm": 0.0}, "above 0"),
    ({"activation": "selu"}, "preset='self-normalizing'"),
    ({"preset": "self-normalizing", "activation": "elu"}, "only SELU has the fixed point"),
    ({"preset": "self-normalizing", "initializer": "he_normal"}, "variance 1/fan_in"),
    (
        {"preset": "self-normalizing", "batch_norm": "after"},
        "statistics that the network preserves",
    ),
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
        ({"activation": "relu", "initializer": "orthogonal"}, "relu", "orthogonal"),
    ],
)
def test_presets_fill_in(options, activation, initializer):
    found = hidden_options(**options)
    assert (found.activation, found.initializer) == (activation, initializer)


def test_checking_options_loads_neither_keras_nor_jax():
    code = "import sys, kilter.nn.hidden; sys.exit(bool({'keras', 'jax', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "leaky_relu", "negative_slope": 1.0},
        {"activation": "relu", "initializer": "zeros"},
        {"activation": "selu", "dropout": 0.1},
        {"preset": "self-normalizing", "batch_norm": "before", "l2": 0.1, "initializer": "he_normal"},
    ],
)
def test_unchecked_allows_what_contradicts_the_theory(options):
    with pytest.raises(OptionError, match="unchecked=True allows it"):
        hidden_options(**options)
    found = hidden_options(**options, unchecked=True)
    assert {key: getattr(found, key) for key in options} == options


def test_unchecked_allows_no_nonsense():
    for options in (
        {"dropout": 1.0},
        {"activation": "rellu"},
        {"activation": "leaky_relu", "negative_slope": -1},
    ):
        with pytest.raises(OptionError):
            hidden_options(**options, unchecked=True)


def test_each_layer_has_its_own():
    found = network_options(
        3, activation=["relu", "leaky_relu", "prelu"], negative_slope=0.1, dropout=(0.1, 0.0, 0.5), l2=1e-3
    ).hidden
    assert [one.negative_slope for one in found] == [None, 0.1, None]
    assert [one.prelu_slopes for one in found] == [None, None, "channel"]
    assert [one.initializer for one in found] == ["he_normal"] * 3
    assert [one.dropout for one in found] == [0.1, 0.0, 0.5]
    assert {one.l2 for one in found} == {1e-3}
    assert [one.initializer for one in network_options(2, activation=["tanh", "elu"]).hidden] == [
        "glorot_uniform",
        "he_normal",
    ]


@pytest.mark.parametrize(
    ("layers", "options", "why"),
    [
        (3, {"dropout": [0.1, 0.2]}, "each of the 3 hidden layers"),
        (0, {"dropout": [0.1]}, "each of the 0 hidden layers"),
        (2, {"activation": ["relu", "tanh"], "negative_slope": 0.1}, "leaky_relu only"),
        (2, {"activation": ["relu", "selu"]}, "SELU"),
        (2, {"dropout": [0.1, 1.0]}, "below 1"),
    ],
)
def test_each_layer_is_checked(layers, options, why):
    with pytest.raises(OptionError, match=why):
        network_options(layers, **options)
