"""The decoder that mirrors an encoder: shapes of every layer, tied kernels, one line or an error."""

import keras
import numpy as np
import pytest

from kilter.errors import ModelError
from kilter.pretrain.decoder import (
    Seeds,
    TiedConv2DTranspose,
    TiedDense,
    as_model,
    decoder_layers,
    hidden_activation,
    links,
    stages,
)

from .models import conv_encoder, dense_encoder

L = keras.layers
# Encoders of each kind of layer, at sizes that do not divide evenly.
ENCODERS = {
    "dense": lambda: [keras.Input((7,)), L.Dense(4, "elu"), L.Dense(2, "elu")],
    "flatten": lambda: [keras.Input((5, 3)), L.Flatten(), L.Dense(4)],
    "dense over steps": lambda: [keras.Input((5, 3)), L.Dense(4), L.Dense(2)],
    "same": lambda: [keras.Input((9, 7, 2)), L.Conv2D(3, 3, strides=2, padding="same"), L.ReLU()],
    "valid": lambda: [keras.Input((10, 7, 2)), L.Conv2D(3, 3, strides=2, padding="valid")],
    "wide stride": lambda: [keras.Input((11, 11, 1)), L.Conv2D(3, 2, strides=3, padding="valid")],
    "depthwise": lambda: [keras.Input((8, 8, 2)), L.DepthwiseConv2D(3, strides=2), L.SeparableConv2D(4, 2)],
    "max pool": lambda: [keras.Input((9, 9, 2)), L.Conv2D(3, 3), L.MaxPooling2D(3)],
    "average pool": lambda: [keras.Input((9, 9, 2)), L.Conv2D(3, 3), L.AveragePooling2D(2, padding="same")],
    "global pool": lambda: [keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.GlobalAveragePooling2D(), L.Dense(2)],
    "kept axes": lambda: [keras.Input((6, 6, 2)), L.Conv2D(3, 3), L.GlobalMaxPooling2D(keepdims=True)],
    "zero padding": lambda: [keras.Input((6, 6, 2)), L.ZeroPadding2D(((1, 2), (0, 1))), L.Conv2D(3, 3)],
    "what keeps shapes": lambda: [
        keras.Input((6, 6, 2)),
        L.Rescaling(0.5),
        L.Conv2D(3, 3, use_bias=False),
        L.BatchNormalization(),
        L.LeakyReLU(),
        L.SpatialDropout2D(0.2),
        L.Reshape((8, 6)),
        L.Dense(4),
    ],
}


@pytest.mark.sampled(2)
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("case", ENCODERS)
def test_the_mirror_leads_back(case, tied):
    encoder = keras.Sequential(ENCODERS[case]())
    line = links(encoder)
    if tied and case == "depthwise":
        with pytest.raises(ModelError, match="plain convolutions"):
            decoder_layers(line, seeds=Seeds(0), tied=True)
        return
    found = decoder_layers(line, seeds=Seeds(0), tied=tied)
    assert len(found) == len(stages(line))
    backward = [layer for stage in reversed(found) for layer in stage]
    head = as_model(backward, encoder.output_shape[1:], "head")
    assert head.output_shape == encoder.input_shape
    rows = np.random.default_rng(0).normal(size=(3, *encoder.input_shape[1:])).astype("float32")
    assert head(encoder(rows)).shape == rows.shape
    # Each stage's image leads from that stage's code to what the stage takes in.
    for stage, image in zip(stages(line), found, strict=True):
        assert as_model(image, stage[-1].after, "one").output_shape[1:] == stage[0].before


def test_only_the_layer_before_the_rows_is_linear():
    found = decoder_layers(links(dense_encoder("elu", units=(16, 6))), seeds=Seeds(0))
    kinds = [
        layer.activation.__name__
        for stage in found
        for layer in stage
        if isinstance(layer, keras.layers.Dense)
    ]
    assert kinds == ["linear", "elu"]
    assert hidden_activation(links(conv_encoder())) == "elu"


def test_a_tied_dense_layer_is_the_transposed_kernel():
    source = keras.layers.Dense(3)
    source.build((None, 5))
    tied = TiedDense(source, "tanh")
    tied.bias.assign(np.arange(5.0))
    codes = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    expected = np.tanh(codes @ source.kernel.numpy().T + np.arange(5.0))
    assert np.allclose(tied(codes), expected, atol=1e-6)
    assert np.allclose(tied.untied()(codes), expected, atol=1e-6)


@pytest.mark.parametrize(("strides", "padding"), [(1, "same"), (2, "same"), (2, "valid"), (1, "valid")])
def test_a_tied_convolution_is_the_transpose_of_the_map(strides, padding):
    source = keras.layers.Conv2D(3, 3, strides=strides, padding=padding)
    source.build((None, 7, 7, 2))
    tied = TiedConv2DTranspose(source, None)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(1, 7, 7, 2)).astype("float32")
    there = np.asarray(source(images))
    codes = rng.normal(size=there.shape).astype("float32")
    back = np.asarray(tied(codes))
    assert back.shape[1:] == tied.compute_output_shape(codes.shape)[1:]
    assert np.array_equal(tied.untied()(codes), back)
    if back.shape == images.shape:  # <A x, c> = <x, Aᵀ c>
        assert (there * codes).sum() == pytest.approx((images * back).sum(), rel=1e-4)


def test_models_within_models_are_one_line():
    inner = keras.Sequential([keras.Input((4,)), L.Dense(3, name="one"), L.Dense(2, name="two")])
    start = keras.Input((4,))
    outer = keras.Model(start, L.Dense(2, name="three")(inner(start)))
    assert [link.layer.name for link in links(outer)] == ["one", "two", "three"]


def test_what_is_no_line_is_refused():
    start = keras.Input((4,))
    shared = L.Dense(4)
    with pytest.raises(ModelError, match="used twice"):
        links(keras.Model(start, shared(shared(start))))
    with pytest.raises(ModelError, match="with 2 inputs"):
        links(keras.Model(start, L.Add()([L.Dense(4)(start), start])))
    unknown = keras.Sequential([keras.Input((6, 2)), L.LSTM(3)])
    with pytest.raises(ModelError, match="which have mirror images"):
        decoder_layers(links(unknown), seeds=Seeds(0))
