"""The lists of layer kinds know every layer of Keras whose name says that it belongs to them."""

import inspect

import keras
import pytest

from kilter._models import layers as kinds

LAYERS = {
    name: layer
    for name, layer in vars(keras.layers).items()
    if inspect.isclass(layer) and issubclass(layer, keras.layers.Layer)
}
# A part of the name, the list, and how the names of layers begin that do not belong to it.
LISTS = {
    "Dropout": ("DROPOUTS", set()),
    "Normalization": (
        "NORMALIZATIONS",
        {
            "Normalization",  # by fixed statistics: in SCALINGS
            "UnitNormalization",  # nothing to train
            "SpectralNormalization",  # wraps a layer
        },
    ),
    "Conv": ("CONVOLUTIONS", {"ConvLSTM"}),  # a recurrent layer
    "Pool": ("POOLINGS", {"Adaptive"}),
    "LSTM": ("RECURRENT", {"LSTMCell"}),
    "Attention": ("ATTENTION", set()),
}


@pytest.mark.parametrize("part", LISTS)
def test_every_kind_is_listed(part: str):
    name, others = LISTS[part]
    named = {one for one in LAYERS if part in one and not any(one.startswith(other) for other in others)}
    assert named
    missing = {one for one in named if not issubclass(LAYERS[one], getattr(kinds, name))}
    assert not missing


def test_what_drops_names_its_rates():
    layers = keras.layers
    made = [layers.Dropout(0.25), layers.SpatialDropout2D(0.25), layers.Attention(dropout=0.25)]
    assert [kinds.drop_rates(one) for one in made] == [(0.25,)] * 3
    assert kinds.drop_rates(layers.GRU(2, dropout=0.25, recurrent_dropout=0.5)) == (0.25, 0.5)
    assert kinds.drop_rates(layers.GaussianNoise(0.25)) == ()
