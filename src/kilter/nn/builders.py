"""Networks with good defaults: dense (:func:`mlp`) and convolutional (:func:`cnn`).

Two configurations: ``"standard"`` is ELU with He initialisation (He et al. 2015, Clevert et al. 2016),
``"self-normalizing"`` is SELU with LeCun normal and alpha dropout (Klambauer et al. 2017). Inputs are raw
(numbers, uint8 pixels), outputs are logits.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, Unpack

import keras
import numpy as np

from kilter._array_types import Mask, Moment
from kilter._system import require_memory
from kilter._validation import whole_number
from kilter.errors import ModelError, OptionError
from kilter.nn.blocks import Blocks
from kilter.nn.hidden import network_options
from kilter.nn.options import LayerKeywords

# The computed variance of a constant is at most about (eps·mean)² in float64. Variances below this share of
# the squared mean are rounding errors; dividing by them would turn the first different value into 1e7.
CONSTANT: Final = 1e-12


def input_layers(shape: tuple[int, ...], normalization: tuple[Moment, Moment] | None) -> list[Any]:
    """The input and, if statistics are given, the layer for ``(x - mean) / sqrt(variance)``.

    A constant feature is centred but not scaled. The layer computes in float32 under every dtype policy:
    bfloat16 cannot resolve a column such as a year.
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
            received=f"{faulty} others",
            remedy="check the training data for NaN and infinity",
        )


MAX_INPUT: Final = 100_000_000
BYTES_A_WEIGHT: Final = 4  # float32, also under the mixed policies


def mlp(
    input_shape: Sequence[int],
    outputs: int,
    *,
    hidden: Sequence[int] = (100, 100),
    normalization: tuple[Moment, Moment] | None = None,
    output_activation: str | None = None,
    kept: Mask | None = None,
    dtype: str | None = None,
    seed: int = 0,
    **every_layer: Unpack[LayerKeywords],
) -> keras.Sequential:
    """A network of dense layers from ``input_shape`` (without the batch axis) to ``outputs`` numbers.

    Args:
        input_shape: the shape of a row; images are flattened after normalisation.
        outputs: classes, or columns to predict; at least 1.
        hidden: the width of each hidden layer; empty for a linear model.
        normalization: mean and variance of the inputs, each of shape ``input_shape``, of the last axis, or a
            number. The first layer then standardises the inputs.
        output_activation: None for logits.
        kept: the features that the network sees; the others are multiplied by 0. None: all.
        dtype: a Keras dtype policy such as ``"mixed_bfloat16"``; normalisation and output stay in float32.
        seed: of the initial weights and of dropout. The same seed gives the same bits, whatever Keras's
            global seed is.
        every_layer: ``preset``, ``activation`` with its ``negative_slope``, ``elu_alpha`` or
            ``prelu_slopes``, ``initializer``, ``batch_norm`` with its ``batch_norm_momentum`` and
            ``batch_norm_epsilon``, ``dropout``, ``l1``, ``l2``, ``max_norm``, ``unchecked``: see docs/nn.md.
            ``activation``, ``initializer`` and ``dropout`` may be lists with one entry per hidden layer.

    Each hidden layer is, in order: kernel and bias, batch normalisation (if before), activation, batch
    normalisation (if after), dropout.

    Raises:
        OptionError: for values out of range and, unless ``unchecked``, for combinations that contradict
        theory. ModelError: if the kernels need more memory than is free.

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
    if kept is not None:
        mask: Any = np.asarray(kept, "float32").tolist()  # Keras takes a list, though its annotation does not
        layers.append(keras.layers.Rescaling(mask, dtype="float32", name="kept_features"))
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
    normalization: tuple[Moment, Moment] | None = None,
    output_activation: str | None = None,
    dtype: str | None = None,
    seed: int = 0,
    **every_layer: Unpack[LayerKeywords],
) -> keras.Sequential:
    """A convolutional network from ``input_shape`` = (height, width, channels) to ``outputs`` numbers.

    Each of ``filters`` is a square convolution of ``kernel_size`` that halves the image: by max pooling, or
    by a stride of 2 if self-normalizing, because max pooling shifts the mean. Dense layers of the widths
    ``hidden`` follow. Everything else is as in :func:`mlp`. Lists have the convolutions first. SELU preserves
    mean and variance in dense layers, and in convolutions away from the padded border.

    Raises:
        OptionError: as :func:`mlp`, for inputs that are not images, and if there are more convolutions than
            times the image can be halved.

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
            remedy="pass the shape of one row, without the batch axis, such as (28, 28, 1)",
        )
    whole_number("outputs", outputs, 1, remedy="pass the number of classes, or of columns to predict")
    return shape


def require_room(weights: Sequence[tuple[int, int]]) -> None:
    """Raise :class:`ModelError` if kernels of these shapes (inputs, outputs) need more memory than is free.

    Checked first, because the system may kill a process that allocates too much.
    """
    total = sum(math.prod(kernel) for kernel in weights)
    rows, columns = max(weights, key=math.prod)
    require_memory(
        total * BYTES_A_WEIGHT,
        ModelError,
        expected="a model with weights that fit into memory",
        received=f"{total:.3g} weights, the largest kernel having {rows} × {columns}",
        remedy="use fewer or narrower layers",
    )


def dense_weights(inputs: int, widths: Sequence[int]) -> list[tuple[int, int]]:
    """The shapes of the kernels of consecutive dense layers."""
    return list(zip((inputs, *widths), widths, strict=False))


def _convolution_weights(
    shape: tuple[int, ...], outputs: int, filters: Sequence[int], kernel_size: int, hidden: Sequence[int]
) -> list[tuple[int, int]]:
    """The shapes of the kernels of a :func:`cnn`, with convolutions as matrices."""
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
            remedy="pass a width for each layer, such as (100, 100)",
        )


def _check_image(shape: tuple[int, ...], convolutions: int, kernel_size: int) -> None:
    if len(shape) != 3:
        raise OptionError(
            expected="images: an input_shape (height, width, channels)",
            received=f"input_shape={shape}",
            remedy="use mlp for tables",
        )
    whole_number("kernel_size", kernel_size, 1, remedy="3 is usual")
    halvings = int(math.log2(min(shape[:2])))
    if convolutions > halvings:
        raise OptionError(
            expected=f"at most {halvings} filters: {shape[0]}×{shape[1]} cannot be halved more often",
            received=f"{convolutions} filters",
            remedy="use fewer filters",
        )
