"""Adapters for inputs with a shape that the model was not trained on.

Images are resized, one channel is repeated, several are averaged into one, flat rows are reshaped to images.
The value range is unchanged: a model trained on pixels from 0 to 1 needs pixels from 0 to 1.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import keras

from kilter._models.copying import fresh_name, input_like
from kilter._validation import is_whole
from kilter.errors import ModelError, OptionError

Shape = tuple[int | None, ...]

_PHOTO_CHANNELS: Final = (1, 3)


def adapted_inputs(
    model: keras.Model, part: keras.Model, input_shape: Sequence[int | None] | None
) -> tuple[Any, list[Any]]:
    """New inputs for rows of ``input_shape``, and the tensors to call ``part`` of ``model`` on.

    Without ``input_shape``, or with the model's own, they are like the model's.
    """
    like: Any = part.input
    if input_shape is None:
        inputs = keras.tree.map_structure(input_like, like)
        return inputs, keras.tree.flatten(inputs)
    given = _checked(input_shape)
    if len(part.inputs) != 1:
        raise ModelError(
            expected="a model with one input, to adapt with input_shape",
            received=f"model {model.name!r} with {len(part.inputs)} inputs",
            remedy="leave input_shape out, and pass the new model inputs like the old one's",
        )
    wanted: Shape = tuple(part.inputs[0].shape[1:])
    if _fits(given, wanted):
        inputs = keras.tree.map_structure(input_like, like)
        return inputs, keras.tree.flatten(inputs)
    inputs = keras.Input(given, dtype=part.inputs[0].dtype, name=fresh_name(model, "adapted_input"))
    return inputs, [_adapted(inputs, given, wanted, model)]


def _checked(input_shape: Sequence[int | None]) -> Shape:
    try:
        shape = tuple(input_shape)
    except TypeError:
        shape = ()
    if not shape or not all(side is None or is_whole(side, 1) for side in shape):
        raise OptionError(
            expected="input_shape as the shape of a row, without the batch, such as (28, 28, 1)",
            received=f"input_shape={input_shape!r}",
            remedy="pass x.shape[1:]",
        )
    return shape


def _fits(given: Shape, wanted: Shape) -> bool:
    return len(given) == len(wanted) and all(
        want is None or have == want for have, want in zip(given, wanted, strict=True)
    )


def _adapted(tensor: Any, given: Shape, wanted: Shape, model: keras.Model) -> Any:
    """``tensor`` of rows of the shape ``given``, as rows of the shape ``wanted``."""
    if _same_numbers(given, wanted):
        return _reshaped(tensor, wanted, model)
    target = _as_image(wanted, given[2] if len(given) == 3 else None)
    image = _as_image(given, None if target is None else target[2])
    if target is None or image is None or not _can_become(image, target):
        raise ModelError(
            expected=f"rows that can be adapted to the shape {wanted} of model {model.name!r}: images of "
            "another size, images with 1 channel or averaged into 1, or flat rows",
            received=f"input_shape={given}",
            remedy="convert the data to that shape, or reuse a model for such data",
        )
    if image != given:
        tensor = _reshaped(tensor, image, model)
    tensor = _with_channels(tensor, image[2], target[2], model)
    if not _fits(image[:2], target[:2]):
        height, width = target[:2]
        name = fresh_name(model, "adapt_size")
        tensor = keras.layers.Resizing(height, width, antialias=True, name=name)(tensor)
    return tensor if target == wanted else _reshaped(tensor, wanted, model, "adapt_shape_back")


def _same_numbers(given: Shape, wanted: Shape) -> bool:
    """Whether the rows are the same numbers in the same order: flat or image, or with an extra axis of 1."""
    if None in given or None in wanted or math.prod(given) != math.prod(wanted):  # type: ignore[arg-type]
        return False
    without_ones = [tuple(side for side in shape if side != 1) for shape in (given, wanted)]
    return 1 in (len(given), len(wanted)) or without_ones[0] == without_ones[1]


def _as_image(shape: Shape, channels: int | None) -> Shape | None:
    """(height, width, channels) of a row as an image, or None.

    A flat row becomes a square with ``channels`` if possible, else with 1 or 3.
    """
    if len(shape) == 3:
        return shape
    if len(shape) == 2:
        return (*shape, 1)
    if len(shape) != 1 or shape[0] is None:
        return None
    for depth in (channels, *_PHOTO_CHANNELS):
        if depth and shape[0] % depth == 0:
            side = math.isqrt(shape[0] // depth)
            if side > 1 and side * side * depth == shape[0]:
                return side, side, depth
    return None


def _can_become(image: Shape, target: Shape) -> bool:
    channels = image[2] is not None and (target[2] in (None, 1, image[2]) or image[2] == 1)
    return channels and (_fits(image[:2], target[:2]) or None not in (*image[:2], *target[:2]))


def _with_channels(tensor: Any, have: int | None, want: int | None, model: keras.Model) -> Any:
    if want is None or have == want:
        return tensor
    if have == 1:
        return keras.layers.Concatenate(name=fresh_name(model, "adapt_channels"))([tensor] * want)
    return keras.ops.mean(tensor, axis=-1, keepdims=True)


def _reshaped(tensor: Any, shape: Shape, model: keras.Model, name: str = "adapt_shape") -> Any:
    return keras.layers.Reshape(shape, name=fresh_name(model, name))(tensor)
