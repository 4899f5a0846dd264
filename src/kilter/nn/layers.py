"""Layers that Keras lacks.

RReLU: a leaky ReLU with a random negative slope for every element in training (Xu et al. 2015).
PositionEmbedding: a trained vector for each step of a sequence, added to what stands there.
"""

from typing import Any, Final

import keras

from kilter._array_types import Elements
from kilter._models.layers import activation_layer
from kilter.errors import OptionError

LOWER: Final = 1 / 8
UPPER: Final = 1 / 3


@activation_layer("rrelu")
@keras.saving.register_keras_serializable(package="kilter")
class RReLU(keras.layers.Layer):
    """``x`` for x at or above 0, ``a·x`` below, with another slope ``a`` for every element.

    In training ``a`` is drawn from the uniform distribution on [lower, upper); at inference it is the mean,
    ``(lower + upper) / 2``. The output has the shape of the input. NaN stays NaN.

    Args:
        lower: the smallest slope, 0 or more.
        upper: the largest slope, from ``lower`` to below 1.
        seed: of the slopes, for a ``keras.random.SeedGenerator``; None uses Keras's global seed.

    Under a mixed policy the slopes are drawn in float32 (bfloat16 would round them coarsely) and applied in
    the layer's compute dtype.

    Raises:
        OptionError: unless 0 <= lower <= upper < 1; with a slope of 1 the layer is linear.

    Reference: Xu, Wang, Chen & Li 2015, Empirical evaluation of rectified activations in convolutional
    network. The paper divides by a number from U(3, 8), and by its mean 5.5 at inference. Here, as in
    PyTorch, the slope itself is uniform between the same bounds, with mean 11/48 at inference.

    Example:
        >>> import numpy as np
        >>> np.asarray(RReLU()(np.array([-48.0, 0.0, 2.0], "float32"))).tolist()
        [-11.0, 0.0, 2.0]
    """

    def __init__(
        self, lower: float = LOWER, upper: float = UPPER, *, seed: int | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        if not 0 <= lower <= upper < 1:
            raise OptionError(
                expected="slopes with 0 <= lower <= upper < 1: at 1 the layer is linear",
                received=f"lower={lower}, upper={upper}",
                remedy="leave them at 1/8 and 1/3",
            )
        self.lower = float(lower)
        self.upper = float(upper)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.supports_masking = True
        self.built = True

    def call(self, inputs: Elements, training: bool | None = False) -> Any:
        """The activation of ``inputs``, with random slopes if ``training``."""
        if not training:
            return keras.ops.leaky_relu(inputs, negative_slope=(self.lower + self.upper) / 2)
        drawn = keras.random.uniform(
            keras.ops.shape(inputs), self.lower, self.upper, dtype="float32", seed=self.seed_generator
        )
        slopes: Any = keras.ops.cast(drawn, inputs.dtype)
        return keras.ops.where(inputs >= 0, inputs, slopes * inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the input."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration."""
        return super().get_config() | {"lower": self.lower, "upper": self.upper, "seed": self.seed}


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
