"""Every layer of Keras in a model that trains: found by introspection, so that new ones show up."""

import inspect
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

Config = dict[str, Any]
# Shapes of a row, by what ends the name of a layer.
_RANKS = {"1D": (6, 4), "2D": (8, 8, 3), "3D": (4, 4, 4, 2)}
_SEQUENCE, _IMAGE, _FLAT = (6, 4), (8, 8, 3), (4,)
# Required arguments by their names.
_ARGUMENTS: Config = {
    "units": 3, "filters": 2, "kernel_size": 2, "rate": 0.3, "stddev": 0.1, "pool_size": 2, "output_size": 2,
    "activation": "tanh", "factor": 0.2, "height": 4, "width": 4, "height_factor": 0.2, "width_factor": 0.2,
    "scale": 2.0, "n": 2, "dims": (2, 1), "target_shape": (2, 2), "input_dim": 12, "output_dim": 3,
    "num_heads": 2, "key_dim": 2, "head_dim": 2, "num_query_heads": 2, "num_key_value_heads": 1, "axes": -1,
    "equation": "ab,bc->ac", "output_shape": 3, "num_bins": 5,
}  # fmt: skip
_LAYERS: dict[str, Any] = {  # what is passed as `layer`, `cell` and the like
    "Bidirectional": lambda: layers.LSTM(2),
    "TimeDistributed": lambda: layers.Dense(2, activation="relu"),
    "SpectralNormalization": lambda: layers.Dense(3, activation="relu"),
    "RNN": lambda: layers.StackedRNNCells([layers.GRUCell(2), layers.LSTMCell(3)]),
}
_SHAPES = {
    **dict.fromkeys(
        ("GRU", "LSTM", "SimpleRNN", "RNN", "Bidirectional", "TimeDistributed", "Masking"), _SEQUENCE
    ),
    **dict.fromkeys(
        ("MultiHeadAttention", "GroupQueryAttention", "AdditiveAttention", "Attention"), _SEQUENCE
    ),
    **dict.fromkeys(("GroupNormalization", "Permute", "Dot"), _SEQUENCE),
    **dict.fromkeys(("CenterCrop", "Resizing", "AugMix", "AutoContrast", "CutMix", "Equalization"), _IMAGE),
    **dict.fromkeys(
        ("ContrastLimitedAdaptiveHistogramEqualization", "MixUp", "RandAugment", "Solarization"), _IMAGE
    ),
    "ConvLSTM1D": (3, 6, 2),
    "ConvLSTM2D": (3, 4, 4, 2),
    "ConvLSTM3D": (2, 3, 3, 3, 2),
    "STFTSpectrogram": (64, 1),
    "MelSpectrogram": (64,),
}
_OPTIONS: dict[str, Config] = {
    "GroupNormalization": {"groups": 2},
    "LayerNormalization": {"name": "norm"},
    "Lambda": {"function": lambda tensor: ops.abs(tensor) * ops.ones(())},  # names from its surroundings
    "Discretization": {"bin_boundaries": [0.0, 1.0]},
    "Normalization": {"mean": 0.5, "variance": 2.0},
    "CategoryEncoding": {"num_tokens": 12, "output_mode": "multi_hot"},
    "STFTSpectrogram": {"frame_length": 16, "frame_step": 8, "fft_length": 16},
    "MelSpectrogram": {
        "fft_length": 16,
        "sequence_stride": 8,
        "num_mel_bins": 4,
        "sampling_rate": 64,
        "min_freq": 1,
    },
    "RandomCrop": {"height": 8, "width": 8},
    "RandomPosterization": {"factor": 4},
    "Permute": {"dims": (2, 1)},
}
_MERGING = ("Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract")
_ATTENDING = ("MultiHeadAttention", "GroupQueryAttention")
_OF_LISTS = ("AdditiveAttention", "Attention")
_OF_NUMBERS = ("Embedding", "ReversibleEmbedding", "CategoryEncoding", "Discretization")
LEFT_OUT = {
    **dict.fromkeys(("Layer", "InputLayer", "Wrapper"), "computes nothing"),
    **dict.fromkeys(("GRUCell", "LSTMCell", "SimpleRNNCell", "StackedRNNCells"), "called by RNN"),
    **dict.fromkeys(("FlaxLayer", "JaxLayer", "TorchModuleWrapper", "TFSMLayer"), "needs another library"),
    **dict.fromkeys(("IntegerLookup", "StringLookup", "TextVectorization", "Hashing"), "needs TensorFlow"),
    **dict.fromkeys(("HashedCrossing",), "needs TensorFlow"),
    "RandomElasticTransform": "model.fit cannot trace it on JAX either",
    **dict.fromkeys(("Pipeline", "MaxNumBoundingBoxes"), "transforms data sets"),
}
ROWS = 16
# Those that `make test` takes; the others are long.
COMPOSITE = ("Lambda", "MultiHeadAttention", "TimeDistributed")


def _kinds() -> dict[str, Any]:
    found = {}
    for name, kind in vars(layers).items():
        if inspect.isclass(kind) and issubclass(kind, layers.Layer) and kind not in found.values():
            found[name] = kind
    return found


KINDS = {name: kind for name, kind in sorted(_kinds().items()) if name not in LEFT_OUT}


def every_layer(*quick: str) -> list[Any]:
    """The names of all layers as parameters of a test; all but the ``quick`` ones are long."""
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.long) for name in KINDS]


def _shape(name: str) -> tuple[int, ...]:
    if name in _SHAPES:
        return _SHAPES[name]
    if name.startswith("Random"):
        return _IMAGE
    return next((shape for end, shape in _RANKS.items() if end in name), _FLAT)


def layer_of(name: str) -> Any:
    """A small layer of this class."""
    kind = KINDS[name]
    options = dict(_OPTIONS.get(name, {}))
    for one in inspect.signature(kind.__init__).parameters.values():
        if one.default is one.empty and one.name in _ARGUMENTS and one.name not in options:
            options[one.name] = _ARGUMENTS[one.name]
        if one.default is one.empty and one.name in ("layer", "cell"):
            options[one.name] = _LAYERS[name]()
    return kind(**options)


def model_of(name: str) -> tuple[keras.Model, np.ndarray, np.ndarray]:
    """A compiled model with the layer between others, and rows to train it on."""
    generator = np.random.default_rng(0)
    shape = _shape(name)
    x = generator.normal(size=(ROWS, *shape)).astype("float32")
    if name in _OF_NUMBERS:
        x = generator.integers(0, 12, size=(ROWS, *shape)).astype("int32")
    inputs = keras.Input(shape, dtype=str(x.dtype))
    layer = layer_of(name)
    if name in _ATTENDING:
        value = layer(inputs, inputs)
    elif name in _MERGING or name in _OF_LISTS:
        value = layer([inputs, inputs])
    else:
        value = layer(inputs)
    value = layers.Flatten()(keras.ops.cast(value, "float32"))
    value = layers.Dropout(0.6)(layers.Dense(4, activation="sigmoid")(value))
    model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(value))
    model.compile(keras.optimizers.SGD(0.01), "binary_crossentropy", metrics=["accuracy"])
    return model, x, (np.arange(ROWS) % 2).astype("int32")
