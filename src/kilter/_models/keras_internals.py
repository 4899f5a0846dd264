"""The private parts of Keras that kilter uses, imported here and nowhere else, each with the reason.

If a later Keras moves one, importing this module raises an error that names every missing symbol.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from kilter.errors import BackendError

CHECKED_WITH: Final = "3.15.1"

# Symbol: module below keras.src: why the public API is not enough.
_TABLE: Final = """
BaseConv: layers.convolutional.base_conv: all Conv1D/2D/3D; keras.layers has no common class
BaseConvTranspose: layers.convolutional.base_conv_transpose: all Conv*Transpose
BaseDepthwiseConv: layers.convolutional.base_depthwise_conv: all DepthwiseConv*
BaseGlobalPooling: layers.pooling.base_global_pooling: all global pooling layers
BasePooling: layers.pooling.base_pooling: all pooling layers
BaseSeparableConv: layers.convolutional.base_separable_conv: all SeparableConv*
DropoutRNNCell: layers.rnn.dropout_rnn_cell: recurrent cells with dropout
Functional: models.functional: the class of a model with a graph; keras.Model does not say
KerasSaveable: saving.keras_saveable: the base of layers, optimizers, losses and metrics
LossFunctionWrapper: losses.losses: the function behind a loss, to compute it from logits
Merge: layers.merging.base_merge: all merging layers (Add, Concatenate, ...)
Node: ops.node: a call in a functional model's graph
Operation: ops.operation: its __new__ makes layers; copies must use it
SafeModeScope: saving.serialization_lib: a copy in memory may hold the user's own Lambda; a file may not
TrackedDict: utils.tracking: a layer's dict of tracked parts; a copy needs its own
TrackedList: utils.tracking: as TrackedDict, a list
TrackedOrderedDict: utils.tracking: as TrackedDict, in order
TrackedSet: utils.tracking: as TrackedDict, a set
Tracker: utils.tracking: tracks a layer's variables; a copy needs its own
Trainer: models.model: compiles and trains a model; a copy starts its own
compute_fans: initializers.random_initializers: fans as Keras's initialisers count them
compute_output_spec: backend: shapes and dtypes of a call without computing it
data_adapter_utils: trainers.data_adapters: unpacks and checks (x, y, sample_weight) as Keras does
functional_like_constructor: models.functional: whether inputs and outputs suffice to remake a subclass
get_keras_mask: backend: the mask of an output, used by Keras's losses
get_stateless_scope: backend.common.stateless_scope: the scope of a stateless call
io_utils: utils: prints as Keras does: respects disable_interactive_logging
is_default: utils.python_utils: whether a model overrides a method
pythonify_logs: utils.python_utils: the order and types of the results of evaluate
"""

INTERNALS: Final = {
    name: (f"keras.src.{module}", reason)
    for name, module, reason in (line.split(": ", 2) for line in _TABLE.strip().splitlines())
}


def missing(symbols: Mapping[str, tuple[str, str]] = INTERNALS) -> list[str]:
    """The symbols that this Keras does not have, as "module.name"."""
    return [f"{module}.{name}" for name, (module, _) in symbols.items() if _find(module, name) is None]


def _find(module: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError:
        return None


if TYPE_CHECKING:
    from keras.src.backend import compute_output_spec as compute_output_spec
    from keras.src.backend import get_keras_mask as get_keras_mask
    from keras.src.backend.common.stateless_scope import get_stateless_scope as get_stateless_scope
    from keras.src.initializers.random_initializers import compute_fans as compute_fans
    from keras.src.layers.convolutional.base_conv import BaseConv as BaseConv
    from keras.src.layers.convolutional.base_conv_transpose import BaseConvTranspose as BaseConvTranspose
    from keras.src.layers.convolutional.base_depthwise_conv import BaseDepthwiseConv as BaseDepthwiseConv
    from keras.src.layers.convolutional.base_separable_conv import BaseSeparableConv as BaseSeparableConv
    from keras.src.layers.merging.base_merge import Merge as Merge
    from keras.src.layers.pooling.base_global_pooling import BaseGlobalPooling as BaseGlobalPooling
    from keras.src.layers.pooling.base_pooling import BasePooling as BasePooling
    from keras.src.layers.rnn.dropout_rnn_cell import DropoutRNNCell as DropoutRNNCell
    from keras.src.losses.losses import LossFunctionWrapper as LossFunctionWrapper
    from keras.src.models.functional import Functional as Functional
    from keras.src.models.functional import functional_like_constructor as functional_like_constructor
    from keras.src.models.model import Trainer as Trainer
    from keras.src.ops.node import Node as Node
    from keras.src.ops.operation import Operation as Operation
    from keras.src.saving.keras_saveable import KerasSaveable as KerasSaveable
    from keras.src.saving.serialization_lib import SafeModeScope as SafeModeScope
    from keras.src.trainers.data_adapters import data_adapter_utils as data_adapter_utils
    from keras.src.utils import io_utils as io_utils
    from keras.src.utils.python_utils import is_default as is_default
    from keras.src.utils.python_utils import pythonify_logs as pythonify_logs
    from keras.src.utils.tracking import TrackedDict as TrackedDict
    from keras.src.utils.tracking import TrackedList as TrackedList
    from keras.src.utils.tracking import TrackedOrderedDict as TrackedOrderedDict
    from keras.src.utils.tracking import TrackedSet as TrackedSet
    from keras.src.utils.tracking import Tracker as Tracker
else:
    if gone := missing():
        import keras

        raise BackendError(
            expected=f"a Keras with the internals of {CHECKED_WITH}",
            received=f"Keras {keras.__version__} without {', '.join(gone)}",
            remedy="install the Keras that kilter was tested with, or a newer kilter",
        )
    globals().update({name: _find(module, name) for name, (module, _) in INTERNALS.items()})
