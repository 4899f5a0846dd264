"""PositionEmbedding: a trained vector for each step of a sequence, added to what stands there."""

from typing import Any

import keras

from kilter._array_types import Elements
from kilter.errors import OptionError


@keras.saving.register_keras_serializable(package="kilter")
class PositionEmbedding(keras.layers.Layer):
    """``x + p``: a trained vector p for each step, the same in every row.

    Attention, and pooling over steps, cannot tell the order of steps without it (Vaswani et al. 2017, section
    3.5). The input has the shape [rows, steps, columns] with a known number of steps; the output has the same
    shape, and the mask is passed on.

    Args:
        initializer: of the vectors; small by default, so that they do not drown the tokens.

    Raises:
        OptionError: for an input of another shape, or of an unknown number of steps.

    Example:
        >>> import numpy as np
        >>> np.asarray(PositionEmbedding("ones")(np.zeros((1, 2, 3), "float32"))).tolist()
        [[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]
    """

    def __init__(self, initializer: Any = "uniform", **options: Any) -> None:
        super().__init__(**options)
        self.initializer = keras.initializers.get(initializer)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """Make the vectors, one for each step."""
        if len(input_shape) != 3 or input_shape[1] is None:
            raise OptionError(
                expected="an input of shape (rows, steps, columns) with a known number of steps",
                received=f"shape {tuple(input_shape)}",
                remedy="give the model's keras.Input the number of steps",
            )
        self.positions = self.add_weight(
            shape=tuple(input_shape[1:]), initializer=self.initializer, name="positions"
        )

    def call(self, inputs: Elements) -> Elements:
        """Add the vectors."""
        added: Any = keras.ops.cast(self.positions, inputs.dtype)
        return inputs + added

    def compute_output_shape(self, input_shape: Any) -> Any:
        """That of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The arguments, to recreate it."""
        return {**super().get_config(), "initializer": keras.initializers.serialize(self.initializer)}
