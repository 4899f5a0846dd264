"""Half-precision copies of models."""

from typing import Any, Final, Literal, get_args

import keras

from kilter._models.copying import Config, Cut, copy_model
from kilter._models.editing import Graph, read_graph
from kilter._models.layers import NORMALIZATIONS, SCALINGS
from kilter._validation import one_of

HalfType = Literal["bfloat16", "float16"]
layers = keras.layers

# Initialisers that need a matrix factorisation, which half precision lacks. The weights are copied anyway.
_UNKNOWN_IN_HALF: Final = ("Orthogonal", "OrthogonalInitializer")


def to_half(model: keras.Model, dtype: HalfType = "bfloat16") -> keras.Model:
    """An uncompiled copy of the model with weights and arithmetic in half precision.

    Half the memory, and faster on hardware that supports it (GPUs, TPUs, some CPUs), slower on other
    hardware. bfloat16 has float32's range and 8 bits of precision; float16 has 11 bits and overflows above
    65,504.

    What is small and matters for accuracy stays in float32: the layers that make the outputs (back to the
    last one with weights, so that probabilities and their sums are not rounded), weights and statistics of
    normalisations, and the scaling of inputs. Inputs and outputs have the dtypes of the original model.

    Args:
        model: built, Sequential or Functional, with nested models; it does not change.
        dtype: ``"bfloat16"`` or ``"float16"``.

    Raises:
        OptionError: for another dtype.
        ModelError: if the model cannot be copied.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), layers.Dense(8, "relu"), layers.Dense(1)])
        >>> [layer.compute_dtype for layer in to_half(model).layers]
        ['bfloat16', 'float32']
    """
    one_of("dtype", dtype, get_args(HalfType))
    whole = _makers_of_outputs(read_graph(model))

    def change(layer: Any) -> Cut | None:
        # Inputs are scaled before they are rounded: in half precision a price of 100,003 is 100,000.
        if layer in whole or isinstance(layer, SCALINGS) or not _computes_in_floats(layer):
            return None
        # Normalisations compute in float32 under every policy, and their few weights are worth keeping whole.
        policy = f"mixed_{dtype}" if isinstance(layer, NORMALIZATIONS) else dtype
        return lambda config: _with_policy(config, policy)

    return copy_model(model, change).model


def _makers_of_outputs(graph: Graph) -> set[Any]:
    maker = {tensor: call for call in graph.calls for tensor in call.outputs}
    found: set[Any] = set()
    waiting = list(graph.outputs)
    while waiting:
        call = maker.get(waiting.pop())
        if call is not None and call.layer not in found:
            found.add(call.layer)
            if not getattr(call.layer, "weights", ()):
                waiting += call.inputs
    return found


def _computes_in_floats(layer: Any) -> bool:
    if not isinstance(layer, keras.Layer) or layer.quantization_mode:
        return False
    return keras.backend.is_float_dtype(layer.compute_dtype)


def _with_policy(config: Config, policy: str) -> Config:
    return {name: policy if name == "dtype" else _below(value, policy) for name, value in config.items()}


def _below(value: Any, policy: str) -> Any:
    inner = value.get("config") if isinstance(value, dict) else None
    if isinstance(inner, dict) and value.get("class_name") in _UNKNOWN_IN_HALF:
        return {**value, "class_name": "Zeros", "registered_name": None, "config": {}}
    if isinstance(inner, dict) and "dtype" in inner:
        return {**value, "config": _with_policy(inner, policy)}
    return value
