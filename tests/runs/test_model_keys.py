"""Every key of a built model arrives in the model that is trained."""

from kilter.runs.from_recipe import make_model

# isort: split
import keras
import numpy as np
import pytest

from kilter.data import Dataset
from kilter.recipe import parse_recipe

X = np.random.default_rng(0).normal(5, 3, (300, 4)).astype("float32")
ROWS = Dataset(X, X[:, 0], "regression")


def made(**keys):
    given = {"data": {"source": "x.csv"}, "model": {"builder": "mlp", "hidden": [6, 7]} | keys}
    return make_model(parse_recipe(given), ROWS)


def layer(model, name):
    return model.get_layer(name)


@pytest.mark.parametrize(
    ("keys", "look", "expected"),
    [
        (
            {"dropout": [0.1, 0.4]},
            lambda m: (layer(m, "dropout_1").rate, layer(m, "dropout_2").rate),
            (0.1, 0.4),
        ),
        ({"activation": ["relu", "tanh"]}, lambda m: layer(m, "dense_2").activation, keras.activations.tanh),
        ({"elu_alpha": 0.5}, lambda m: layer(m, "dense_1_activation").alpha, 0.5),
        (
            {"activation": "prelu", "prelu_slopes": "layer"},
            lambda m: layer(m, "dense_1_activation").alpha.shape,
            (1,),
        ),
        ({"activation": "rrelu"}, lambda m: type(layer(m, "dense_1_activation")).__name__, "RReLU"),
        (
            {"batch_norm": "after", "batch_norm_momentum": 0.9, "batch_norm_epsilon": 1e-4},
            lambda m: (layer(m, "dense_1_norm").momentum, layer(m, "dense_1_norm").epsilon),
            (0.9, 1e-4),
        ),
        (
            {"initializer": ["he_uniform", {"scale": 3.0}]},
            lambda m: layer(m, "dense_2").kernel_initializer.scale,
            3.0,
        ),
        (
            {"activation": "selu", "dropout": 0.1, "unchecked": True},
            lambda m: type(layer(m, "dropout_1")),
            keras.layers.Dropout,
        ),
    ],
)
def test_the_key_arrives(keys, look, expected):
    assert look(made(**keys)) == expected


def test_lsuv_gives_unit_variance_on_the_training_rows_and_the_seed_decides():
    model, again, plain = made(lsuv=True), made(lsuv=True), made()
    taps = keras.Model(model.inputs[0], [layer(model, "dense_1").output, layer(model, "output").output])
    hidden, output = (np.asarray(one) for one in taps(X))
    sums = np.where(hidden > 0, hidden, np.log1p(np.minimum(hidden, 0)))  # before the ELU
    assert sums.std() == pytest.approx(1, abs=1e-3)
    assert output.std() == pytest.approx(1, abs=1e-3)
    assert all(
        np.array_equal(one, two) for one, two in zip(model.get_weights(), again.get_weights(), strict=True)
    )
    assert not np.array_equal(layer(model, "dense_1").kernel, layer(plain, "dense_1").kernel)
