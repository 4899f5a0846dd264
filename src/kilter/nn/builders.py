"""Networks with sound defaults: dense (:func:`mlp`) and convolutional (:func:`cnn`).

Both follow the two default configurations of the literature: ``"standard"`` is ELU with He initialisation
(He et al. 2015, Clevert et al. 2016), ``"self-normalizing"`` is SELU with LeCun normal and alpha dropout
(Klambauer et al. 2017). They take inputs as they come (raw numbers, uint8 pixels) and give logits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Unpack

import keras
import numpy as np
from numpy.typing import ArrayLike

from kilter._memory import require_memory
from kilter.errors import ModelError, OptionError
from kilter.nn.blocks import Blocks
from kilter.nn.hidden import network_options
from kilter.nn.options import LayerKeywords

# A constant computed in float64 has a variance of at most about (eps·mean)²; what is below this share of the
# squared mean is rounding, and dividing by it would turn the first other value ever seen into 1e7.
CONSTANT: Final = 1e-12


def input_layers(shape: tuple[int, ...], normalization: tuple[ArrayLike, ArrayLike] | None) -> list[Any]:
    """The input, and where statistics are given the layer that computes ``(x - mean) / sqrt(variance)``.

    A feature that never varies is centred and not scaled. The layer works in float32 under every dtype
    policy: a column such as a year has no room for its differences in bfloat16.

    Raises :class:`OptionError` for statistics whose shape is neither ``shape`` nor that of its last axis nor
    a number, that are not finite, or that have a negative variance.
    """
    layers: list[Any] = [keras.Input(shape, name="input")]
    if normalization is None:
        return layers
    mean, variance = (np.asarray(part, dtype="float32") for part in normalization)
    _check(shape, mean, variance)
    variance = np.where(variance <= CONSTANT * np.square(mean, dtype="float64"), np.float32(1), variance)
    axis: Any = tuple(range(1, len(shape) + 1)) if mean.shape == shape else (-1 if mean.ndim else None)
    layers.append(
        keras.layers.Normalization(
            axis=axis, mean=mean, variance=variance.astype("float32"), dtype="float32", name="normalization"
        )
    )
    return layers


def _check(shape: tuple[int, ...], mean: np.ndarray, variance: np.ndarray) -> None:
    allowed = {shape, shape[-1:], ()}
    if mean.shape not in allowed or variance.shape != mean.shape:
        raise OptionError(
            expected=f"a mean and a variance of one shape: {', '.join(str(one) for one in sorted(allowed))}",
            received=f"mean of {mean.shape}, variance of {variance.shape}",
            remedy="compute them over the rows of the training data",
        )
    faulty = np.sum(~np.isfinite(mean)) + np.sum(~(np.isfinite(variance) & (variance >= 0)))
    if faulty:
        raise OptionError(
            expected="finite means and variances of 0 or more",
            received=f"{faulty} numbers that are not",
            remedy="look for NaN and infinity in the training data",
        )


MAX_INPUT: Final = 100_000_000
BYTES_A_WEIGHT: Final = 4  # float32, also under the mixed policies


def mlp(
    input_shape: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (100, 100),
    normalization: tuple[ArrayLike, ArrayLike] | None = None,
    output_activation: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    **every_layer: Unpack[LayerKeywords],
) -> keras.Sequential:
    """A network of dense layers, from an input of ``input_shape`` (without the batch) to ``outputs`` numbers.

    Args:
        input_shape: the shape of a row; images are flattened after they are normalised.
        outputs: classes, or columns to predict; at least 1.
        hidden: the width of each hidden layer; empty for a linear model.
        normalization: mean and variance of the inputs, each of shape ``input_shape``, of the last axis, or a
            number. The model then begins by bringing its inputs to mean 0 and variance 1.
        output_activation: None for logits.
        dtype: a Keras dtype policy such as ``"mixed_bfloat16"``; normalisation and output stay in float32.
        seed: of the initial weights and of dropout. The same seed gives the same bits; no global state is
            read.
        every_layer: ``preset``, ``activation`` with its ``negative_slope``, ``elu_alpha`` or
            ``prelu_slopes``, ``initializer``, ``batch_norm`` with its ``batch_norm_momentum`` and
            ``batch_norm_epsilon``, ``dropout``, ``l1``, ``l2``, ``max_norm``, ``unchecked``: see
            docs/nn.md. ``activation``, ``initializer`` and ``dropout`` may be
            lists with one for each hidden layer.

    Each hidden layer is, in order: kernel and bias, batch normalisation (if before), activation, batch
    normalisation (if after), dropout. Dropout thus acts on what the next layer takes in.

    Raises :class:`OptionError` for values out of range and, unless ``unchecked``, for combinations that
    contradict the theory; :class:`~kilter.errors.ModelError` if the kernels need more memory than is free.

    Example:
        >>> mlp((8, 8, 1), 10, hidden=(100, 100)).count_params()
        17610
    """
    shape = _checked_shape(input_shape, outputs)
    _check_widths("hidden", hidden)
    require_room(dense_weights(math.prod(shape), (*hidden, outputs)))
    options = network_options(len(hidden), **every_layer)
    blocks = Blocks(options.common, dtype=dtype, seed=seed)
    layers = input_layers(shape, normalization)
    if len(shape) > 1:
        layers.append(keras.layers.Flatten(name="flatten"))
    layers += blocks.input_norm()
    for number, (units, each) in enumerate(zip(hidden, options.hidden, strict=True), start=1):
        layers += blocks.dense(units, number, each)
    layers.append(blocks.output(outputs, output_activation))
    return keras.Sequential(layers, name="mlp")


def cnn(
    input_shape: Sequence[int],
    outputs: int,
    *,
    filters: Sequence[int] = (32, 64),
    kernel_size: int = 3,
    hidden: Sequence[int] = (128,),
    normalization: tuple[ArrayLike, ArrayLike] | None = None,
    output_activation: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    **every_layer: Unpack[LayerKeywords],
) -> keras.Sequential:
    """A convolutional network from ``input_shape`` = (height, width, channels) to ``outputs`` numbers.

    Each of ``filters`` is a ``kernel_size`` square convolution that halves the image: by maximum pooling, or,
    if self-normalizing, by a stride of 2, since a maximum has no mean of 0. Then come dense layers of the
    widths ``hidden``. All else is as in :func:`mlp`; lists name the convolutions first. That SELU keeps mean
    and variance is proved for dense layers; for convolutions it holds away from the padded border.

    Raises :class:`OptionError` as :func:`mlp` does, for inputs that are no images, and for more convolutions
    than the image can be halved.

    Example:
        >>> cnn((28, 28, 1), 10, filters=(8,), hidden=()).count_params()
        15770
    """
    shape = _checked_shape(input_shape, outputs)
    _check_widths("filters", filters)
    _check_widths("hidden", hidden)
    _check_image(shape, len(filters), kernel_size)
    require_room(_convolution_weights(shape, outputs, filters, kernel_size, hidden))
    options = network_options(len(filters) + len(hidden), **every_layer)
    blocks = Blocks(options.common, dtype=dtype, seed=seed)
    layers = input_layers(shape, normalization) + blocks.input_norm()
    remaining = iter(options.hidden)
    for number, count in enumerate(filters, start=1):
        layers += blocks.convolution(count, kernel_size, number, next(remaining))
    layers.append(keras.layers.Flatten(name="flatten"))
    for number, units in enumerate(hidden, start=1):
        layers += blocks.dense(units, number, next(remaining))
    layers.append(blocks.output(outputs, output_activation))
    return keras.Sequential(layers, name="cnn")


def _checked_shape(input_shape: Sequence[int], outputs: int) -> tuple[int, ...]:
    shape = tuple(int(side) for side in input_shape)
    if not shape or min(shape) < 1 or math.prod(shape) > MAX_INPUT:
        raise OptionError(
            expected=f"an input_shape of axes of at least 1, with at most {MAX_INPUT} numbers in all",
            received=f"input_shape={shape}",
            remedy="give the shape of one row, without the batch, such as (28, 28, 1)",
        )
    if outputs < 1:
        raise OptionError(
            expected="outputs of at least 1",
            received=f"outputs={outputs}",
            remedy="give the number of classes, or of columns to predict",
        )
    return shape


def require_room(weights: Sequence[tuple[int, int]]) -> None:
    """Raise :class:`ModelError` if kernels of these shapes (inputs, outputs) need more memory than is free.

    Checked before any of them is made, because a system may end a process that asks for too much.
    """
    total = sum(math.prod(kernel) for kernel in weights)
    rows, columns = max(weights, key=math.prod)
    require_memory(
        total * BYTES_A_WEIGHT,
        ModelError,
        expected="a model whose weights fit into memory",
        received=f"{total:.3g} weights, the largest kernel having {rows} × {columns}",
        remedy="use fewer or narrower layers",
    )


def dense_weights(inputs: int, widths: Sequence[int]) -> list[tuple[int, int]]:
    """The shapes of the kernels of dense layers, one after the other."""
    return list(zip((inputs, *widths), widths, strict=False))


def _convolution_weights(
    shape: tuple[int, ...], outputs: int, filters: Sequence[int], kernel_size: int, hidden: Sequence[int]
) -> list[tuple[int, int]]:
    """The shapes of the kernels of a :func:`cnn`, those of convolutions as matrices."""
    height, width, channels = shape
    convolutions = [
        (kernel_size**2 * inputs, count) for inputs, count in zip((channels, *filters), filters, strict=False)
    ]
    halved = 2 ** len(filters)
    features = (height // halved) * (width // halved) * (filters[-1] if filters else channels)
    return convolutions + dense_weights(features, (*hidden, outputs))


def _check_widths(name: str, widths: Sequence[int]) -> None:
    if any(isinstance(width, bool) or int(width) != width or width < 1 for width in widths):
        raise OptionError(
            expected=f"{name}: whole numbers of at least 1",
            received=f"{name}={tuple(widths)}",
            remedy="give a width for each layer, such as (100, 100)",
        )


def _check_image(shape: tuple[int, ...], convolutions: int, kernel_size: int) -> None:
    if len(shape) != 3:
        raise OptionError(
            expected="images: an input_shape (height, width, channels)",
            received=f"input_shape={shape}",
            remedy="take the mlp for tables",
        )
    if kernel_size < 1:
        raise OptionError(
            expected="a kernel_size of at least 1", received=f"kernel_size={kernel_size}", remedy="3 is usual"
        )
    halvings = int(math.log2(min(shape[:2])))
    if convolutions > halvings:
        raise OptionError(
            expected=f"at most {halvings} filters: an image of {shape[0]}×{shape[1]} is halved no more often",
            received=f"{convolutions} filters",
            remedy="take fewer",
        )
