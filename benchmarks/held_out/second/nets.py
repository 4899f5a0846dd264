"""Networks that several of these programs begin with."""

import keras
from keras import layers

from held_out.case import stack


def words(steps: int, size: int, width: int, *rest: keras.Layer, **embedding) -> keras.Model:
    """An embedding of ``size`` words in ``width`` numbers, then the other layers."""
    return stack((steps,), layers.Embedding(size, width, **embedding), *rest, dtype="int32")


def embedded(steps: int, size: int, width: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Word numbers and their embedding, to build a network on."""
    tokens = keras.Input((steps,), dtype="int32")
    return tokens, layers.Embedding(size, width)(tokens)


def convolution(
    side: int, filters: int, *rest: keras.Layer, before: tuple[keras.Layer, ...] = ()
) -> keras.Model:
    """One convolution of grey images with pooling, flattened, then the other layers."""
    first = [layers.Conv2D(filters, 3, activation="relu"), layers.MaxPooling2D(), layers.Flatten()]
    return stack((side, side, 1), *before, *first, *rest)
