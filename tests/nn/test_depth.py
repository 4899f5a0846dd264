"""The signal through depth: measured as NumPy measures it, and predicted as drawn networks behave."""

from kilter import nn  # first: it chooses Keras's backend

# isort: split
import keras
import numpy as np
import pytest
from keras import layers

from kilter.errors import DataError

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 100)).astype("float32")
IMAGES = RNG.normal(1, 2, (30, 16, 16, 8)).astype("float32")


def by_name(record):
    return {entry.layer: entry for entry in record.layers}


def test_measured_is_what_the_layers_give():
    model = nn.mlp((100,), 3, hidden=(30, 20), activation="leaky_relu", dropout=0.3)
    record = nn.variance_through_depth(model, X, training=False)
    signal, rows = X, []
    for layer in model.layers:
        signal = np.asarray(layer(signal), "float64")
        rows.append((layer.name, type(layer).__name__, signal.mean(), signal.std()))
    assert [(one.layer, one.kind) for one in record.layers] == [row[:2] for row in rows]
    found = [(one.mean, one.deviation) for one in record.layers]
    np.testing.assert_allclose(found, [row[2:] for row in rows], rtol=1e-4, atol=1e-6)


PREDICTABLE = {
    "relu": {"activation": "relu"},
    "relu under Glorot": {"activation": "relu", "initializer": "glorot_uniform"},
    "leaky": {"activation": "leaky_relu", "negative_slope": 0.4},
    "prelu": {"activation": "prelu"},
    "rrelu": {"activation": "rrelu"},
    "elu": {"elu_alpha": 0.5},
    "tanh": {"activation": "tanh"},
    "sigmoid": {"activation": "sigmoid"},
    "gelu, orthogonal": {"activation": "gelu", "initializer": "orthogonal"},
    "batch norm before": {"batch_norm": "before", "dropout": 0.3},
    "batch norm after": {"batch_norm": "after", "activation": "swish"},
    "selu, alpha dropout": {"preset": "self-normalizing", "dropout": 0.2},
    "each its own": {"activation": ["relu", "tanh"] * 3, "dropout": [0.0, 0.5] * 3},
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", PREDICTABLE)
def test_theory_is_what_networks_do(name):
    model = nn.mlp((100,), 300, hidden=(300,) * 6, **PREDICTABLE[name])
    record = nn.variance_through_depth(model, X)
    for entry in record.layers:
        # Widths of 300: a deviation wanders by some 3 % in each layer.
        assert entry.predicted_deviation is not None
        assert entry.deviation == pytest.approx(entry.predicted_deviation, rel=0.15), entry
        assert entry.mean == pytest.approx(entry.predicted_mean, abs=0.2 * entry.predicted_deviation), entry


def test_convolutions_and_depthwise_kernels():
    # Without a border every unit sums up the whole window. Keras scales a depthwise kernel by all channels,
    # though each unit sees one: the prediction knows that it shrinks the signal.
    model = keras.Sequential(
        [
            keras.Input((16, 16, 8)),
            layers.Conv2D(64, 3, activation="relu", kernel_initializer="he_normal"),
            layers.DepthwiseConv2D(3, activation="tanh"),
            layers.Conv2D(64, 3, groups=4),
            layers.Flatten(),
            layers.Dense(50),
        ]
    )
    entries = nn.variance_through_depth(model, IMAGES).layers
    for entry in entries:
        assert entry.deviation == pytest.approx(entry.predicted_deviation, rel=0.25), entry
    assert entries[1].deviation < 0.5


def test_what_is_not_known_is_not_predicted_and_theory_goes_on_from_what_was_measured():
    inputs = keras.Input((100,))
    dense = layers.Dense(200, kernel_initializer="he_normal", activation="relu", name="first")(inputs)
    added = layers.Add(name="add")([dense, dense])
    scaled = layers.Dense(200, kernel_initializer="ones", name="constant")(added)
    outputs = layers.Dense(200, activation="softmax", name="softmax")(layers.Dense(200, name="last")(scaled))
    found = by_name(nn.variance_through_depth(keras.Model(inputs, outputs), X))
    assert {name for name, one in found.items() if one.predicted_deviation is None} == {
        "add",
        "constant",
        "softmax",
    }
    assert found["last"].deviation == pytest.approx(found["last"].predicted_deviation, rel=0.25)


def test_any_model_and_shared_and_recurrent_layers():
    shared = layers.Dense(12, activation="relu", name="shared")
    inner = keras.Sequential([keras.Input((12,)), layers.Dense(7, name="deep")], name="inner")
    inputs = keras.Input((5, 12))
    hidden = layers.LSTM(12, name="lstm")(shared(shared(inputs)))
    model = keras.Model(inputs, inner(hidden))
    record = nn.variance_through_depth(model, RNG.normal(size=(20, 5, 12)))
    assert [one.layer for one in record.layers] == ["shared", "shared", "lstm", "inner/deep"]
    assert record.layers[2].predicted_deviation is None


def test_integers_and_several_inputs():
    numbers, words = keras.Input((12,), name="numbers"), keras.Input((4,), dtype="int32", name="words")
    embedded = layers.Flatten()(layers.Embedding(50, 3)(words))
    model = keras.Model([numbers, words], layers.Dense(2)(layers.Concatenate()([numbers, embedded])))
    x = {"numbers": X[:30, :12], "words": RNG.integers(0, 50, (30, 4))}
    record = nn.variance_through_depth(model, x)
    assert [one.kind for one in record.layers] == ["Embedding", "Flatten", "Concatenate", "Dense"]
    assert all(np.isfinite(one.deviation) for one in record.layers)


def test_measuring_changes_no_bit():
    model = nn.mlp((100,), 3, hidden=(20,), batch_norm="before", dropout=0.5)
    before = [np.asarray(variable).copy() for variable in model.variables]
    first, again = (nn.variance_through_depth(model, X) for _ in range(2))
    assert first == again
    assert all(np.array_equal(one, two) for one, two in zip(before, model.variables, strict=True))
    assert not any("call" in vars(layer) for layer in model.layers)


def test_explosion_is_told_and_not_predicted_beyond_the_numbers():
    wild = keras.initializers.RandomNormal(stddev=1e8)
    hidden = [layers.Dense(50, kernel_initializer=wild) for _ in range(8)]
    record = nn.variance_through_depth(keras.Sequential([keras.Input((100,)), *hidden]), X)
    assert not np.isfinite(record.layers[-1].deviation)
    assert record.plot().data


def test_the_picture_shows_both():
    record = nn.variance_through_depth(nn.mlp((100,), 3, hidden=(20, 20)), X)
    figure = record.plot()
    assert [trace.name for trace in figure.data] == ["measured", "predicted"] * 2
    assert list(figure.data[0].y) == [one.deviation for one in record.layers]
    assert list(figure.data[3].y) == [one.predicted_mean for one in record.layers]
    assert figure.layout.yaxis.type == "log"
    assert figure.layout.yaxis.title.text == "standard deviation"


def test_inputs_that_do_not_fit():
    with pytest.raises(DataError, match="inputs that fit model"):
        nn.variance_through_depth(nn.mlp((100,), 3), X[:, :7])
